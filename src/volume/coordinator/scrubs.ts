// The cross-scrub (H5): digests of one range at one place of the stream, compared between members.
import { assert } from '../../base/index.ts';
import { IoStatus } from '../../block/index.ts';
import { type DigestDone, MessageType } from '../../wire/messages.ts';
import type { Core } from './core.ts';
import { AlarmKind, type ControlDone, CoordinatorPhase } from './interfaces.ts';
import { MAX_DIGEST_BLOCKS } from './limits.ts';
import type { Peer } from './peer.ts';

export interface Scrub {
  readonly lba: number;
  readonly blocks: number;
  readonly sentTo: number;
  readonly digests: Map<number, string>;
  acks: number;
  readonly done: ControlDone;
}

export class Scrubs {
  readonly #core: Core;
  readonly running = new Map<number, Scrub>();

  constructor(core: Core) {
    this.#core = core;
  }

  crossScrub(nowMs: number, lba: number, blocks: number, done: ControlDone): void {
    const core = this.#core;
    core.leases.use(nowMs);
    assert(blocks > 0 && blocks <= MAX_DIGEST_BLOCKS);
    if (core.phase !== CoordinatorPhase.Active || core.proposal !== null) {
      done('the volume is changing its members');
      return;
    }
    const id = core.nextId++;
    const sentTo = core.inSync & ~core.leaving;
    this.running.set(id, { lba, blocks, sentTo, digests: new Map(), acks: 0, done });
    for (const peer of core.peers) {
      if (peer === undefined || (sentTo & peer.bit) === 0) continue;
      core.transport.send(peer.index, {
        type: MessageType.Digest,
        epoch: core.epoch,
        id,
        lba,
        blocks,
      });
    }
  }

  /** H5: all in sync are alike at one place of the stream, or software is at fault. */
  onDigest(nowMs: number, peer: Peer, message: DigestDone): void {
    const core = this.#core;
    const scrub = this.running.get(message.id);
    if (scrub === undefined) return;
    scrub.acks |= peer.bit;
    const failed = message.status !== IoStatus.Ok;
    scrub.digests.set(peer.index, failed ? '' : `${message.digestHigh}.${message.digestLow}`);
    if ((scrub.sentTo & ~scrub.acks) !== 0) return;
    this.running.delete(message.id);
    const votes = new Map<string, number[]>();
    for (const [index, digest] of scrub.digests) {
      if (digest !== '') votes.set(digest, [...(votes.get(digest) ?? []), index]);
    }
    if (votes.size <= 1) {
      scrub.done(null);
      return;
    }
    const groups = [...votes.values()].sort((a, b) => b.length - a.length);
    const clear = groups[0]!.length > groups[1]!.length;
    const suspects = clear ? groups.slice(1).flat() : groups.flat();
    for (const index of suspects) {
      const suspect = core.peers[index];
      if (suspect === undefined) continue;
      const text = `blocks ${scrub.lba}..${scrub.lba + scrub.blocks - 1} differ at one version`;
      core.host.onAlarm(AlarmKind.CrossScrubMismatch, suspect.replicaId, scrub.lba, text);
      // The minority copy is trusted no more; without a majority nobody knows which one is wrong.
      if (clear) core.members.drop(nowMs, suspect, text);
    }
    scrub.done('copies differ');
  }
}
