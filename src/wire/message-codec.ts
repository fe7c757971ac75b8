// Messages that are not on the per-I/O path, as protobuf: to bytes, and back with every field checked. A peer's mistake is
// never an assertion: decoders answer null, and the session ends.
import { assertNever } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import { decodeCopyRuns, encodeCopyRuns } from './copy-runs.ts';
import { decodeDamageFound, encodeDamageFound } from './damage-codec.ts';
import { MAX_DATA_BLOCKS, MAX_ID_LENGTH } from './limits.ts';
import {
  type BlockCopies,
  BlockKind,
  type CoordinatorMessage,
  InstallMode,
  type MemberIdentity,
  type MemberMessage,
  MessageType,
  type Payload,
  RefusalReason,
} from './messages.ts';
import { type MemberEntry, MemberState, type VolumeRecord } from './record.ts';
import { codec } from './schema.ts';
import { MAX_EPOCH, MAX_OP_NUMBER, type Version } from './version.ts';

// What protobufjs's toObject gives: every field there, sub-messages null where absent.
export interface WireVersion {
  epoch: number;
  op: number;
}
interface WireRecord {
  volumeId: string;
  epoch: number;
  n: number;
  coordinatorId: string;
  members: {
    replicaId: string;
    storeId: string;
    openId: string;
    bootId: string;
    witness: boolean;
    state: number;
    join: WireVersion | null;
    since: WireVersion | null;
  }[];
  oldMembers: { replicaId: string; storeId: string }[];
  allApplied: WireVersion | null;
  holeFloor: WireVersion | null;
  lossPending: boolean;
  snapshots: {
    id: string;
    name: string;
    version: WireVersion | null;
    createdMs: number;
    holders: string[];
    sizeBlocks: number;
  }[];
  sizeBlocks: number;
  blobs: { key: string; value: Uint8Array }[];
}
interface WireCopies {
  lba: number;
  kinds: Uint8Array;
  epochs: number[];
  ops: number[];
  runs: Uint8Array;
}
interface WireIdentity {
  storeId: string;
  openId: string;
  openIds: string[];
  bootId: string;
}

const recordCodec = codec<WireRecord>('VolumeRecord');
const helloCodec = codec<{ volumeId: string; replicaId: string; coordinatorId: string }>(
  'SessionHello',
);
const prepareCodec = codec<{ epoch: number; coordinatorId: string }>('Prepare');
const storeRecordCodec = codec<{ epoch: number; op: number; record: WireRecord | null }>(
  'StoreRecord',
);
const heartbeatCodec = codec<{ epoch: number; sentMs: number; allApplied: WireVersion | null }>(
  'Heartbeat',
);
const takeSnapshotCodec = codec<{ epoch: number; op: number; snapshotId: string; name: string }>(
  'TakeSnapshot',
);
const listChangedCodec = codec<{
  epoch: number;
  id: number;
  since: WireVersion | null;
  fromLba: number;
  toLba: number;
  maxEntries: number;
  branchOf: string;
}>('ListChanged');
const copyReadCodec = codec<{
  epoch: number;
  id: number;
  lba: number;
  blocks: number;
  snapshotId: string;
}>('CopyRead');
const installCodec = codec<{
  epoch: number;
  id: number;
  mode: number;
  join: WireVersion | null;
  copy: WireCopies | null;
  branchOf: string;
}>('Install');
const digestCodec = codec<{ epoch: number; id: number; lba: number; blocks: number }>('Digest');
const releaseLeaseCodec = codec<{ epoch: number }>('ReleaseLease');
interface WireBranch {
  epoch: number;
  id: number;
  snapshotId: string;
  version: WireVersion | null;
}
const branchSnapshotCodec = codec<WireBranch>('BranchSnapshot');
const sealSnapshotCodec = codec<WireBranch>('SealSnapshot');
const branchedCodec = codec<{ epoch: number; id: number; status: number; complete: boolean }>(
  'Branched',
);
const helloReplyCodec = codec<{
  identity: WireIdentity | null;
  promised: number;
  record: WireRecord | null;
  contig: WireVersion | null;
  hint: WireVersion | null;
  witness: boolean;
  credit: number;
  snapshots: readonly string[];
  branches: boolean;
}>('SessionHelloReply');
const promiseCodec = codec<{
  identity: WireIdentity | null;
  epoch: number;
  record: WireRecord | null;
  contig: WireVersion | null;
  hint: WireVersion | null;
  credit: number;
  snapshots: readonly string[];
}>('PromiseMade');
const recordStoredCodec = codec<{ epoch: number; n: number; snapshots: readonly string[] }>(
  'RecordStored',
);
const heartbeatReplyCodec = codec<{ epoch: number; sentMs: number; credit: number }>(
  'HeartbeatReply',
);
const snapshotTakenCodec = codec<{ epoch: number; op: number; status: number }>('SnapshotTaken');
const changedCodec = codec<{
  epoch: number;
  id: number;
  status: number;
  lbas: number[];
  counts: number[];
  kinds: Uint8Array;
  epochs: number[];
  ops: number[];
  nextLba: number;
}>('Changed');
const copyDataCodec = codec<{ epoch: number; id: number; status: number; copy: WireCopies | null }>(
  'CopyData',
);
const installedCodec = codec<{ epoch: number; id: number; status: number }>('Installed');
const digestDoneCodec = codec<{
  epoch: number;
  id: number;
  status: number;
  digestHigh: number;
  digestLow: number;
}>('DigestDone');
const refusedCodec = codec<{
  epoch: number;
  reason: number;
  refusedType: number;
  id: number;
  promised: number;
  retryAfterMs: number;
}>('Refused');

