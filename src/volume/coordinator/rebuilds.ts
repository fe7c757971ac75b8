// Rebuilds (B2-B5, B9): what differs between a source in sync and a joiner is copied, at most at the rate configured.
import { BlockKind, InstallMode } from '../../wire/messages.ts';
import { compare } from '../../wire/record.ts';
import type { Version } from '../../wire/version.ts';
import { BlockSync, type CopyDecision, isUnknown, type Segment } from './block-sync.ts';
import type { Core } from './core.ts';
import { AlarmKind, MAP_LOST } from './interfaces.ts';
import type { Peer } from './peer.ts';
import { RebuildPace } from './rebuild-pace.ts';

export interface Rebuild {
  readonly peer: Peer;
  readonly join: Version;
  readonly since: Version;
  sync: BlockSync | null;
  /** Peers that the copies come from, the one that lists first. */
  sources: readonly number[];
  copied: boolean;
}

export class Rebuilds {
  readonly #core: Core;
  running = new Map<number, Rebuild>();
  readonly pace = new RebuildPace();

  constructor(core: Core) {
    this.#core = core;
  }

  /** B3: after the commit, R1 has made every source apply all below `j`. */
  start(nowMs: number): void {
    const core = this.#core;
    for (const rebuild of this.running.values()) {
      if (rebuild.sync !== null || rebuild.copied) continue;
      const { peer } = rebuild;
      if ((core.joining & peer.bit) === 0 && core.rules.B3_copyAfterCommit) continue;
      const sources: number[] = [];
      for (const other of core.peers) {
        if (other === undefined || other.hello === null || other === peer) continue;
        if ((core.inSync & ~core.leaving & other.bit) !== 0) sources.push(other.index);
      }
      const source = sources[core.options.random.below(sources.length || 1)];
      if (source === undefined) continue;
      sources.splice(sources.indexOf(source), 1);
      rebuild.sources = [source, ...sources];
      core.progressMs = nowMs;
      this.#step(nowMs);
      let isWhole = true;
      rebuild.sync = new BlockSync({
        fromLba: 0,
        sizeBlocks: core.record!.sizeBlocks,
        epoch: core.epoch,
        rules: core.rules,
        since: rebuild.since,
        listers: core.rules.B2_targetsList ? [source, peer.index] : [source],
        mode: InstallMode.Rebuild,
        join: rebuild.join,
        windowBytes: core.config.rebuildWindowBytes,
        decide: (segment) => this.#differs(rebuild, source, sources, segment),
        send: (to, message) => core.transport.send(to, message),
        nextId: () => core.nextId++,
        mayCopy: (bytes) => this.mayCopy(bytes),
        // H6: what it cannot take, it may lack: it goes on as a joiner, and is never promoted.
        mayLeave: () => {
          rebuild.peer.lastFault = MAP_LOST;
          isWhole = !core.rules.H6_notPromoted;
          return true;
        },
        onDone: () => {
          rebuild.copied = isWhole;
        },
        onFailed: (failed, why) => {
          rebuild.sync = null;
          const faulty = core.peers[failed];
          if (faulty !== undefined) core.members.drop(core.progressMs, faulty, why);
        },
        onLost: (lba) =>
          core.host.onAlarm(
            AlarmKind.BlockLost,
            '',
            lba,
            `block ${lba} is damaged on every member`,
          ),
      });
      rebuild.sync.start();
    }
  }

  /** B2, B4: what differs goes from the source to the joiner, back to an older version if need be. */
  #differs(
    rebuild: Rebuild,
    source: number,
    others: readonly number[],
    segment: Segment,
  ): CopyDecision | null {
    const epoch = segment.epochs[0]!;
    const op = segment.ops[0]!;
    const targets = [rebuild.peer.index];
    // H6: a version that is not known is equal to none. ✗ skipped as equal, the joiner would answer zeros. The others have it.
    // Of what none of them has it is told as new as it may be. ✗ told as old: who returns from before is asked for no change
    // there, and answers with what it had.
    const { H6_unknownIsUnequal, H6_asNewAsMayBe } = this.#core.rules;
    if (isUnknown(segment, 0) && H6_unknownIsUnequal) {
      const { join, since } = rebuild;
      const most = H6_asNewAsMayBe ? { epoch: join.epoch, op: join.op - 1 } : since;
      return { hole: false, ...most, sources: [...others, source], targets };
    }
    // Equal versions are skipped unread; what is not below `j` comes in the joiner's own stream.
    if (epoch === segment.epochs[1] && op === segment.ops[1]) return null;
    if (compare({ epoch, op }, rebuild.join) >= 0) return null;
    const hole = segment.kinds[0] === BlockKind.Hole;
    return { hole, epoch, op, sources: [source, ...others], targets };
  }

  /** B9. */
  mayCopy(bytes: number): boolean {
    const core = this.#core;
    if (this.pace.take(core.nowMs, bytes, core.config.rebuildBytesPerSecond)) return true;
    core.wake(core.nowMs, this.pace.waitMs(bytes));
    return false;
  }

  /** Looks at how hosts fare, and goes on with what had to wait. */
  tick(nowMs: number): void {
    const missed = this.#core.missed.running;
    if (this.running.size === 0 && missed === null) return;
    this.#step(nowMs);
    for (const rebuild of this.running.values()) rebuild.sync?.resume();
    missed?.sync?.resume();
  }

  #step(nowMs: number): void {
    this.pace.step(nowMs, this.#oldestMs(nowMs), this.#core.config.rebuildBytesPerSecond);
  }

  /** For how long the oldest operation of a host has been under way; -1: there is none. */
  #oldestMs(nowMs: number): number {
    const { ring, reads, flushes } = this.#core;
    let sentMs = nowMs;
    let some = flushes.pending.length > 0;
    for (const flush of flushes.pending) sentMs = Math.min(sentMs, flush.sentMs);
    for (let number = ring.first; number < ring.next; number += 1) {
      const entry = ring.get(number)!;
      if (entry.op === null) continue;
      sentMs = Math.min(sentMs, entry.issuedMs);
      some = true;
      break;
    }
    if (reads.table.liveCount === 0) return some ? nowMs - sentMs : -1;
    for (const slot of reads.table.slots) {
      if (slot.live) sentMs = Math.min(sentMs, slot.sentMs);
    }
    return nowMs - sentMs;
  }
}
