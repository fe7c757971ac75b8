// What a client that saw every answer knows of each block: the value that a read must return, and the values that it may.
// Each write has a number; a block is filled from its number and address, so every byte tells which write it is of.
import assert from 'node:assert/strict';
import { BLOCK_BYTES } from './iscsi-disk.ts';

/** The block as write `id` leaves it. Zero: never written, or unmapped. */
export function blockOf(lba: number, id: number, into: Buffer, byteOffset: number): void {
  if (id === 0) {
    into.fill(0, byteOffset, byteOffset + BLOCK_BYTES);
    return;
  }
  let word = (Math.imul(id, 0x9e3779b1) ^ Math.imul(lba + 1, 0x85ebca6b)) >>> 0;
  into.writeUInt32LE(id, byteOffset);
  into.writeUInt32LE(lba, byteOffset + 4);
  for (let at = 8; at < BLOCK_BYTES; at += 4) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    into.writeUInt32LE(word, byteOffset + at);
  }
}

/** What each block may have been at an instant that lay between the beginning of the look and its end. */
export class Look {
  /** By block: writes whose value it may be. */
  readonly may: Set<number>[];
  constructor(may: Set<number>[]) {
    this.may = may;
  }

  /** Throws if the block is not what it may be. From then on it is that, and nothing else. */
  check(lba: number, got: Buffer): void {
    const id = got.readUInt32LE(0);
    const may = this.may[lba]!;
    if (!may.has(id)) {
      assert.fail(`block ${lba}: write ${id}, and only ${[...may].join(', ')} can be there`);
    }
    const expected = Buffer.alloc(BLOCK_BYTES);
    blockOf(lba, id, expected, 0);
    assert.ok(got.equals(expected), `block ${lba}: not every byte is of write ${id}`);
    this.may[lba] = new Set([id]);
  }
}

export class BlockModel {
  readonly blocks: number;
  /** By block: the write that a read must return unless an unanswered one happened. */
  readonly #settled: Float64Array;
  /** Unanswered writes since, which may have happened. */
  readonly #open: Map<number, Set<number>> = new Map();
  readonly #busy = new Set<number>();
  /** Writes under way, by block. */
  readonly #underWay = new Map<number, number>();
  readonly #looks = new Set<Look>();
  #next = 1;
  acknowledged = 0;
  unanswered = 0;
  checked = 0;

  constructor(blocks: number) {
    this.blocks = blocks;
    this.#settled = new Float64Array(blocks);
  }

  /** Claims blocks that nobody is at: an answer must be told from the one before. */
  claim(lba: number, count: number): boolean {
    for (let at = lba; at < lba + count; at += 1) if (this.#busy.has(at)) return false;
    for (let at = lba; at < lba + count; at += 1) this.#busy.add(at);
    return true;
  }

  free(lba: number, count: number): void {
    for (let at = lba; at < lba + count; at += 1) this.#busy.delete(at);
  }

  nextId(): number {
    const id = this.#next;
    this.#next += 1;
    return id;
  }

  /** It is about to be sent; `id` is zero for an unmap. */
  issued(lba: number, count: number, id: number): void {
    for (let at = lba; at < lba + count; at += 1) {
      this.#underWay.set(at, id);
      for (const look of this.#looks) look.may[at]!.add(id);
    }
  }

  /** Until `endLook`, whatever a block may be counts. */
  startLook(): Look {
    const may = Array.from({ length: this.blocks }, (_, lba) => {
      const now = new Set([this.#settled[lba]!, ...(this.#open.get(lba) ?? [])]);
      const underWay = this.#underWay.get(lba);
      return underWay === undefined ? now : now.add(underWay);
    });
    const look = new Look(may);
    this.#looks.add(look);
    return look;
  }

  endLook(look: Look): void {
    this.#looks.delete(look);
  }

  acked(lba: number, count: number, id: number): void {
    this.acknowledged += 1;
    for (let at = lba; at < lba + count; at += 1) {
      this.#underWay.delete(at);
      this.#settled[at] = id;
      this.#open.delete(at);
    }
  }

  /** No answer: each block is old or new, and stays what the next read finds (C4). */
  lost(lba: number, count: number, id: number): void {
    this.unanswered += 1;
    for (let at = lba; at < lba + count; at += 1) {
      this.#underWay.delete(at);
      const open = this.#open.get(at) ?? new Set();
      open.add(id);
      this.#open.set(at, open);
    }
  }

  /** A read that was answered. Throws if it is not what it must be. */
  check(lba: number, data: Buffer): void {
    const expected = Buffer.alloc(BLOCK_BYTES);
    for (let index = 0; index * BLOCK_BYTES < data.length; index += 1) {
      const at = lba + index;
      const got = data.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      const id = got.readUInt32LE(0);
      const open = this.#open.get(at);
      const settled = this.#settled[at]!;
      if (id !== settled && open?.has(id) !== true) {
        const may = [settled, ...(open ?? [])].join(', ');
        assert.fail(`block ${at}: write ${id} was read, and only ${may} can be there`);
      }
      blockOf(at, id, expected, 0);
      assert.ok(got.equals(expected), `block ${at}: not every byte is of write ${id}`);
      this.#settled[at] = id;
      this.#open.delete(at);
      this.checked += 1;
    }
  }
}
