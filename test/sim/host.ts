// A host: an initiator with a queue of operations, that logs in elsewhere when its session ends. Every value it writes is
// unique, and every block it reads is checked.
import { BlockOpKind, type DataBuffer, IoStatus } from '../../src/block/index.ts';
import { type Cluster, type CoordinatorProcess, HostOp } from './cluster.ts';
import type { History } from './history.ts';
import { SimPayload } from './sim-store.ts';

export interface Workload {
  /** Milliseconds between two operations of a host, on average. */
  readonly gapMs: number;
  readonly depth: number;
  readonly writes: number;
  readonly unmaps: number;
  readonly flushes: number;
  readonly fua: number;
  readonly maxBlocks: number;
}

export class Host {
  readonly #cluster: Cluster;
  readonly #workload: Workload;
  readonly #history: History;
  #running = 0;
  #session: { readonly coordinator: CoordinatorProcess; readonly number: number } | null = null;
  stopped = false;
  ops = 0;
  answered = 0;

  constructor(cluster: Cluster, workload: Workload, history: History) {
    this.#cluster = cluster;
    this.#workload = workload;
    this.#history = history;
  }

  start(): void {
    const { rng, scheduler } = this.#cluster;
    const next = (): void => {
      if (this.stopped) return;
      if (this.#running < this.#workload.depth) this.#one();
      // In bursts: hosts do not come evenly.
      const gap = rng.chance(0.7) ? this.#workload.gapMs * 0.1 : this.#workload.gapMs * 3;
      scheduler.after(rng.between(0, gap * 2), next);
    };
    scheduler.after(rng.between(0, 50), next);
  }

  #one(): void {
    const coordinator = this.#login();
    if (coordinator === null) return;
    const { rng, blocks } = this.#cluster;
    const { writes, unmaps, flushes, fua, maxBlocks } = this.#workload;
    const op = new HostOp();
    const count = 1 + rng.below(Math.min(maxBlocks, blocks));
    // Half of all go to a few blocks, where they meet.
    const hot = rng.chance(0.5) ? Math.min(4, blocks) : blocks;
    const lba = rng.below(Math.max(1, hot - count + 1));
    const dice = rng.between(0, 1);
    const id = this.#cluster.nextNumber();
    if (dice < writes) {
      op.value = id * 64;
      const values = Array.from({ length: count }, (_, index) => op.value + index);
      const data = new SimPayload(values) as unknown as DataBuffer;
      op.begin(BlockOpKind.Write, lba, count, data, id, rng.chance(fua), op.owner);
    } else if (dice < writes + unmaps) {
      op.begin(BlockOpKind.Unmap, lba, count, null, id, rng.chance(fua), op.owner);
    } else if (dice < writes + unmaps + flushes) {
      op.begin(BlockOpKind.Flush, 0, 0, null, id, false, op.owner);
    } else {
      op.begin(BlockOpKind.Read, lba, count, null, id, false, op.owner);
    }
    op.host = this;
    this.#running += 1;
    this.ops += 1;
    this.#history.begin(op, this.#cluster.scheduler.nowMs);
    coordinator.submit(op);
  }

  onOpDone(op: HostOp, status: IoStatus | null): void {
    this.#running -= 1;
    if (status !== null) this.answered += 1;
    this.#history.end(op, status === IoStatus.Ok, this.#cluster.scheduler.nowMs);
  }

  /** The coordinator that it has a session with, or that lets it in. */
  #login(): CoordinatorProcess | null {
    const session = this.#session;
    if (session?.coordinator.serving && session.coordinator.session === session.number) {
      return session.coordinator;
    }
    const { coordinators, rng } = this.#cluster;
    const serving = coordinators.filter((one) => one.serving && one.core !== null);
    if (serving.length === 0) return null;
    const coordinator = rng.pick(serving);
    this.#session = { coordinator, number: coordinator.session };
    return coordinator;
  }
}
