// A cluster in one thread (T2): members, coordinators, the network between them, all on one scheduler. This file is the
// simulator's production shell: it drives the same cores as src/daemon does.
import { BlockOp, BlockOpKind, IoStatus } from '../../src/block/index.ts';
import { Member } from '../../src/replica/member.ts';
import { AccessMode, Admission } from '../../src/volume/admission.ts';
import { Coordinator } from '../../src/volume/coordinator/coordinator.ts';
import type { CoordinatorHost } from '../../src/volume/coordinator/interfaces.ts';
import {
  type CoordinatorConfig,
  CoordinatorPhase,
  DEFAULT_COORDINATOR_CONFIG,
} from '../../src/volume/coordinator/interfaces.ts';
import {
  type Apply,
  BlockKind,
  type CoordinatorMessage,
  type MemberMessage,
  MessageType,
} from '../../src/wire/messages.ts';
import { initialRecord, MemberState, type VolumeRecord } from '../../src/wire/record.ts';
import type { Rules } from '../../src/wire/rules.ts';
import { maxVersion, type Version } from '../../src/wire/version.ts';
import { Checker, type Limits } from './checker.ts';
import { SimClock } from './clock.ts';
import { type Connection, Network } from './network.ts';
import type { Rng } from './rng.ts';
import { Scheduler } from './scheduler.ts';
import { type Cell, crcOf, type SimPayload, SimStore } from './sim-store.ts';
import { SnapshotChecker } from './snapshot-checker.ts';

export const VOLUME = 'volume-1';

/** An operation of a host: a BlockOp with what the checker must know of it. */
export class HostOp extends BlockOp {
  /** The value of its first block; 0 for zeros. */
  value = 0;
  /** Given by the coordinator at issue; the last one, if it was issued anew. */
  version: Version | null = null;
  limits: Limits | null = null;
  flushAcked: readonly Version[] | null = null;
  losses = 0;
  /** Those that its coordinator itself had declared when it began on it: what comes later its sessions outlive. */
  lossesBefore = 0;
  got: SimPayload | null = null;
  coordinator!: CoordinatorProcess;
  session = 0;
  host!: { onOpDone(op: HostOp, status: IoStatus | null): void };
  done = false;
}

export class MemberProcess {
  readonly index: number;
  readonly replicaId: string;
  readonly cluster: Cluster;
  readonly store: SimStore;
  readonly clock: SimClock;
  core: Member | null = null;
  up = false;
  paused = false;
  #waiting: (() => void)[] = [];
  readonly sessions = new Map<number, Connection>();
  /** True while it is not part of the volume, or was wiped and not replaced. */
  blank = false;

  constructor(cluster: Cluster, index: number, store: SimStore, clock: SimClock) {
    this.cluster = cluster;
    this.index = index;
    this.replicaId = store.replicaId;
    this.store = store;
    this.clock = clock;
    store.onFault = () => {
      // S9: the process exits; on reopening only what the last good flush covered is there, which is another boot (V6).
      cluster.scheduler.after(0, () => {
        if (!this.up) return;
        this.stop(true);
        cluster.scheduler.after(cluster.rng.between(50, 3000), () => this.start());
      });
    };
  }

  start(): void {
    if (this.up) return;
    this.up = true;
    this.paused = false;
    this.store.open(this.cluster.newId('open'));
    const transport = {
      send: (session: number, message: MemberMessage): void => {
        const connection = this.sessions.get(session);
        if (connection !== undefined) this.cluster.network.send(connection, false, message);
      },
      close: (session: number): void => {
        const connection = this.sessions.get(session);
        if (connection === undefined) return;
        this.sessions.delete(session);
        this.cluster.network.close(connection, true);
        this.cluster.scheduler.after(0, () => this.core?.onSessionEnd(this.clock.now(), session));
      },
    };
    const core = new Member(
      this.clock.now(),
      { volumeId: VOLUME, replicaId: this.replicaId, leaseMs: this.cluster.config.leaseMs },
      this.store,
      transport,
      this.cluster.rules,
    );
    this.core = core;
    this.store.attach(this.pausable(core), () => this.clock.now());
  }

