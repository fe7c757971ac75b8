// A check of the hosts' histories on values alone, blind to versions: each block is one linearizable register (C2), by
// Gibbons and Korach's zones for unique values. It guards the version-aware checker, and is guarded by it.
//
// For each value: its operations are the write and the reads that returned it. Its zone reaches from the earliest end to
// the latest beginning among them. A zone that goes forward is an interval in which the register must have held the value
// all the time: two of them may not overlap, and no zone that goes backward may lie inside one of another value.
import { BlockOpKind } from '../../src/block/index.ts';
import { Violation } from './checker.ts';
import type { HostOp } from './cluster.ts';

interface Zone {
  readonly value: number;
  firstEndMs: number;
  lastBeginMs: number;
  written: boolean;
}

export class History {
  readonly #blocks: Map<number, Zone>[];
  readonly #begins = new Map<HostOp, number>();

  constructor(blocks: number) {
    this.#blocks = Array.from({ length: blocks }, () => new Map());
  }

  begin(op: HostOp, nowMs: number): void {
    this.#begins.set(op, nowMs);
    if (op.kind !== BlockOpKind.Write) return;
    for (let index = 0; index < op.blocks; index += 1) {
      this.#note(op.lba + index, op.value + index, nowMs, Number.POSITIVE_INFINITY).written = true;
    }
  }

  /** Unmaps all write the same zeros: a block's history ends where one may have come in between. */
  end(op: HostOp, ok: boolean, nowMs: number): void {
    const beginMs = this.#begins.get(op)!;
    this.#begins.delete(op);
    if (!ok) return;
    if (op.kind === BlockOpKind.Write) {
      for (let index = 0; index < op.blocks; index += 1) {
        this.#note(op.lba + index, op.value + index, beginMs, nowMs);
      }
    } else if (op.kind === BlockOpKind.Read) {
      op.got!.values.forEach((value, index) => {
        if (value !== 0) this.#note(op.lba + index, value, beginMs, nowMs);
      });
    }
  }

  /** After a declared loss values may come back that were overwritten: the histories begin anew. */
  forget(): void {
    for (const zones of this.#blocks) {
      for (const [value, zone] of zones) {
        zone.firstEndMs = Number.POSITIVE_INFINITY;
        zone.lastBeginMs = Number.NEGATIVE_INFINITY;
        zones.set(value, zone);
      }
    }
  }

  check(): void {
    this.#blocks.forEach((zones, block) => {
      const settled = [...zones.values()].filter(
        ({ firstEndMs }) => firstEndMs < Number.POSITIVE_INFINITY,
      );
      for (const zone of settled) {
        if (!zone.written)
          throw new Violation(`block ${block}: ${zone.value} was read, never written`);
      }
      const forward = settled
        .filter(({ firstEndMs, lastBeginMs }) => firstEndMs < lastBeginMs)
        .sort((a, b) => a.firstEndMs - b.firstEndMs);
      for (let index = 1; index < forward.length; index += 1) {
        const a = forward[index - 1]!;
        const b = forward[index]!;
        if (b.firstEndMs < a.lastBeginMs) {
          throw new Violation(
            `block ${block}: ${a.value} and ${b.value} were both there from ${b.firstEndMs} on`,
          );
        }
      }
      for (const zone of settled) {
        if (zone.firstEndMs < zone.lastBeginMs) continue;
        const around = forward.find(
          (other) => other.firstEndMs < zone.lastBeginMs && zone.firstEndMs < other.lastBeginMs,
        );
        if (around !== undefined && around.value !== zone.value) {
          throw new Violation(`block ${block}: ${zone.value} came while ${around.value} stayed`);
        }
      }
    });
  }

  #note(block: number, value: number, beginMs: number, endMs: number): Zone {
    const zones = this.#blocks[block]!;
    let zone = zones.get(value);
    if (zone === undefined) {
      zone = {
        value,
        firstEndMs: Number.POSITIVE_INFINITY,
        lastBeginMs: Number.NEGATIVE_INFINITY,
        written: false,
      };
      zones.set(value, zone);
    }
    zone.firstEndMs = Math.min(zone.firstEndMs, endMs);
    zone.lastBeginMs = Math.max(zone.lastBeginMs, beginMs);
    return zone;
  }
}
