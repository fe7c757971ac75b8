// Replication in the daemon: what the volume controller asks of it, done by coordinators over the wire.
import { type Clock, type Log, SlottedClock, SystemRandom, type Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import {
  type KeptBlob,
  type NewReplica,
  type OpenReplicated,
  parseNode,
  type ReplicaFacts,
  type ReplicaPolicy,
  type ReplicatedHandle,
  type ReplicatedSnapshot,
  type ReplicationBackend,
  type SnapshotPiece,
  type WantedReplica,
} from '../control/index.ts';
import {
  CoordinatorNode,
  changedIn,
  pieceIn,
  ReplicaNode,
  ReplicatedVolume,
  rollBack,
  rollbackOf,
} from '../replication/index.ts';
import type { Pool } from '../store/index.ts';
import type { Volume } from '../volume/index.ts';
import { BlockKind } from '../wire/messages.ts';
import { ZERO_VERSION } from '../wire/version.ts';
import { READ_POLICIES, type ReplicationConfig, SYNC_POLICIES } from './config/index.ts';

const MANAGE_TIMEOUT_MS = 10_000;
/** How often replicas are asked what they take, and rebuilds looked at for their speed. */
const POLL_MS = 5000;
/** How long a replica must have been blank or missing before it is made anew. */
const BLANK_GRACE_MS = 3000;
const LOOK_MS = 1000;
/** Of one question to a replica. */
const MAX_RUNS = 1024;
/** What a block may be that is not empty: what is damaged was something. */
const HOLDS: ReadonlySet<number> = new Set([BlockKind.Data, BlockKind.Damaged]);
/** A replica that is to be removed must first see the change committed; this long, its node may be asked to delete it. */
const DELETE_TIMEOUT_MS = 3000;

export interface ReplicationOptions {
  readonly config: ReplicationConfig;
  readonly node: string;
  readonly version: string;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly log: Log;
  /** Sessions logged in to a target, as keys that are never used again. */
  readonly sessionsOf: (iqn: string) => readonly string[];
}

export function replicaNodeOf(
  options: Omit<ReplicationOptions, 'sessionsOf'>,
  pool: Pool,
): ReplicaNode {
  const { config, node, version } = options;
  return new ReplicaNode({
    ...options,
    pool,
    random: new SystemRandom(),
    node,
    software: `ashlar ${version}`,
    secret: config.secret,
    tls: config.tls,
    timeouts: config.timeouts,
    leaseMs: config.coordinator.leaseMs,
    maxConnections: config.maxConnections,
  });
}

export class Replication implements ReplicationBackend {
  readonly #options: ReplicationOptions;
  readonly #coordinators: CoordinatorNode;
  readonly #rounds: Rounds;

  constructor(given: ReplicationOptions) {
    // What coordinators say every second, they say together.
    const options = { ...given, clock: new SlottedClock(given.clock, given.turn) };
    this.#options = options;
    const { config, node, version } = options;
    this.#coordinators = new CoordinatorNode({
      ...options,
      random: new SystemRandom(),
      node,
      software: `ashlar ${version}`,
      secret: config.secret,
      tls: config.tls,
      timeouts: config.timeouts,
      connectTimeoutMs: config.connectTimeoutMs,
      manageTimeoutMs: MANAGE_TIMEOUT_MS,
    });
    this.#rounds = new Rounds(this.#coordinators);
  }

  async make(
    id: string,
    sizeBlocks: number,
    replicas: readonly NewReplica[],
    blobs: readonly KeptBlob[] = [],
  ): Promise<void> {
    const plan = replicas.map(({ id: replicaId, node, source, witness = false }) => ({
      replicaId,
      at: parseNode(node)!,
      witness,
      ...(source === undefined ? {} : { source }),
    }));
    await this.#coordinators.makeVolume(id, sizeBlocks, plan, blobs);
  }

  open(wanted: OpenReplicated): ReplicatedHandle {
    return new Handle(this.#options, this.#coordinators, this.#rounds, wanted);
  }

  async destroy(id: string, epoch: number, replicas: readonly WantedReplica[]): Promise<void> {
    await Promise.all(
      replicas.map(async ({ id: replicaId, node }) => {
        try {
          const which = { volumeId: id, replicaId, epoch };
          await this.#coordinators.manager.delete(parseNode(node)!, which, DELETE_TIMEOUT_MS);
        } catch (error) {
          // Its node is away: the replica stays there until somebody deletes it by hand; the volume is gone all the same.
          this.#options.log.warn(
            { replica: replicaId, node, err: error },
            'a replica was left behind',
          );
        }
      }),
    );
  }
}

