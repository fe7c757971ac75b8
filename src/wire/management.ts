// Management of a node's replicas over the wire: making, beginning, deleting, listing them. Requests on a stream of their
// own, answered within their deadline.

import {
  decodeRecordMessage,
  toVersion,
  type WireRecordMessage,
  type WireVersion,
} from './message-codec.ts';
import type { MemberIdentity } from './messages.ts';
import type { VolumeRecord } from './record.ts';
import { codec } from './schema.ts';
import type { Version } from './version.ts';

export const ManageMethod = { Create: 2, Begin: 3, Delete: 4, List: 5 } as const;
export type ManageMethod = (typeof ManageMethod)[keyof typeof ManageMethod];

export interface CreateReplica {
  volumeId: string;
  replicaId: string;
  sizeBlocks: number;
  witness: boolean;
  source: ReplicaSource | null;
}

/** A snapshot that another replica of the same node holds. */
export interface ReplicaSource {
  volumeId: string;
  replicaId: string;
  snapshotId: string;
}

export interface ReplicaIdentity {
  identity: MemberIdentity;
  blank: boolean;
  promised: number;
  /** Of a replica made from a snapshot: its cut, above which no block has a version. */
  base: Version | null;
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
  base: WireVersion | null;
}>('ReplicaIdentity');
const beginCodec = codec<{ record: WireRecordMessage | null; replicaId: string }>('BeginReplica');

export function encodeReplicaIdentity({
  identity,
  blank,
  promised,
  base,
}: ReplicaIdentity): Uint8Array {
  const { storeId, openId, openIds, bootId } = identity;
  return identityCodec.encode({
    identity: { storeId, openId, openIds: [...openIds], bootId },
    blank,
    promised,
    base,
  });
}

export function decodeReplicaIdentity(
  b: Uint8Array,
  start: number,
  end: number,
): ReplicaIdentity | null {
  const said = identityCodec.decode(b, start, end);
  if (said === null || said.identity === null) return null;
  const base = said.base === null ? null : toVersion(said.base);
  if (said.base !== null && base === null) return null;
  return { ...said, identity: said.identity, base };
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
