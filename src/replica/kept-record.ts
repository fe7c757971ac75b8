// What a replica keeps beside its blocks, as blobs of its volume: the promise (E2), the record (E9) with the hint (W10), and
// whether it is a witness.
import { crc32c } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import { MAX_BLOB_BYTES, StoreError, type StoreVolume } from '../store/index.ts';
import { decodeRecord, encodeRecord } from '../wire/index.ts';
import type { VolumeRecord } from '../wire/record.ts';
import type { Version } from '../wire/version.ts';

/** 4 bytes epoch. */
const PROMISE_KEY = 'replica.promise';
/** Parts `replica.record.N.i`, named by the head: 4 bytes slot, 4 parts, 4 CRC32C of all, then the hint, 4 and 8 bytes. */
const RECORD_HEAD_KEY = 'replica.record';
export const WITNESS_KEY = 'replica.witness';
const HEAD_BYTES = 24;
const PART_BYTES = MAX_BLOB_BYTES;
export class KeptRecord {
  readonly #volume: StoreVolume;
  /** One of two: what is written anew lies beside what is in force. */
  #slot = 0;
  /** As they were on opening. */
  readonly promised: number;
  readonly opened: { readonly record: VolumeRecord; readonly hint: Version } | null;
  readonly witness: boolean;

  /** Throws StoreError where its own words are damaged. */
  constructor(volume: StoreVolume) {
    this.#volume = volume;
    const promise = volume.getBlob(PROMISE_KEY);
    this.opened = this.#read();
    const own = promise === null ? 0 : Buffer.from(promise).readUInt32LE(0);
    this.promised = Math.max(own, this.opened?.record.epoch ?? 0);
    this.witness = volume.getBlob(WITNESS_KEY) !== null;
  }

  promise(epoch: number, done: (status: IoStatus) => void): void {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(epoch);
    this.#volume.putBlob(PROMISE_KEY, b, done);
  }

  /** Durable before it resolves; interrupted, the one before is in force. */
  async write(record: VolumeRecord, hint: Version): Promise<IoStatus> {
    const bytes = encodeRecord(record);
    const slot = this.#slot + 1;
    const parts = Math.ceil(bytes.length / PART_BYTES);
    for (let part = 0; part < parts; part += 1) {
      const piece = bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES);
      const status = await this.#put(`${RECORD_HEAD_KEY}.${slot % 2}.${part}`, piece);
      if (status !== IoStatus.Ok) return status;
    }
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(slot % 2, 0);
    head.writeUInt32LE(parts, 4);
    head.writeUInt32LE(crc32c(bytes), 8);
    head.writeUInt32LE(hint.epoch, 12);
    head.writeBigUInt64LE(BigInt(hint.op), 16);
    const status = await this.#put(RECORD_HEAD_KEY, head); // From here on it is the record.
    if (status !== IoStatus.Ok) return status;
    this.#slot = slot;
    return IoStatus.Ok;
  }

  #read(): { record: VolumeRecord; hint: Version } | null {
    const blob = this.#volume.getBlob(RECORD_HEAD_KEY);
    if (blob === null) return null;
    const head = Buffer.from(blob);
    const damaged = (): StoreError =>
      new StoreError('STORE_CORRUPT', `replica ${this.#volume.name}: its record is damaged`);
    if (head.length !== HEAD_BYTES) throw damaged();
    this.#slot = head.readUInt32LE(0);
    const parts = head.readUInt32LE(4);
    const pieces: Uint8Array[] = [];
    for (let part = 0; part < parts; part += 1) {
      const piece = this.#volume.getBlob(`${RECORD_HEAD_KEY}.${this.#slot}.${part}`);
      if (piece === null) throw damaged();
      pieces.push(piece);
    }
    const bytes = Buffer.concat(pieces);
    if (crc32c(bytes) !== head.readUInt32LE(8)) throw damaged();
    const record = decodeRecord(bytes);
    if (record === null) throw damaged();
    const hint = { epoch: head.readUInt32LE(12), op: Number(head.readBigUInt64LE(16)) };
    return { record, hint };
  }

  #put(key: string, value: Uint8Array): Promise<IoStatus> {
    return new Promise((resolve) => this.#volume.putBlob(key, value, resolve));
  }
}