/**
 * What coordinators have done now and then, for all of them at once: a thousand timers would wake the process a thousand
 * times, and a thousand coordinators that each asked the nodes what all thousand volumes take would do nothing else.
 */
class Rounds {
  readonly #coordinators: CoordinatorNode;
  readonly #handles = new Set<Handle>();
  #looker: NodeJS.Timeout | null = null;
  #poller: NodeJS.Timeout | null = null;
  #polling = false;
  /** The quiet spells that were the same when all was asked last; empty: not all volumes were quiet. */
  #polled = '';

  constructor(coordinators: CoordinatorNode) {
    this.#coordinators = coordinators;
  }

  add(handle: Handle): void {
    this.#handles.add(handle);
    this.#looker ??= setInterval(() => {
      for (const each of this.#handles) each.look();
    }, LOOK_MS).unref();
    this.#poller ??= setInterval(() => void this.#poll(), POLL_MS).unref();
  }

  delete(handle: Handle): void {
    this.#handles.delete(handle);
    if (this.#handles.size > 0) return;
    if (this.#looker !== null) clearInterval(this.#looker);
    if (this.#poller !== null) clearInterval(this.#poller);
    this.#looker = null;
    this.#poller = null;
  }

  /** What the fullest replica of each volume takes. An answer of some seconds ago is good enough for a table. */
  async #poll(): Promise<void> {
    if (this.#polling) return; // A node that does not answer is not asked again meanwhile.
    const spells = [...this.#handles].map((handle) => `${handle.volumeId}:${handle.quietSpell()}`);
    const all = spells.join(' ');
    if (all === this.#polled) return; // Nobody has used any of them since.
    this.#polling = true;
    const nodes = new Set([...this.#handles].flatMap((handle) => handle.nodes()));
    const answers = new Map<string, ReadonlyMap<string, number>>();
    await Promise.all(
      [...nodes].map(async (node) => {
        try {
          answers.set(node, await this.#ask(node));
        } catch {
          // Its replicas count for nothing until it answers.
        }
      }),
    );
    const isAnswered = answers.size === nodes.size;
    this.#polled = isAnswered && spells.every((spell) => !spell.endsWith(':null')) ? all : '';
    for (const handle of this.#handles) {
      handle.tellUsage((node) => answers.get(node)?.get(handle.volumeId) ?? 0);
    }
    this.#polling = false;
  }

  /** By volume, the fullest of its replicas there, in blocks. */
  async #ask(node: string): Promise<ReadonlyMap<string, number>> {
    const used = new Map<string, number>();
    for (const { volumeId, usedBlocks } of await this.#coordinators.manager.list(
      parseNode(node)!,
    )) {
      used.set(volumeId, Math.max(usedBlocks, used.get(volumeId) ?? 0));
    }
    return used;
  }
}

class Handle implements ReplicatedHandle {
  readonly #options: ReplicationOptions;
  readonly #coordinators: CoordinatorNode;
  readonly #wanted: OpenReplicated;
  readonly #rounds: Rounds;
  readonly #replicated: ReplicatedVolume;
  /** Of replicas that were let go of, under way. */
  readonly #deletions = new Map<string, Promise<void>>();
  readonly #addresses = new Map<string, string>();
  readonly #speeds = new Map<
    string,
    { atMs: number; copiedBytes: number; bytesPerSecond: number }
  >();
  #usedBlocks = 0;
  readonly #blankSinceMs = new Map<string, number>();
  /** Member changes happen one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(
    options: ReplicationOptions,
    coordinators: CoordinatorNode,
    rounds: Rounds,
    wanted: OpenReplicated,
  ) {
    this.#options = options;
    this.#rounds = rounds;
    this.#coordinators = coordinators;
    this.#wanted = wanted;
    for (const { id, node } of wanted.replicas) this.#addresses.set(id, node);
    const { buffers, turn, clock, log, config } = options;
    this.#replicated = new ReplicatedVolume({
      volumeId: wanted.id,
      name: wanted.name,
      logicalBlockBytes: wanted.blockSize,
      buffers,
      coordinators,
      config: config.coordinator,
      turn,
      clock,
      random: new SystemRandom(),
      log,
      addressOf: (replicaId) => {
        const node = this.#addresses.get(replicaId);
        return node === undefined ? null : parseNode(node);
      },
      sessions: () => options.sessionsOf(wanted.iqn),
      listener: {
        onServing: (volume) => this.#onServing(volume),
        onHoldExpired: () => wanted.onOffline('there is no quorum of replicas'),
        onDeposed: () => wanted.onOffline('another coordinator has the volume'),
        onLossDeclared: () => wanted.onLoss(),
        onRecord: () => {},
      },
    });
    this.#replicated.start(wanted.replicas.map(({ id }) => id));
    rounds.add(this);
  }

  get volumeId(): string {
    return this.#wanted.id;
  }

  /** Where its replicas are. */
  nodes(): string[] {
    return [...new Set(this.#addresses.values())];
  }

  /** `of`: what its fullest replica on that node takes, in blocks. */
  tellUsage(of: (node: string) => number): void {
    this.#usedBlocks = Math.max(0, ...this.nodes().map(of));
  }

  get volume(): Volume | null {
    return this.#replicated.volume;
  }

  get serving(): boolean {
    return this.#replicated.serving && !this.#rollingBack;
  }

  get #rollingBack(): boolean {
    return rollbackOf(this.#replicated.coordinator) !== null;
  }

  /** P4: no host sees a volume that is half of what it was and half of what it is to be. */
  #onServing(volume: Volume): void {
    if (this.#rollingBack) void this.#goOnRollingBack();
    else this.#wanted.onServing(volume);
  }

  async #goOnRollingBack(): Promise<void> {
    const { log, clock } = this.#options;
    const { name } = this.#wanted;
    while (!this.#stopped) {
      const id = rollbackOf(this.#replicated.coordinator);
      if (id === null) break;
      try {
        log.info({ volume: name, snapshot: id }, 'a rollback goes on');
        await this.#inTurn(() => rollBack(this.#rollbackOptions(), id));
      } catch (error) {
        log.warn({ volume: name, err: error }, 'a rollback waits');
        await new Promise<void>((resolve) => clock.schedule(LOOK_MS, resolve));
        if (!this.#replicated.serving) return; // When it is served again it begins anew.
      }
    }
    const { volume } = this.#replicated;
    if (!this.#stopped && volume !== null && this.serving) this.#wanted.onServing(volume);
  }

  #rollbackOptions() {
    const { buffers, turn } = this.#options;
    return { coordinator: this.#replicated.coordinator, buffers, turn };
  }

  async rollback(id: string): Promise<void> {
    try {
      await this.#inTurn(() => rollBack(this.#rollbackOptions(), id));
    } catch (error) {
      if (this.#rollingBack) void this.#goOnRollingBack();
      throw error;
    }
  }

  state(): 'Healthy' | 'Degraded' | 'Rebuilding' | 'Offline' {
    return this.#rollingBack ? 'Offline' : this.#replicated.state();
  }

  epoch(): number {
    return this.#replicated.coordinator.epoch;
  }

  losses(): number {
    return this.#replicated.coordinator.losses;
  }

  quietSpell(): number | null {
    return this.#rollingBack ? null : this.#replicated.coordinator.quietSpell;
  }

  advice(): string[] {
    const lines = this.#replicated.advice();
    if (!this.#rollingBack) return lines;
    return [...lines, 'It is being rolled back to a snapshot, and is served when that is done.'];
  }

  sizeBlocks(): number {
    return this.#replicated.coordinator.record?.sizeBlocks ?? 0;
  }

  usedBlocks(): number {
    return this.#usedBlocks;
  }

  replicas(): ReplicaFacts[] {
    return this.#replicated.status().members.map((member) => ({
      id: member.replicaId,
      node: this.#addresses.get(member.replicaId) ?? '',
      connected: member.connected,
      state: member.state,
      lagOps: member.lagOps,
      lagBytes: member.lagBytes,
      rebuildBlocks: member.rebuildBlocks,
      rebuiltBlocks: member.rebuiltBlocks,
      copiedBytes: member.copiedBytes,
      bytesPerSecond: this.#speedOf(member.replicaId, member.copiedBytes),
      lastFault: member.lastFault,
      linkReason: this.#replicated.coordinator.linkReason(member.replicaId),
    }));
  }

  configure(policy: ReplicaPolicy): void {
    const standard = this.#options.config.coordinator;
    const { syncPolicy, readPolicy } = policy;
    this.#replicated.coordinator.configure({
      syncPolicy: syncPolicy === undefined ? standard.syncPolicy : SYNC_POLICIES[syncPolicy]!,
      readPolicy: readPolicy === undefined ? standard.readPolicy : READ_POLICIES[readPolicy]!,
      localReplicaId: policy.localReplica,
      holdMs: policy.holdMs ?? standard.holdMs,
      lagMs: policy.lagMs ?? standard.lagMs,
      hedgeMs: policy.hedgeMs ?? standard.hedgeMs,
    });
  }

  snapshots(): readonly ReplicatedSnapshot[] {
    return this.#replicated.coordinator.record?.snapshots ?? [];
  }

  takeSnapshot(snapshot: Pick<ReplicatedSnapshot, 'id' | 'name' | 'createdMs'>): Promise<void> {
    return this.#replicated.coordinator.takeSnapshot(snapshot);
  }

  async readSnapshot(id: string, lba: number, blocks: number): Promise<SnapshotPiece | null> {
    return await this.#replicated.coordinator.ask(id, { kind: 'copy', lba, blocks }, pieceIn);
  }

  async changedSince(id: string | null, at: string, fromLba: number, toLba: number) {
    const since = id === null ? { since: ZERO_VERSION } : {};
    const question = { kind: 'changed', fromLba, toLba, maxEntries: MAX_RUNS, ...since } as const;
    const found = await this.#replicated.coordinator.ask(id ?? at, question, changedIn);
    return found ?? { runs: [], nextLba: fromLba };
  }

  getBlob(key: string): Uint8Array | null {
    return this.#replicated.coordinator.getBlob(key);
  }

  putBlob(key: string, value: Uint8Array | null): Promise<void> {
    return this.#replicated.coordinator.putBlob(key, value);
  }

  mappedFrom(lba: number): Promise<{ isMapped: boolean; nextLba: number } | null> {
    return new Promise((resolve) => {
      this.#replicated.coordinator.listMapped(lba, MAX_RUNS, (runs, nextLba) => {
        if (runs === null) resolve(null);
        else resolve({ isMapped: [...runs.kinds].some((kind) => HOLDS.has(kind)), nextLba });
      });
    });
  }

  takeSnapshotNow(
    snapshot: Pick<ReplicatedSnapshot, 'id' | 'name' | 'createdMs'>,
  ): Promise<void> | null {
    return this.#replicated.coordinator.takeSnapshotNow(snapshot);
  }

  deleteSnapshot(id: string): Promise<void> {
    return this.#replicated.coordinator.deleteSnapshot(id);
  }

  relocate(replicas: readonly WantedReplica[]): void {
    for (const { id, node } of replicas) this.#addresses.set(id, node);
    this.#replicated.coordinator.relocate();
  }

  changeReplicas(wanted: readonly WantedReplica[]): Promise<void> {
    return this.#inTurn(() => this.#changeReplicas(wanted));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const run = this.#changing.then(work);
    this.#changing = run.catch(() => {});
    return run;
  }

  /**
   * B8: a replica whose store is gone, or is not the one that the record names, is made anew in its place. E6 has seen to
   * it that nobody believes it meanwhile.
   */
  look(): void {
    const { coordinator } = this.#replicated;
    if (coordinator.quietSpell !== null) return; // All replicas are there.
    const nowMs = this.#options.clock.nowMs();
    for (const { replicaId, state } of this.#replicated.status().members) {
      const missing = coordinator.isMissing(replicaId);
      if (!this.#replicated.serving || (state !== 'Blank' && !missing)) {
        this.#blankSinceMs.delete(replicaId);
        continue;
      }
      const sinceMs = this.#blankSinceMs.get(replicaId) ?? nowMs;
      this.#blankSinceMs.set(replicaId, sinceMs);
      if (nowMs - sinceMs < BLANK_GRACE_MS) continue;
      this.#blankSinceMs.set(replicaId, nowMs + MANAGE_TIMEOUT_MS); // Not again at once.
      void this.#inTurn(() => this.#remake(replicaId, missing)).catch((error: unknown) => {
        this.#options.log.warn({ replica: replicaId, err: error }, 'a replica cannot be made anew');
      });
    }
  }

  async #remake(replicaId: string, missing: boolean): Promise<void> {
    const { coordinator } = this.#replicated;
    const node = this.#addresses.get(replicaId);
    if (node === undefined) return;
    const witness = this.#isWitness(replicaId);
    if (missing) {
      this.#options.log.warn(
        { replica: replicaId, node },
        'a replica is gone from its node: it is made anew',
      );
      await this.#coordinators.makeNewcomer(this.#wanted.id, this.sizeBlocks(), {
        replicaId,
        at: parseNode(node)!,
        witness,
      });
      return; // It comes up blank, and is taken in when it has been that for a while.
    }
    this.#options.log.warn(
      { replica: replicaId, node },
      'a blank replica takes the place of the old one',
    );
    await coordinator.changeMember(replicaId, { replicaId, witness });
  }

  /** By the record: it may have joined since this coordinator was opened. */
  #isWitness(replicaId: string): boolean {
    const members = this.#replicated.coordinator.record?.members ?? [];
    return members.find((member) => member.replicaId === replicaId)?.witness === true;
  }

  async #changeReplicas(wanted: readonly WantedReplica[]): Promise<void> {
    const { coordinator } = this.#replicated;
    const before = [...this.#addresses.keys()];
    for (const { id, node } of wanted) this.#addresses.set(id, node);
    coordinator.relocate();
    const record = coordinator.record;
    if (record === null) return;
    const named = new Set(record.members.map(({ replicaId }) => replicaId));
    // Copies first on both sides: a copy takes the place of a copy, and a witness that of a witness.
    const leavers = [...named]
      .filter((id) => !wanted.some((replica) => replica.id === id))
      .sort((a, b) => Number(this.#isWitness(a)) - Number(this.#isWitness(b)));
    const newcomers = wanted
      .filter(({ id }) => !named.has(id))
      .sort((a, b) => Number(a.witness === true) - Number(b.witness === true));
    // R5: one slot a record. A newcomer takes a leaver's place where there is one, so there are never fewer copies.
    for (let turn = 0; turn < Math.max(leavers.length, newcomers.length); turn += 1) {
      const newcomer = newcomers[turn];
      const leaver = leavers[turn] ?? null;
      if (newcomer !== undefined) {
        await this.#deletions.get(newcomer.id); // One of that name was there: the new one must not go in its place.
        await this.#coordinators.makeNewcomer(this.#wanted.id, this.sizeBlocks(), {
          replicaId: newcomer.id,
          at: parseNode(newcomer.node)!,
          witness: newcomer.witness === true,
        });
        coordinator.addReplica(newcomer.id);
        await this.#connected(newcomer.id);
      }
      const joins =
        newcomer === undefined
          ? null
          : { replicaId: newcomer.id, witness: newcomer.witness === true };
      await coordinator.changeMember(leaver, joins);
      if (leaver !== null) await this.#letGo(leaver);
    }
    for (const id of before) {
      if (!wanted.some((replica) => replica.id === id)) this.#addresses.delete(id);
    }
  }

  async #letGo(replicaId: string): Promise<void> {
    const node = this.#addresses.get(replicaId);
    // R5: the record still names it beside the new list, until the next one.
    await this.#until(() => {
      const record = this.#replicated.coordinator.record;
      if (record === null) return true;
      return ![...record.members, ...record.oldMembers].some(
        (member) => member.replicaId === replicaId,
      );
    });
    this.#replicated.coordinator.removeReplica(replicaId);
    if (node === undefined) return;
    // Nobody waits for it: its node is often away, just that being why it is let go of.
    const deletion = this.#delete(replicaId, node).finally(() => this.#deletions.delete(replicaId));
    this.#deletions.set(replicaId, deletion);
  }

  /** Never rejects. */
  async #delete(replicaId: string, node: string): Promise<void> {
    try {
      const which = { volumeId: this.#wanted.id, replicaId, epoch: this.epoch() };
      await this.#coordinators.manager.delete(parseNode(node)!, which, DELETE_TIMEOUT_MS);
    } catch (error) {
      this.#options.log.warn({ replica: replicaId, node, err: error }, 'a replica was left behind');
    }
  }

  async #connected(replicaId: string): Promise<void> {
    const { coordinator } = this.#replicated;
    if (await this.#until(() => coordinator.linkReason(replicaId) === '')) return;
    const why = coordinator.linkReason(replicaId);
    throw new Error(`replica ${replicaId} cannot be reached: ${why}`);
  }

  /** False: not within the time for asking a node. */
  async #until(holds: () => boolean): Promise<boolean> {
    const { clock } = this.#options;
    const endMs = clock.nowMs() + MANAGE_TIMEOUT_MS;
    while (!holds()) {
      if (clock.nowMs() >= endMs || this.#stopped) return false;
      await new Promise<void>((resolve) => clock.schedule(50, resolve));
    }
    return true;
  }

  async force(): Promise<void> {
    const { coordinator } = this.#replicated;
    await coordinator.force();
    const left = new Set(coordinator.record?.members.map(({ replicaId }) => replicaId) ?? []);
    for (const id of [...this.#addresses.keys()]) {
      if (left.has(id)) continue;
      this.#addresses.delete(id);
      coordinator.removeReplica(id);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#rounds.delete(this);
    await this.#replicated.stop();
  }

  #speedOf(replicaId: string, copiedBytes: number): number {
    const nowMs = this.#options.clock.nowMs();
    const last = this.#speeds.get(replicaId);
    if (last === undefined || copiedBytes < last.copiedBytes) {
      this.#speeds.set(replicaId, { atMs: nowMs, copiedBytes, bytesPerSecond: 0 });
      return 0;
    }
    if (nowMs - last.atMs < 1000) return last.bytesPerSecond;
    const bytesPerSecond = ((copiedBytes - last.copiedBytes) * 1000) / (nowMs - last.atMs);
    this.#speeds.set(replicaId, { atMs: nowMs, copiedBytes, bytesPerSecond });
    return bytesPerSecond;
  }
}