/** What opens a stream. */
export interface OpenStream {
  volumeId: string;
  replicaId: string;
  copiesOf: number;
}
export const openStreamCodec = codec<OpenStream>('OpenStream');

// ------------------------------------------------------------------------------------------------------------ encoding

/** The bytes of a record, as it travels and as a member stores it. */
export function encodeRecord(record: VolumeRecord): Uint8Array {
  return recordCodec.encode(record as WireRecord);
}

/** Null: no record. */
export function decodeRecord(b: Uint8Array, start = 0, end = b.length): VolumeRecord | null {
  return toRecord(recordCodec.decode(b, start, end));
}

/** A record within another message. */
export type WireRecordMessage = WireRecord;
export function decodeRecordMessage(said: WireRecordMessage | null): VolumeRecord | null {
  return toRecord(said);
}

/**
 * The message of an Event. Not for the types that are frames of their own: Apply, Flush, Read. `copyRuns`: the peer knows
 * WireFeature.CopyRuns.
 */
export function encodeCoordinatorMessage(
  message: CoordinatorMessage,
  copyRuns: boolean,
): Uint8Array {
  switch (message.type) {
    case MessageType.Hello:
      return helloCodec.encode(message);
    case MessageType.Prepare:
      return prepareCodec.encode(message);
    case MessageType.StoreRecord:
      return storeRecordCodec.encode({ ...message, record: message.record as WireRecord });
    case MessageType.Heartbeat: {
      const { epoch, sentMs, allAppliedEpoch, allAppliedOp } = message;
      const allApplied = { epoch: allAppliedEpoch, op: allAppliedOp };
      return heartbeatCodec.encode({ epoch, sentMs, allApplied });
    }
    case MessageType.TakeSnapshot:
      return takeSnapshotCodec.encode(message);
    case MessageType.ListChanged:
      return listChangedCodec.encode({ ...message, branchOf: message.branchOf ?? '' });
    case MessageType.CopyRead:
      return copyReadCodec.encode({ ...message, snapshotId: message.snapshotId ?? '' });
    case MessageType.Install:
      return installCodec.encode({
        ...message,
        copy: fromCopies(message.copy, copyRuns),
        branchOf: message.branchOf ?? '',
      });
    case MessageType.Digest:
      return digestCodec.encode(message);
    case MessageType.ReleaseLease:
      return releaseLeaseCodec.encode(message);
    case MessageType.BranchSnapshot:
      return branchSnapshotCodec.encode(message);
    case MessageType.SealSnapshot:
      return sealSnapshotCodec.encode(message);
    case MessageType.Apply:
    case MessageType.Flush:
    case MessageType.Read:
      throw new TypeError('a frame of its own');
    default:
      return assertNever(message);
  }
}

