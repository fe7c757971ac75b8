// One seed (T3): it draws the cluster, the workload, which faults exist and how often, runs them, heals everything, and
// checks that the volume comes back with every member alike. The same seed at the same commit gives the same run.
import { SyncPolicy } from '../../src/volume/coordinator/interfaces.ts';
import { MemberState } from '../../src/wire/record.ts';
import { ALL_RULES, type Rules } from '../../src/wire/rules.ts';
import { Violation } from './checker.ts';
import { Cluster, type MemberProcess } from './cluster.ts';
import { History } from './history.ts';
import { Host, type Workload } from './host.ts';
import { Rng } from './rng.ts';

export interface SwarmResult {
  readonly seed: number;
  readonly shape: string;
  readonly ops: number;
  readonly answered: number;
  readonly reads: number;
  readonly faults: number;
  readonly activations: number;
  readonly losses: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly healed: boolean;
  /** Null: nothing was found. */
  readonly failure: string | null;
}

export interface SwarmOptions {
  readonly seed: number;
  readonly rules?: Rules;
  readonly minutes?: number;
  readonly trace?: (line: string) => void;
  /** Only this shape: '1', '2', '2w', '3' or '5'. */
  readonly shape?: string;
}

const SHAPES = ['1', '2', '2w', '3', '3', '3', '5', '5'] as const;

export function runSeed(options: SwarmOptions): SwarmResult {
  const rng = new Rng(options.seed);
  const shape = options.shape ?? rng.pick(SHAPES);
  const members = shape === '2w' ? 3 : Number(shape);
  const minutes = options.minutes ?? 5;
  const endMs = minutes * 60_000;
  const swarm = new Swarm(rng, shape, members, options);
  let failure: string | null = null;
  try {
    swarm.run(endMs);
  } catch (error) {
    failure =
      error instanceof Violation ? error.message : ((error as Error).stack ?? String(error));
  }
  const { cluster } = swarm;
  if (failure !== null) cluster.log(() => cluster.dump());
  return {
    seed: options.seed,
    shape,
    ops: swarm.hosts.reduce((sum, host) => sum + host.ops, 0),
    answered: swarm.hosts.reduce((sum, host) => sum + host.answered, 0),
    reads: cluster.checker.reads,
    faults: swarm.faults,
    activations: cluster.checker.activations,
    losses: cluster.checker.losses,
    events: cluster.scheduler.events,
    simulatedMs: cluster.scheduler.nowMs,
    healed: swarm.healed,
    failure,
  };
}

class Swarm {
  readonly cluster: Cluster;
  readonly hosts: Host[] = [];
  readonly history: History;
  readonly #rng: Rng;
  readonly #members: number;
  faults = 0;
  healed = false;
  #wiped = false;
  #quiet = false;
  #scale = 1;

  constructor(rng: Rng, shape: string, members: number, options: SwarmOptions) {
    this.#rng = rng;
    this.#members = members;
    const blocks = rng.pick([2, 8, 24]);
    // Some clusters live faster: more of the long stories fit into a run.
    const scale = rng.pick([1, 4]);
    this.#scale = scale;
    this.cluster = new Cluster({
      rng,
      rules: options.rules ?? ALL_RULES,
      members,
      witness: shape === '2w',
      spares: members > 1 ? 1 : 0,
      coordinators: 1 + rng.below(3),
      blocks,
      config: {
        syncPolicy: rng.chance(0.5) ? SyncPolicy.All : SyncPolicy.Quorum,
        hedgeMs: rng.chance(0.3) ? 50 : 0,
        leaseMs: 4000 / scale,
        heartbeatMs: 1000 / scale,
        // Now and then nobody uses the volume for longer than that, and its lease lapses.
        quietAfterMs: rng.pick([20, 5000 / scale]),
        quietHeartbeatMs: 10_000 / scale,
        recordTimeoutMs: 1000 / scale,
        lagMs: 5000 / scale,
        holdMs: 10_000 / scale,
        promiseWaitMs: rng.pick([200, 1000]) / scale,
        rebuildBytesPerSecond: rng.chance(0.3) ? 64 * 4096 : Number.POSITIVE_INFINITY,
      },
      ...(options.trace === undefined ? {} : { trace: options.trace }),
    });
    this.cluster.network.options.silenceMs /= scale;
    this.history = new History(blocks);
    this.cluster.onLossDeclared = () => this.history.forget();
    const workload: Workload = {
      gapMs: rng.pick([30, 60, 120]),
      depth: rng.pick([1, 4, 16]),
      writes: rng.between(0.2, 0.6),
      unmaps: rng.pick([0, 0.1]),
      flushes: rng.pick([0.01, 0.1]),
      fua: rng.pick([0, 0.1]),
      maxBlocks: rng.pick([1, 3]),
    };
    const count = 1 + rng.below(3);
    for (let index = 0; index < count; index += 1) {
      this.hosts.push(new Host(this.cluster, workload, this.history));
    }
  }