  /** Store answers of a stopped process wait until it goes on. */
  pausable(core: Member): Member {
    return new Proxy(core, {
      get: (target, name) => {
        const method = (target as unknown as Record<string | symbol, unknown>)[name];
        if (typeof method !== 'function') return method;
        return (_now: number, ...rest: unknown[]) => {
          this.run(() => {
            if (this.core === core) method.call(target, this.clock.now(), ...rest);
          });
        };
      },
    });
  }

  run(event: () => void): void {
    if (this.paused) this.#waiting.push(event);
    else event();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    for (const event of this.#waiting.splice(0)) this.run(event);
  }

  stop(power: boolean): void {
    if (!this.up) return;
    this.up = false;
    this.core = null;
    this.#waiting = [];
    this.paused = false;
    for (const connection of this.sessions.values()) this.cluster.network.reset(connection);
    this.sessions.clear();
    if (power) this.store.powerLoss(this.cluster.newId('boot'));
    else this.store.crash();
  }

  wipe(): void {
    const { up } = this;
    this.stop(true);
    this.store.wipe(this.cluster.newId('store'));
    this.blank = true;
    if (up) this.start();
  }
}

export class CoordinatorProcess implements CoordinatorHost {
  readonly index: number;
  readonly cluster: Cluster;
  readonly clock: SimClock;
  core: Coordinator | null = null;
  serving = false;
  paused = false;
  session = 0;
  #waiting: (() => void)[] = [];
  #connections: (Connection | undefined)[] = [];
  #connecting: boolean[] = [];
  #peers: string[] = [];
  #life = 0;
  #armedMs = Number.POSITIVE_INFINITY;
  #admission!: Admission;
  /** Operations of hosts without an answer. */
  ops = new Set<HostOp>();
  onGone: () => void = () => {};
  onSession: () => void = () => {};

  constructor(cluster: Cluster, index: number, clock: SimClock) {
    this.cluster = cluster;
    this.index = index;
    this.clock = clock;
  }

  start(): void {
    const { cluster } = this;
    this.#life += 1;
    const life = this.#life;
    this.#connections = [];
    this.#connecting = [];
    this.#peers = [];
    this.serving = true;
    this.session += 1;
    this.#admission = new Admission((op) => this.#toCore(op as HostOp));
    const core = new Coordinator({
      volumeId: VOLUME,
      coordinatorId: cluster.newId('coordinator'),
      config: cluster.config,
      random: cluster.rng,
      rules: cluster.rules,
      ...cluster.lastOp,
      host: this,
      transport: {
        send: (peer, message) => this.#send(peer, message),
        disconnect: (peer) => {
          const connection = this.#connections[peer];
          this.#connections[peer] = undefined;
          if (connection !== undefined) cluster.network.close(connection, false);
          this.#connect(peer, life);
        },
      },
    });
    this.core = core;
    for (const member of cluster.members) {
      if (!cluster.isSpare(member)) this.addPeer(member.replicaId);
    }
    this.event(() => core.start(this.clock.now()));
  }

  addPeer(replicaId: string): void {
    const core = this.core!;
    this.event(() => {
      const peer = core.addPeer(this.clock.now(), replicaId);
      if (this.#peers[peer] !== undefined) return;
      this.#peers[peer] = replicaId;
      this.#connect(peer, this.#life);
    });
  }

  onPeerNeeded(replicaId: string, peer: number): void {
    this.#peers[peer] = replicaId;
    this.#connect(peer, this.#life);
  }

  #send(peer: number, message: CoordinatorMessage): void {
    const connection = this.#connections[peer];
    if (connection === undefined) return;
    if (message.type === MessageType.Apply) this.#onIssue(message);
    this.cluster.network.send(connection, true, message);
  }