/** As above; Applied, Flushed and ReadDone are frames of their own. */
export function encodeMemberMessage(message: MemberMessage, copyRuns: boolean): Uint8Array {
  switch (message.type) {
    case MessageType.HelloReply:
      return helloReplyCodec.encode({
        ...message,
        identity: fromIdentity(message),
        record: message.record as WireRecord | null,
      });
    case MessageType.PromiseMade:
      return promiseCodec.encode({
        ...message,
        identity: fromIdentity(message),
        record: message.record as WireRecord,
      });
    case MessageType.RecordStored:
      return recordStoredCodec.encode(message);
    case MessageType.HeartbeatReply:
      return heartbeatReplyCodec.encode(message);
    case MessageType.SnapshotTaken:
      return snapshotTakenCodec.encode(message);
    case MessageType.Changed: {
      const { runs } = message;
      return changedCodec.encode({
        ...message,
        lbas: [...runs.lbas],
        counts: [...runs.counts],
        kinds: runs.kinds,
        epochs: [...runs.epochs],
        ops: [...runs.ops],
      });
    }
    case MessageType.CopyData:
      return copyDataCodec.encode({
        ...message,
        copy: message.copy === null ? null : fromCopies(message.copy, copyRuns),
      });
    case MessageType.Installed:
      return installedCodec.encode(message);
    case MessageType.DigestDone:
      return digestDoneCodec.encode({
        ...message,
        digestHigh: message.digestHigh >>> 0,
        digestLow: message.digestLow >>> 0,
      });
    case MessageType.Refused:
      return refusedCodec.encode(message);
    case MessageType.Branched:
      return branchedCodec.encode(message);
    case MessageType.DamageFound:
      return encodeDamageFound(message);
    case MessageType.Applied:
    case MessageType.Flushed:
    case MessageType.ReadDone:
      throw new TypeError('a frame of its own');
    default:
      return assertNever(message);
  }
}

function fromIdentity({ storeId, openId, openIds, bootId }: MemberIdentity): WireIdentity {
  return { storeId, openId, openIds: [...openIds], bootId };
}

function fromCopies(copy: BlockCopies, asRuns: boolean): WireCopies {
  const { lba, blocks } = copy;
  if (asRuns) return { lba, kinds: NOTHING, epochs: [], ops: [], runs: encodeCopyRuns(copy) };
  return {
    lba,
    kinds: copy.kinds.subarray(0, blocks),
    epochs: [...copy.epochs.subarray(0, blocks)],
    ops: [...copy.ops.subarray(0, blocks)],
    runs: NOTHING,
  };
}

// ------------------------------------------------------------------------------------------------------------ decoding

/** What a decoded message still lacks: how many blocks follow it in a CopyBlocks frame. */
export interface Pending<T> {
  readonly message: T;
  /** With more than zero, `complete` it with the blocks before it is passed on. */
  readonly dataBlocks: number;
  complete(data: Payload, crcs: Uint32Array): void;
}

const NOTHING = new Uint8Array(0);
const NOTHING_PENDING = { dataBlocks: 0, complete() {} };