  run(endMs: number): void {
    const { cluster } = this;
    const rng = this.#rng;
    for (const coordinator of cluster.coordinators) {
      coordinator.onGone = () => {
        cluster.scheduler.after(rng.between(10, 5000), () => {
          if (coordinator.core === null) coordinator.start();
        });
      };
      cluster.scheduler.after(rng.between(0, 3000), () => {
        if (coordinator.core === null) coordinator.start();
      });
    }
    for (const host of this.hosts) host.start();
    this.#scheduleFaults();
    this.#scheduleControl();
    cluster.scheduler.runUntil(endMs);
    this.#heal();
    this.history.check();
  }

  // --------------------------------------------------------------------------------------------------------- faults

  #scheduleFaults(): void {
    const { cluster } = this;
    const rng = this.#rng;
    const kinds: [string, () => void][] = [
      ['reset', () => this.#reset()],
      ['cut', () => this.#cut()],
      ['split', () => this.#split()],
      ['clog', () => this.#clog()],
      ['kill', () => this.#stop(rng.pick(cluster.members), false)],
      ['reboot', () => this.#stop(rng.pick(cluster.members), true)],
      ['reboot all', () => this.#rebootAll()],
      ['pause', () => this.#pause()],
      ['coordinator kill', () => rng.pick(cluster.coordinators).kill()],
      ['coordinator pause', () => this.#pauseCoordinator()],
      ['eio', () => this.#eio()],
      ['slow', () => this.#slow()],
      ['rot', () => this.#rot()],
      ['wipe', () => this.#wipe()],
    ];
    // Swarm: each seed has its own mix.
    const mix = kinds.map(([name, fault]) => ({
      name,
      fault,
      weight: rng.pick([0, 1, 1, 4]) * (name === 'reboot all' || name === 'wipe' ? 0.25 : 1),
    }));
    const total = mix.reduce((sum, { weight }) => sum + weight, 0);
    const gapMs = rng.pick([2000, 6000, 6000, 12_000]) / this.#scale;
    const next = (): void => {
      if (this.#quiet) return;
      let dice = rng.between(0, total);
      for (const { name, fault, weight } of mix) {
        dice -= weight;
        if (dice >= 0 || weight === 0) continue;
        this.faults += 1;
        cluster.log(() => `fault: ${name}`);
        fault();
        break;
      }
      // Faults come in company.
      cluster.scheduler.after(
        rng.chance(0.4) ? rng.between(0, 300) : rng.between(0, gapMs * 2),
        next,
      );
    };
    if (total > 0) cluster.scheduler.after(rng.between(2000, 6000), next);
    else this.faults = 0;
  }

  #reset(): void {
    const connections = [...this.cluster.network.connections];
    if (connections.length > 0) this.cluster.network.reset(this.#rng.pick(connections));
  }

  #cut(): void {
    const { network, scheduler, coordinators, members } = this.cluster;
    const coordinator = this.#rng.pick(coordinators).index;
    const member = this.#rng.pick(members).index;
    const way = this.#rng.below(3);
    network.setCut(coordinator, member, way !== 1, way !== 0);
    scheduler.after(this.#duration(), () => network.setCut(coordinator, member, false, false));
  }

  /** One side keeps some members, the other the rest; a third sees all. */
  #split(): void {
    const { network, scheduler, coordinators, members } = this.cluster;
    const side = members.map(() => this.#rng.chance(0.5));
    const lone = this.#rng.below(members.length);
    if (this.#rng.chance(0.5))
      side.forEach((_, index) => {
        side[index] = index === lone;
      });
    const cut = (on: boolean): void => {
      coordinators.forEach((coordinator, at) => {
        members.forEach((member, index) => {
          const apart = at === 0 ? !side[index] : at === 1 ? side[index]! : false;
          network.setCut(coordinator.index, member.index, on && apart, on && apart);
        });
      });
    };
    cut(true);
    scheduler.after(this.#duration() * 2, () => cut(false));
  }

  #clog(): void {
    const connections = [...this.cluster.network.connections];
    if (connections.length === 0) return;
    this.cluster.network.clog(this.#rng.pick(connections), this.#rng.chance(0.5), this.#duration());
  }

  #stop(member: MemberProcess, power: boolean): void {
    if (!member.up) return;
    member.stop(power);
    this.cluster.scheduler.after(this.#duration(), () => member.start());
  }

  #rebootAll(): void {
    for (const member of this.cluster.members) this.#stop(member, true);
    if (this.#rng.chance(0.5))
      for (const coordinator of this.cluster.coordinators) coordinator.kill();
  }

  #pause(): void {
    const member = this.#rng.pick(this.cluster.members);
    if (!member.up || member.paused) return;
    member.pause();
    this.cluster.scheduler.after(this.#duration(), () => member.resume());
  }

  #pauseCoordinator(): void {
    const coordinator = this.#rng.pick(this.cluster.coordinators);
    if (coordinator.core === null || coordinator.paused) return;
    coordinator.pause();
    this.cluster.scheduler.after(this.#duration(), () => coordinator.resume());
  }

  #eio(): void {
    const { store } = this.#rng.pick(this.cluster.members);
    store.faults.eio = this.#rng.pick([0.01, 0.3]);
    this.cluster.scheduler.after(this.#duration(), () => {
      store.faults.eio = 0;
    });
  }

  #slow(): void {
    const { store } = this.#rng.pick(this.cluster.members);
    store.latencyMs = this.#rng.pick([20, 300, 3000]);
    this.cluster.scheduler.after(this.#duration(), () => {
      store.latencyMs = 0.3;
    });
  }

  /** One copy of a block at a time, and only where others are in sync: what the repair is for. */
  #rot(): void {
    const { cluster } = this;
    const record = cluster.committed;
    if (record === null) return;
    cluster.rotAllowed = true;
    const inSync = record.members.filter(
      ({ state, witness }) => state === MemberState.InSync && !witness,
    );
    if (inSync.length < 2) return;
    const lba = this.#rng.below(cluster.blocks);
    const cells = cluster.members.map(({ store }) => store.cells[lba]!);
    if (cells.some(({ rotten }) => rotten !== null)) return;
    const name = this.#rng.pick(inSync).replicaId;
    const { store } = cluster.members.find(({ replicaId }) => replicaId === name)!;
    store.rot(lba);
    if (lba % 2 === 1) store.scrub(); // Found by a scrub there, or else by who reads it (H4, W9).
  }

  /** At most a minority loses its store between two repairs. */
  #wipe(): void {
    const { cluster } = this;
    const record = cluster.committed;
    if (record === null || this.#members === 1) return;
    const named = cluster.members.filter(({ replicaId }) =>
      record.members.some((m) => m.replicaId === replicaId),
    );
    const gone = named.filter(({ blank }) => blank).length;
    const most = record.members.length - (Math.floor(record.members.length / 2) + 1);
    if (gone + 1 > most) return;
    const victim = this.#rng.pick(named);
    const others = record.members.filter(
      ({ replicaId, state, witness }) =>
        replicaId !== victim.replicaId && state === MemberState.InSync && !witness,
    );
    if (victim.blank || others.length < 1) return;
    this.#wiped = true;
    victim.wipe();
  }

  #duration(): number {
    const rng = this.#rng;
    const ms = rng.pick([rng.between(1, 50), rng.between(50, 1500), rng.between(1000, 12_000)]);
    return ms / this.#scale;
  }

  // --------------------------------------------------------------------------------------------------- control changes

  #scheduleControl(): void {
    const { cluster } = this;
    const rng = this.#rng;
    const snapshots = rng.chance(0.5);
    let number = 0;
    const next = (): void => {
      if (this.#quiet) return;
      const active = cluster.active();
      if (active !== null && !active.paused) {
        const { core } = active;
        active.event(() => {
          const now = active.clock.now();
          const record = core!.record!;
          if (snapshots && rng.chance(0.5)) {
            number += 1;
            const id = `snap-${number}`;
            if (record.snapshots.length < 3) {
              core!.takeSnapshot(now, { id, name: id, createdMs: 0 }, (error) => {
                if (error === null) cluster.snapshots.onTaken(id, core!.record!);
              });
            } else {
              const { id } = rng.pick(record.snapshots);
              cluster.snapshots.onDelete(id);
              core!.deleteSnapshot(now, id, () => {});
            }
          } else {
            this.#replaceBlank();
          }
        });
      }
      cluster.scheduler.after(rng.between(500, 15_000) / this.#scale, next);
    };
    cluster.scheduler.after(rng.between(3000, 9000), next);
  }

  /** What the control plane does: a member that came back empty, or stays away, gives its place to a fresh store (B8). */
  #replaceBlank(): void {
    const { cluster } = this;
    const rng = this.#rng;
    const active = cluster.active();
    if (active === null) return;
    const core = active.core!;
    const record = core.record!;
    const now = active.clock.now();
    const byName = (name: string): MemberProcess =>
      cluster.members.find(({ replicaId }) => replicaId === name)!;
    const wiped = record.members.find(
      (member) => byName(member.replicaId).store.storeId !== member.storeId,
    );
    if (wiped !== undefined) {
      const { replicaId, witness } = wiped;
      core.changeMember(now, replicaId, { replicaId, witness }, () => {});
      return;
    }
    const stale = record.members.filter(
      ({ state, witness }) => state === MemberState.Stale && !witness,
    );
    const spare = cluster.members.find(
      (member) =>
        member.up && !record.members.some(({ replicaId }) => replicaId === member.replicaId),
    );
    if (stale.length === 0 || spare === undefined || !rng.chance(0.3)) return;
    if (spare.store.record !== null) {
      // Formatted for the volume again; E8: not below the epoch that it promised.
      if (spare.core === null || spare.core.promised > core.epoch) return;
      if (record.oldMembers.length > 0) return;
      spare.wipe();
    }
    active.addPeer(spare.replicaId);
    const leaver = rng.pick(stale).replicaId;
    cluster.scheduler.after(rng.between(200, 1000), () => {
      if (active.core !== core || active.paused) return;
      active.event(() =>
        core.changeMember(
          active.clock.now(),
          leaver,
          { replicaId: spare.replicaId, witness: false },
          () => {},
        ),
      );
    });
  }

  // ------------------------------------------------------------------------------------------------------------ heal

  #heal(): void {
    const { cluster } = this;
    this.#quiet = true;
    cluster.log(() => 'healing');
    cluster.network.heal();
    for (const member of cluster.members) {
      member.store.faults.eio = 0;
      member.store.latencyMs = 0.3;
      member.resume();
      member.start();
    }
    for (const coordinator of cluster.coordinators) coordinator.resume();
    const start = cluster.scheduler.nowMs;
    const deadline = start + 120_000;
    let at = start;
    while (at < deadline) {
      at += 1000;
      cluster.scheduler.runUntil(at);
      if (at - start > 3000) this.#replaceBlank();
      if (at - start > 20_000) for (const host of this.hosts) host.stopped = true;
      if (at - start > 25_000 && this.#isWhole() && this.#holdsAll()) {
        this.healed = true;
        cluster.checkHealed();
        return;
      }
    }
    // Whoever is whole makes up for what it lacks (B6); not to have come so far is the only excuse.
    if (!this.#wiped || this.#isWhole()) {
      const active = cluster.active();
      const status = active?.core?.status(active.clock.now());
      const states = status?.members.map(
        ({ replicaId, state, connected, lastFault }) =>
          `${replicaId} ${state} ${connected} ${lastFault}`,
      );
      const phases = cluster.coordinators.map(
        ({ core, clock }) => `${core?.phase} ${core?.status(clock.now()).waitingFor}`,
      );
      cluster.log(() => cluster.dump());
      throw new Violation(`did not heal: ${phases.join('; ')}; ${states?.join('; ')}`);
    }
  }

  #isWhole(): boolean {
    const { cluster } = this;
    const active = cluster.active();
    if (active === null) return false;
    const core = active.core!;
    const record = core.record!;
    if (record.oldMembers.length > 0 || cluster.committed !== record) return false;
    if (record.members.some(({ state, witness }) => state !== MemberState.InSync && !witness))
      return false;
    const status = core.status(active.clock.now());
    return (
      status.heldOps === 0 &&
      status.waitingFor === '' &&
      status.members.every(({ lagOps }) => lagOps === 0) &&
      active.ops.size === 0
    );
  }

  /** Every snapshot is held by every data member, as the record says it. */
  #holdsAll(): boolean {
    const { snapshots, members } = this.cluster.committed!;
    const data = members.filter(({ witness }) => !witness);
    return snapshots.every(({ holders }) => holders.length === data.length);
  }
}