  /** By `dataByteOffset`, which the simulator has no other use for: it comes through to the Apply. */
  #losses = 0;
  readonly #issuing = new Map<number, HostOp>();

  /** The version of an op is known here first. */
  #onIssue(message: Apply): void {
    const op = this.#issuing.get(message.dataByteOffset)!;
    const version = { epoch: message.epoch, op: message.op };
    op.version = version;
    this.cluster.checker.onIssue(version, message.lba, message.blocks, op.value);
  }

  #connect(peer: number, life: number): void {
    if (this.#connecting[peer]) return;
    this.#connecting[peer] = true;
    const { scheduler, rng, network, members } = this.cluster;
    const retry = (): void => {
      scheduler.after(rng.between(20, 150), () => {
        if (life !== this.#life || this.core === null) return;
        const member = members.find(({ replicaId }) => replicaId === this.#peers[peer]);
        if (
          this.paused ||
          member === undefined ||
          !member.up ||
          member.paused ||
          network.isCut(this.index, member.index)
        ) {
          retry();
          return;
        }
        this.#connecting[peer] = false;
        this.#opened(peer, member, life);
      });
    };
    retry();
  }

  #opened(peer: number, member: MemberProcess, life: number): void {
    const { cluster } = this;
    const connection = cluster.network.open(this.index, member.index);
    const session = cluster.nextNumber();
    this.#connections[peer] = connection;
    member.sessions.set(session, connection);
    const memberCore = member.core!;
    member.run(() => memberCore.onSessionStart(member.clock.now(), session));
    connection.down.deliver = (message) =>
      member.run(() => {
        if (member.core === memberCore && member.sessions.has(session)) {
          memberCore.onMessage(member.clock.now(), session, message as CoordinatorMessage);
        }
      });
    connection.onEndMember = () =>
      member.run(() => {
        if (!member.sessions.delete(session) || member.core !== memberCore) return;
        memberCore.onSessionEnd(member.clock.now(), session);
      });
    connection.up.deliver = (message) =>
      this.event(() => {
        if (this.#connections[peer] !== connection) return;
        this.core?.onMessage(this.clock.now(), peer, message as MemberMessage);
      });
    connection.onEndCoordinator = () =>
      this.event(() => {
        if (life !== this.#life || this.#connections[peer] !== connection) return;
        this.#connections[peer] = undefined;
        this.core?.onDisconnected(this.clock.now(), peer);
        this.#connect(peer, life);
      });
    this.event(() => {
      if (this.#connections[peer] === connection) this.core?.onConnected(this.clock.now(), peer);
    });
  }

  /** Runs an event of this process, now or when it goes on, and sees to its next tick. */
  event(run: () => void): void {
    const life = this.#life;
    if (this.paused) {
      this.#waiting.push(() => {
        if (life === this.#life) this.event(run);
      });
      return;
    }
    run();
    this.#arm();
  }

  #arm(): void {
    const { core } = this;
    if (core === null || core.wakeAtMs === Number.POSITIVE_INFINITY) return;
    if (core.wakeAtMs >= this.#armedMs) return;
    this.#armedMs = core.wakeAtMs;
    const life = this.#life;
    this.cluster.scheduler.at(this.clock.when(core.wakeAtMs), () => {
      this.#armedMs = Number.POSITIVE_INFINITY;
      if (life !== this.#life) return;
      this.event(() => {
        if (this.core !== null && this.core.wakeAtMs <= this.clock.now()) {
          this.core.tick(this.clock.now());
        }
      });
    });
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    for (const event of this.#waiting.splice(0)) event();
  }

  kill(): void {
    if (this.core === null) return;
    this.core = null;
    this.#life += 1;
    this.#armedMs = Number.POSITIVE_INFINITY;
    this.#waiting = [];
    this.paused = false;
    this.serving = false;
    for (const connection of this.#connections) {
      if (connection !== undefined) this.cluster.network.close(connection, false);
    }
    this.#connections = [];
    this.#closeSessions();
    this.onGone();
  }

  // --------------------------------------------------------------------------------------------- hosts' operations

  /** W1, as src/volume does it. */
  submit(op: HostOp): void {
    op.coordinator = this;
    op.session = this.session;
    this.ops.add(op);
    if (this.core === null || !this.serving) {
      this.cluster.scheduler.after(1, () => this.#finish(op, null));
      return;
    }
    const { checker, rules } = this.cluster;
    op.losses = checker.losses;
    if (op.kind === BlockOpKind.Flush) op.flushAcked = checker.onFlushStart();
    op.limits = op.kind === BlockOpKind.Read ? checker.limits(op.lba, op.blocks) : null;
    this.event(() => {
      if (op.done) return;
      const reads = op.kind === BlockOpKind.Read;
      if (op.kind === BlockOpKind.Flush || !rules.W1_admission) {
        this.#toCore(op);
        return;
      }
      const mode = reads ? AccessMode.Read : AccessMode.Change;
      if (this.#admission.admit(op, op.lba, op.lba + op.blocks, mode)) this.#toCore(op);
    });
  }

  #toCore(op: HostOp): void {
    this.#issuing.set(op.dataByteOffset, op);
    op.lossesBefore = this.#losses;
    op.lower = { onBlockDone: (done, status) => this.#onDone(done as HostOp, status) };
    this.core!.submit(this.clock.now(), op);
  }

  #onDone(op: HostOp, status: IoStatus): void {
    this.#issuing.delete(op.dataByteOffset);
    const admitted = op.admitted >= 0;
    if (admitted) this.#admission.release(op);
    const answered = status !== IoStatus.Offline && op.session === this.session;
    if (!op.done && answered) this.#check(op, status);
    this.#finish(op, answered ? status : null);
    if (admitted) this.#admission.startWaiters();
  }

  #check(op: HostOp, status: IoStatus): void {
    const { checker } = this.cluster;
    if (status !== IoStatus.Ok) {
      this.cluster.onErrorAnswer(op, status);
      return;
    }
    switch (op.kind) {
      case BlockOpKind.Read:
        checker.onRead(this.core!.epoch, op.lba, op.got!.values, op.got!.versions, op.limits!);
        return;
      case BlockOpKind.Flush:
        // C8: of a session that outlived the loss; what fails it is above the core. Here it counts for nothing.
        if (op.losses === checker.losses) checker.onFlushed(op.flushAcked!);
        if (op.lossesBefore !== this.#losses) {
          checker.fail('a SYNC that waited while a loss was declared ended well (C8)');
        }
        return;
      default:
        this.cluster.onAck(op);
        checker.onAcked(op.version!, op.lba, op.blocks, op.fua);
    }
  }

  #finish(op: HostOp, status: IoStatus | null): void {
    this.ops.delete(op);
    if (op.done) return;
    op.done = true;
    op.host.onOpDone(op, status);
  }

  #closeSessions(): void {
    this.session += 1;
    for (const op of [...this.ops]) {
      // Nobody is told; those that run may still take effect, or not.
      op.done = true;
      op.host.onOpDone(op, null);
    }
    this.ops.clear();
    this.onSession();
  }

  // ------------------------------------------------------------------------------------------------- CoordinatorHost

  fill(op: BlockOp, data: import('../../src/wire/messages.ts').Payload): void {
    (op as HostOp).got = data as SimPayload;
  }

  checksum(op: BlockOp, into: Uint32Array): void {
    const { value, blocks } = op as HostOp;
    for (let index = 0; index < blocks; index += 1) into[index] = crcOf(value + index);
  }

  onPhase(phase: CoordinatorPhase, epoch: number): void {
    if (phase === CoordinatorPhase.Active) this.cluster.onActive(this, epoch);
    this.cluster.log(() => `coordinator ${this.index}: phase ${phase}, epoch ${epoch}`);
  }

  onRecord(record: VolumeRecord): void {
    this.cluster.log(() => `coordinator ${this.index}: record ${describeRecord(record)}`);
    this.cluster.onRecord(this, record);
  }

  onHoldExpired(): void {
    this.cluster.log(() => `coordinator ${this.index}: held too long`);
    this.serving = false;
    this.#closeSessions();
  }

  onServing(): void {
    this.serving = true;
    this.session += 1;
  }

  onDeposed(byEpoch: number): void {
    this.cluster.log(() => `coordinator ${this.index}: deposed by epoch ${byEpoch}`);
    this.serving = false;
    this.#closeSessions();
    const life = this.#life;
    this.cluster.scheduler.after(0, () => {
      if (life === this.#life) this.kill();
    });
  }

  onLossDeclared(): void {
    this.#losses += 1;
    this.cluster.log(() => `coordinator ${this.index}: loss declared`);
    this.cluster.onLossDeclared();
  }

  onAlarm(kind: number, replicaId: string, lba: number, text: string): void {
    this.cluster.log(() => `coordinator ${this.index}: alarm ${kind} ${replicaId} ${lba} ${text}`);
  }
}

export function describeRecord(record: VolumeRecord): string {
  const members = record.members.map(({ replicaId, state, join, since, witness }) => {
    if (witness) return `${replicaId}:W`;
    if (state === MemberState.InSync) return `${replicaId}:S`;
    if (state === MemberState.Joining)
      return `${replicaId}:J${join.epoch}.${join.op}/${since.epoch}.${since.op}`;
    return `${replicaId}:X${since.epoch}.${since.op}`;
  });
  const old = record.oldMembers.length > 0 ? ` old ${record.oldMembers.length}` : '';
  return `(${record.epoch},${record.n}) ${members.join(' ')}${old}${record.lossPending ? ' loss' : ''}`;
}

export interface ClusterOptions {
  readonly rng: Rng;
  readonly rules: Rules;
  readonly members: number;
  readonly witness: boolean;
  readonly spares: number;
  readonly coordinators: number;
  readonly blocks: number;
  readonly config?: Partial<CoordinatorConfig>;
  /** E1. Standard: 2^40 - 1. */
  readonly lastOpNumber?: number;
  readonly trace?: (line: string) => void;
}

const AFTER_HEALING = 'after healing';

export class Cluster {
  readonly scheduler = new Scheduler();
  readonly rng: Rng;
  readonly rules: Rules;
  readonly config: CoordinatorConfig;
  readonly lastOp: { readonly lastOpNumber?: number };
  readonly network: Network;
  readonly checker: Checker;
  readonly snapshots = new SnapshotChecker();
  readonly members: MemberProcess[] = [];
  readonly coordinators: CoordinatorProcess[] = [];
  readonly blocks: number;
  readonly #trace: ((line: string) => void) | undefined;
  #number = 0;
  readonly #initialMembers: number;
  /** The newest record that any coordinator committed. */
  committed: VolumeRecord | null = null;
  rotAllowed = false;
  fullAllowed = false;

  constructor(options: ClusterOptions) {
    this.rng = options.rng;
    this.rules = options.rules;
    this.blocks = options.blocks;
    this.#initialMembers = options.members;
    this.#trace = options.trace;
    this.config = { ...DEFAULT_COORDINATOR_CONFIG, ...options.config };
    const { lastOpNumber } = options;
    this.lastOp = lastOpNumber === undefined ? {} : { lastOpNumber };
    this.network = new Network(this.scheduler, this.rng, {
      minDelayMs: 0.05,
      maxDelayMs: 0.5,
      silenceMs: 5000,
    });
    this.checker = new Checker(options.blocks, () =>
      this.members.map(({ store }) => store.holeFloor).reduce(maxVersion),
    );
    const total = options.members + options.spares;
    const identities = Array.from({ length: total }, (_, index) => ({
      replicaId: `r${index}`,
      storeId: this.newId('store'),
      openId: '',
      bootId: this.newId('boot'),
      witness: options.witness && index === options.members - 1,
    }));
    const record = initialRecord({
      volumeId: VOLUME,
      sizeBlocks: options.blocks,
      members: identities.slice(0, options.members),
    });
    identities.forEach((identity, index) => {
      const store = new SimStore({
        ...identity,
        blocks: options.blocks,
        record: index < options.members ? record : null,
        scheduler: this.scheduler,
        rng: this.rng,
        rules: this.rules,
      });
      const clock = new SimClock(
        this.scheduler,
        this.rng.between(0.995, 1.005),
        this.rng.between(0, 1e6),
      );
      const member = new MemberProcess(this, index, store, clock);
      member.blank = index >= options.members;
      this.members.push(member);
      member.start();
    });
    for (let index = 0; index < options.coordinators; index += 1) {
      const clock = new SimClock(
        this.scheduler,
        this.rng.between(0.995, 1.005),
        this.rng.between(0, 1e6),
      );
      this.coordinators.push(new CoordinatorProcess(this, index, clock));
    }
  }

  newId(kind: string): string {
    return `${kind}-${this.nextNumber()}`;
  }

  nextNumber(): number {
    this.#number += 1;
    return this.#number;
  }

  log(line: () => string): void {
    this.#trace?.(`${this.scheduler.nowMs.toFixed(2)} ${line()}`);
  }

  isSpare(member: MemberProcess): boolean {
    return member.index >= this.#initialMembers;
  }

  active(): CoordinatorProcess | null {
    let best: CoordinatorProcess | null = null;
    for (const one of this.coordinators) {
      if (one.core?.phase !== CoordinatorPhase.Active) continue;
      if (best === null || one.core.epoch > best.core!.epoch) best = one;
    }
    return best;
  }

  onActive(coordinator: CoordinatorProcess, epoch: number): void {
    // Its members had stored its record before they promised a higher epoch; it was stopped, or the answers were, until now.
    // Nothing is settled by it, and that it answers nobody is looked at with each answer (E3, E5).
    if (epoch < this.checker.decidedEpoch) return;
    const record = coordinator.core!.record!;
    const versions = this.#alike(record, `activation of epoch ${epoch}`);
    this.checker.onActive(epoch, versions, record.lossPending && this.rules.V6_clean);
    this.onActivated(coordinator);
  }

  onActivated: (coordinator: CoordinatorProcess) => void = () => {};

  onRecord(_coordinator: CoordinatorProcess, record: VolumeRecord): void {
    const known = this.committed;
    if (
      known === null ||
      record.epoch > known.epoch ||
      (record.epoch === known.epoch && record.n > known.n)
    ) {
      for (const snapshot of record.snapshots) {
        if (known?.snapshots.some(({ id }) => id === snapshot.id)) continue;
        for (const holder of snapshot.holders) {
          const entry = record.members.find(({ replicaId }) => replicaId === holder);
          if (entry?.state !== MemberState.InSync) continue; // Away: it will say what it has.
          const member = this.members.find(({ replicaId }) => replicaId === holder)!;
          // E6: wiped since it stored the record, and none that the record names.
          if (entry.storeId !== member.store.storeId) continue;
          const cells = member.store.snapshotCells(snapshot.id);
          if (cells === null) this.checker.fail(`snapshot ${snapshot.id} is missing at ${holder}`);
          this.checker.onSnapshot(snapshot.version, cells);
        }
      }
      this.snapshots.onRecord(record, this.members);
      this.committed = record;
      for (const member of this.members) {
        const entry = record.members.find(({ replicaId }) => replicaId === member.replicaId);
        member.blank = entry === undefined || entry.storeId !== member.store.storeId;
      }
    }
  }

  onLossDeclared(): void {}

  onAck: (op: HostOp) => void = () => {};

  onErrorAnswer(op: HostOp, status: IoStatus): void {
    if (status === IoStatus.Damaged && this.rotAllowed) return;
    if (status === IoStatus.NoSpace && this.fullAllowed) return;
    const isSync = op.kind === BlockOpKind.Flush || op.fua;
    if (status === IoStatus.IoError && isSync && op.losses !== this.checker.losses) return; // C8.
    this.checker.fail(`operation of kind ${op.kind} ended with status ${status} (C6)`);
  }

  /** (7): every member in sync has the same; returns its versions. */
  #alike(record: VolumeRecord, when: string): Version[] {
    let first: { readonly cells: readonly Cell[]; readonly name: string } | null = null;
    const versions: Version[] = [];
    for (const entry of record.members) {
      if (entry.witness || entry.state !== MemberState.InSync) continue;
      const member = this.members.find(({ replicaId }) => replicaId === entry.replicaId)!;
      // Wiped since it voted: not the store that the record names, and never taken for it (V1).
      const wiped = entry.storeId !== member.store.storeId;
      if (wiped && when !== AFTER_HEALING) continue;
      const { cells } = member.store;
      for (let at = 0; at < cells.length; at += 1) {
        const cell = cells[at]!;
        const before = versions[at];
        if (first === null) {
          versions[at] = { epoch: cell.epoch, op: cell.op };
          continue;
        }
        if (before!.epoch === cell.epoch && before!.op === cell.op) continue;
        // B7: one has dropped the version of a hole, the other not yet.
        const other = first.cells[at]!;
        if (cell.kind !== BlockKind.Data && other.kind !== BlockKind.Data) {
          if (other.kind === BlockKind.Empty) versions[at] = { epoch: cell.epoch, op: cell.op };
          continue;
        }
        this.checker.fail(
          `${when}: block ${at} is ${other.epoch}.${other.op} at ${first.name}, ${cell.epoch}.${cell.op} at ${member.replicaId}`,
        );
      }
      if (first === null) first = { cells, name: member.replicaId };
    }
    return versions;
  }

  /** What every store holds, for a person who reads a failure. */
  dump(): string {
    const lines = this.members.map(({ replicaId, store, up }) => {
      const cells = store.cells.map(
        (cell) => `${cell.kind}:${cell.epoch}.${cell.op}${cell.rotten !== null ? '!' : ''}`,
      );
      const record = store.record === null ? 'blank' : describeRecord(store.record);
      return `  ${replicaId} ${up ? 'up' : 'down'} ${store.storeId} ${record}\n    ${cells.join(' ')}`;
    });
    return `stores:\n${lines.join('\n')}`;
  }

  checkHealed(): void {
    const record = this.active()!.core!.record!;
    const versions = this.#alike(record, AFTER_HEALING);
    this.snapshots.onHealed(record, this.members);
    for (const member of this.members) {
      if (!record.members.some(({ replicaId }) => replicaId === member.replicaId)) continue;
      for (const id of member.store.snapshots()) {
        // P3: what no record names does not exist.
        if (record.snapshots.some((snapshot) => snapshot.id === id)) continue;
        this.checker.fail(`${member.replicaId} still holds ${id}, which no record names`);
      }
    }
    versions.forEach((version, at) => {
      const acked = this.checker.acked[at]!;
      const zero = version.epoch === 0 && version.op === 0;
      const has = zero ? this.checker.droppedHole(at, acked) : version;
      if (has.epoch < acked.epoch || (has.epoch === acked.epoch && has.op < acked.op)) {
        this.checker.fail(
          `after healing block ${at} has ${has.epoch}.${has.op}, acked ${acked.epoch}.${acked.op}`,
        );
      }
    });
  }
}