/** Null: no message of that type, or one that says what cannot be. */
export function decodeCoordinatorMessage(
  type: number,
  b: Uint8Array,
  start: number,
  end: number,
): Pending<CoordinatorMessage> | null {
  switch (type) {
    case MessageType.Hello: {
      const said = helloCodec.decode(b, start, end);
      if (said === null || !areIds(said.volumeId, said.replicaId, said.coordinatorId)) return null;
      return whole({ type, ...said });
    }
    case MessageType.Prepare: {
      const said = prepareCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !areIds(said.coordinatorId)) return null;
      return whole({ type, ...said });
    }
    case MessageType.StoreRecord: {
      const said = storeRecordCodec.decode(b, start, end);
      const record = toRecord(said?.record ?? null);
      if (said === null || record === null || !isVersion(said)) return null;
      return whole({ type, epoch: said.epoch, op: said.op, record });
    }
    case MessageType.Heartbeat: {
      const said = heartbeatCodec.decode(b, start, end);
      const all = toVersion(said?.allApplied ?? null);
      if (said === null || all === null || !isEpoch(said.epoch)) return null;
      const { epoch, sentMs } = said;
      return whole({ type, epoch, sentMs, allAppliedEpoch: all.epoch, allAppliedOp: all.op });
    }
    case MessageType.TakeSnapshot: {
      const said = takeSnapshotCodec.decode(b, start, end);
      if (said === null || !isVersion(said) || !areIds(said.snapshotId)) return null;
      if (said.name.length > MAX_ID_LENGTH) return null;
      return whole({ type, ...said });
    }
    case MessageType.ListChanged: {
      const said = listChangedCodec.decode(b, start, end);
      const since = toVersion(said?.since ?? null);
      if (said === null || since === null || !isEpoch(said.epoch)) return null;
      if (!isCount(said.id) || !isCount(said.fromLba) || !isCount(said.toLba)) return null;
      if (said.toLba < said.fromLba) return null;
      return whole({ type, ...said, since, branchOf: branchIn(said) });
    }
    case MessageType.CopyRead: {
      const said = copyReadCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id)) return null;
      if (!isCount(said.lba + said.blocks)) return null;
      if (said.blocks === 0 || said.blocks > MAX_DATA_BLOCKS) return null;
      const snapshotId = said.snapshotId === '' ? null : said.snapshotId;
      return whole({ type, ...said, snapshotId });
    }
    case MessageType.Install: {
      const said = installCodec.decode(b, start, end);
      const join = toVersion(said?.join ?? null);
      const copy = toCopies(said?.copy ?? null);
      if (said === null || join === null || copy === null) return null;
      if (!isEpoch(said.epoch) || !isCount(said.id)) return null;
      const mode = Object.values(InstallMode).find((known) => known === said.mode);
      if (mode === undefined) return null;
      const { epoch, id } = said;
      const branchOf = branchIn(said);
      return withBlocks({ type, epoch, id, mode, join, copy, branchOf }, copy);
    }
    case MessageType.Digest: {
      const said = digestCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id)) return null;
      if (!isCount(said.lba) || !isCount(said.lba + said.blocks)) return null;
      return whole({ type, ...said });
    }
    case MessageType.ReleaseLease: {
      const said = releaseLeaseCodec.decode(b, start, end);
      return said === null || !isEpoch(said.epoch) ? null : whole({ type, ...said });
    }
    case MessageType.BranchSnapshot:
    case MessageType.SealSnapshot: {
      const isBranch = type === MessageType.BranchSnapshot;
      const said = (isBranch ? branchSnapshotCodec : sealSnapshotCodec).decode(b, start, end);
      const version = toVersion(said?.version ?? null);
      if (said === null || version === null || !isEpoch(said.epoch)) return null;
      if (!isCount(said.id) || !areIds(said.snapshotId)) return null;
      return whole({ type, ...said, version });
    }
    default:
      return null;
  }
}

function branchIn({ branchOf }: { branchOf: string }): string | null {
  return branchOf === '' ? null : branchOf;
}

