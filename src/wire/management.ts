// Management of a node's replicas over the wire: making, beginning, deleting, listing them. Requests on a stream of their
// own, answered within their deadline.

import { decodeRecordMessage, type WireRecordMessage } from './message-codec.ts';
import type { MemberIdentity } from './messages.ts';
import type { VolumeRecord } from './record.ts';
import { codec } from './schema.ts';

export const ManageMethod = { Create: 2, Begin: 3, Delete: 4, List: 5 } as const;
export type ManageMethod = (typeof ManageMethod)[keyof typeof ManageMethod];

export interface CreateReplica {
  volumeId: string;
  replicaId: string;
  sizeBlocks: number;
  witness: boolean;
}

export interface ReplicaIdentity {
  identity: MemberIdentity;
  blank: boolean;
  promised: number;
}

export interface DeleteReplica {
  volumeId: string;
  replicaId: string;
  epoch: number;
}

export interface ReplicaListEntry {
  volumeId: string;
  replicaId: string;
  blank: boolean;
  promised: number;
  sizeBlocks: number;
  usedBlocks: number;
  /** 0 without a record, else a MemberState. */
  state: number;
}

export const createReplicaCodec = codec<CreateReplica>('CreateReplica');
export const deleteReplicaCodec = codec<DeleteReplica>('DeleteReplica');
export const listReplicasCodec = codec<object>('ListReplicas');
export const replicaListCodec = codec<{ entries: ReplicaListEntry[] }>('ReplicaList');
const identityCodec = codec<{
  identity: { storeId: string; openId: string; openIds: string[]; bootId: string } | null;
  blank: boolean;
  promised: number;
}>('ReplicaIdentity');
const beginCodec = codec<{ record: WireRecordMessage | null; replicaId: string }>('BeginReplica');

export function encodeReplicaIdentity({ identity, blank, promised }: ReplicaIdentity): Uint8Array {
  const { storeId, openId, openIds, bootId } = identity;
  return identityCodec.encode({
    identity: { storeId, openId, openIds: [...openIds], bootId },
    blank,
    promised,
  });
}

export function decodeReplicaIdentity(
  b: Uint8Array,
  start: number,
  end: number,
): ReplicaIdentity | null {
  const said = identityCodec.decode(b, start, end);
  return said === null || said.identity === null ? null : { ...said, identity: said.identity };
}

export function encodeBegin(record: VolumeRecord, replicaId: string): Uint8Array {
  return beginCodec.encode({ record: record as unknown as WireRecordMessage, replicaId });
}

export function decodeBegin(
  b: Uint8Array,
  start: number,
  end: number,
): { record: VolumeRecord; replicaId: string } | null {
  const said = beginCodec.decode(b, start, end);
  const record = decodeRecordMessage(said?.record ?? null);
  return said === null || record === null ? null : { record, replicaId: said.replicaId };
}