/** As above. */
export function decodeMemberMessage(
  type: number,
  b: Uint8Array,
  start: number,
  end: number,
): Pending<MemberMessage> | null {
  switch (type) {
    case MessageType.HelloReply: {
      const said = helloReplyCodec.decode(b, start, end);
      const identity = toIdentity(said?.identity ?? null);
      const contig = toVersion(said?.contig ?? null);
      const hint = toVersion(said?.hint ?? null);
      if (said === null || identity === null || contig === null || hint === null) return null;
      const record = toRecord(said.record);
      if (record === null && said.record !== null) return null;
      if (!isEpoch(said.promised) || !isCount(said.credit)) return null;
      const { promised, witness, credit, snapshots, branches } = said;
      return whole({
        type,
        ...identity,
        promised,
        record,
        contig,
        hint,
        snapshots,
        witness,
        branches,
        credit,
      });
    }
    case MessageType.PromiseMade: {
      const said = promiseCodec.decode(b, start, end);
      const identity = toIdentity(said?.identity ?? null);
      const record = toRecord(said?.record ?? null);
      const contig = toVersion(said?.contig ?? null);
      const hint = toVersion(said?.hint ?? null);
      if (said === null || identity === null || record === null) return null;
      if (contig === null || hint === null || !isEpoch(said.epoch) || !isCount(said.credit))
        return null;
      const { epoch, credit, snapshots } = said;
      return whole({ type, ...identity, epoch, record, contig, hint, snapshots, credit });
    }
    case MessageType.RecordStored: {
      const said = recordStoredCodec.decode(b, start, end);
      return said === null || !isEpoch(said.epoch) ? null : whole({ type, ...said });
    }
    case MessageType.HeartbeatReply: {
      const said = heartbeatReplyCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.credit)) return null;
      return whole({ type, ...said });
    }
    case MessageType.SnapshotTaken: {
      const said = snapshotTakenCodec.decode(b, start, end);
      if (said === null || !isVersion(said) || !isStatus(said.status)) return null;
      return whole({ type, epoch: said.epoch, op: said.op, status: said.status });
    }
    case MessageType.Changed: {
      const said = changedCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id)) return null;
      if (!isStatus(said.status) || !isCount(said.nextLba)) return null;
      const { lbas, counts, kinds, epochs, ops } = said;
      const { length } = lbas;
      if ([counts, kinds, epochs, ops].some((list) => list.length !== length)) return null;
      let endLba = 0;
      for (let index = 0; index < length; index += 1) {
        if (lbas[index]! < endLba || counts[index]! < 1) return null;
        endLba = lbas[index]! + counts[index]!;
        if (!isCount(endLba) || kinds[index]! > BlockKind.Damaged) return null;
        if (!isVersion({ epoch: epochs[index]!, op: ops[index]! })) return null;
      }
      const { epoch, id, status, nextLba } = said;
      const runs = {
        lbas: Float64Array.from(lbas),
        counts: Float64Array.from(counts),
        kinds: new Uint8Array(kinds),
        epochs: Uint32Array.from(epochs),
        ops: Float64Array.from(ops),
      };
      return whole({ type, epoch, id, status, runs, nextLba });
    }
    case MessageType.CopyData: {
      const said = copyDataCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id) || !isStatus(said.status))
        return null;
      const { epoch, id, status } = said;
      if (said.copy === null) {
        return status === IoStatus.Ok ? null : whole({ type, epoch, id, status, copy: null });
      }
      const copy = toCopies(said.copy);
      return copy === null ? null : withBlocks({ type, epoch, id, status, copy }, copy);
    }
    case MessageType.Installed: {
      const said = installedCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id) || !isStatus(said.status))
        return null;
      const { epoch, id, status } = said;
      return whole({ type, epoch, id, status });
    }
    case MessageType.DigestDone: {
      const said = digestDoneCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id) || !isStatus(said.status))
        return null;
      const { epoch, id, status, digestHigh, digestLow } = said;
      return whole({ type, epoch, id, status, digestHigh, digestLow });
    }
    case MessageType.Branched: {
      const said = branchedCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isCount(said.id) || !isStatus(said.status))
        return null;
      const { epoch, id, status, complete } = said;
      return whole({ type, epoch, id, status, complete });
    }
    case MessageType.DamageFound: {
      const said = decodeDamageFound(b, start, end);
      return said === null ? null : whole(said);
    }
    case MessageType.Refused: {
      const said = refusedCodec.decode(b, start, end);
      if (said === null || !isEpoch(said.epoch) || !isEpoch(said.promised) || !isCount(said.id))
        return null;
      const reason = Object.values(RefusalReason).find((known) => known === said.reason);
      const refusedType = Object.values(MessageType).find((known) => known === said.refusedType);
      if (reason === undefined || refusedType === undefined) return null;
      if (!(said.retryAfterMs >= 0)) return null;
      const { epoch, id, promised, retryAfterMs } = said;
      return whole({ type, epoch, reason, refusedType, id, promised, retryAfterMs });
    }
    default:
      return null;
  }
}

const MAX_MEMBERS = 16;
const MAX_OPEN_IDS = 64;

function whole<T>(message: T): Pending<T> {
  return { message, ...NOTHING_PENDING };
}

/** A message whose blocks come in the next frame. */
function withBlocks<T>(message: T, copy: DecodedCopies): Pending<T> {
  return {
    message,
    dataBlocks: copy.dataBlocks,
    complete(data, crcs) {
      copy.data = data;
      for (let index = 0, block = 0; index < copy.blocks; index += 1) {
        if (copy.kinds[index] !== BlockKind.Data) continue;
        copy.crcs[index] = crcs[block]!;
        block += 1;
      }
    },
  };
}

interface DecodedCopies extends BlockCopies {
  data: Payload | null;
  readonly dataBlocks: number;
}

function toCopies(said: WireCopies | null): DecodedCopies | null {
  if (said === null) return null;
  const { lba, kinds, epochs, ops } = said;
  if (said.runs.length > 0) {
    const runs = decodeCopyRuns(said.runs);
    if (runs === null || kinds.length > 0 || !isCount(lba + runs.blocks)) return null;
    return { lba, ...runs, crcs: new Uint32Array(runs.blocks), data: null };
  }
  const blocks = kinds.length;
  if (blocks === 0 || blocks > MAX_DATA_BLOCKS || !isCount(lba + blocks)) return null;
  if (epochs.length !== blocks || ops.length !== blocks) return null;
  let dataBlocks = 0;
  for (let index = 0; index < blocks; index += 1) {
    const kind = kinds[index]!;
    if (kind > BlockKind.Damaged) return null;
    if (kind === BlockKind.Data) dataBlocks += 1;
    if (!isVersion({ epoch: epochs[index]!, op: ops[index]! })) return null;
  }
  return {
    lba,
    blocks,
    kinds: new Uint8Array(kinds),
    epochs: Uint32Array.from(epochs),
    ops: Float64Array.from(ops),
    crcs: new Uint32Array(blocks),
    data: null,
    dataBlocks,
  };
}

function toIdentity(said: WireIdentity | null): MemberIdentity | null {
  if (said === null || !areIds(said.storeId, said.openId, said.bootId)) return null;
  if (said.openIds.length > MAX_OPEN_IDS || !areIds(...said.openIds)) return null;
  return said;
}

function toRecord(said: WireRecord | null): VolumeRecord | null {
  if (said === null || !areIds(said.volumeId) || !isEpoch(said.epoch)) return null;
  if (said.members.length > MAX_MEMBERS || said.oldMembers.length > MAX_MEMBERS) return null;
  const members: MemberEntry[] = [];
  for (const entry of said.members) {
    const state = Object.values(MemberState).find((known) => known === entry.state);
    const join = toVersion(entry.join);
    const since = toVersion(entry.since);
    if (state === undefined || join === null || since === null) return null;
    if (!areIds(entry.replicaId, entry.storeId)) return null;
    members.push({ ...entry, state, join, since });
  }
  const snapshots = said.snapshots.map((entry) => ({
    ...entry,
    version: toVersion(entry.version),
  }));
  for (const { version, createdMs, sizeBlocks } of snapshots) {
    if (version === null || !isCount(createdMs) || !isCount(sizeBlocks)) return null;
  }
  const allApplied = toVersion(said.allApplied);
  const holeFloor = toVersion(said.holeFloor);
  if (allApplied === null || holeFloor === null || !isCount(said.sizeBlocks)) return null;
  return {
    ...said,
    members,
    snapshots: snapshots as VolumeRecord['snapshots'],
    allApplied,
    holeFloor,
    blobs: said.blobs.map(({ key, value }) => ({ key, value: new Uint8Array(value) })),
  };
}

/** An absent version is the one below all others. Null: no version. */
export function toVersion(said: WireVersion | null): Version | null {
  if (said === null) return { epoch: 0, op: 0 };
  return isVersion(said) ? { epoch: said.epoch, op: said.op } : null;
}

function isVersion({ epoch, op }: WireVersion): boolean {
  return isEpoch(epoch) && isCount(op) && op <= MAX_OP_NUMBER;
}

function isEpoch(value: number): boolean {
  return value >= 0 && value <= MAX_EPOCH;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

export function isStatus(value: number): value is IoStatus {
  return value >= IoStatus.Ok && value <= IoStatus.Busy;
}

function areIds(...ids: string[]): boolean {
  return ids.every((id) => id.length > 0 && id.length <= MAX_ID_LENGTH);
}
