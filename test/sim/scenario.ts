// Directed scenarios (T3): a small cluster that a test leads by the hand to a rare alignment.
import { BlockOpKind, type DataBuffer, IoStatus } from '../../src/block/index.ts';
import {
  type CoordinatorConfig,
  CoordinatorPhase,
  SyncPolicy,
} from '../../src/volume/coordinator/interfaces.ts';
import { ALL_RULES, type Rules } from '../../src/wire/rules.ts';
import { Cluster, type CoordinatorProcess, HostOp, type MemberProcess } from './cluster.ts';
import { Rng } from './rng.ts';
import { SimPayload } from './sim-store.ts';

/** Nobody is late for as long as a scenario lasts: what happens is what it says. */
export const patient = {
  syncPolicy: SyncPolicy.Quorum,
  recordTimeoutMs: 300_000,
  lagMs: 300_000,
  holdMs: 300_000,
  promiseWaitMs: 200,
};

/** A scenario throws `Violation`, or returns. */
export type Directed = (rules: Rules, trace?: boolean) => void;

export interface ScenarioOptions {
  readonly members?: number;
  readonly witness?: boolean;
  readonly spares?: number;
  readonly coordinators?: number;
  readonly blocks?: number;
  readonly rules?: Rules;
  readonly seed?: number;
  readonly config?: Partial<CoordinatorConfig>;
  readonly lastOpNumber?: number;
  readonly trace?: boolean;
}

/** What became of an operation: null while it runs, then its status, or 'silent' when its session ended unanswered. */
export interface Outcome {
  readonly op: HostOp;
  status: IoStatus | 'silent' | null;
  endMs: number;
}

export class Scenario {
  readonly cluster: Cluster;

  constructor(options: ScenarioOptions = {}) {
    this.cluster = new Cluster({
      rng: new Rng(options.seed ?? 1),
      rules: options.rules ?? ALL_RULES,
      members: options.members ?? 3,
      witness: options.witness ?? false,
      spares: options.spares ?? 0,
      coordinators: options.coordinators ?? 2,
      blocks: options.blocks ?? 4,
      ...(options.lastOpNumber === undefined ? {} : { lastOpNumber: options.lastOpNumber }),
      ...(options.config === undefined ? {} : { config: options.config }),
      ...(options.trace === true ? { trace: (line: string) => console.log(line) } : {}),
    });
  }

  get nowMs(): number {
    return this.cluster.scheduler.nowMs;
  }

  coordinator(index: number): CoordinatorProcess {
    return this.cluster.coordinators[index]!;
  }

  member(index: number): MemberProcess {
    return this.cluster.members[index]!;
  }

  run(ms: number): void {
    this.cluster.scheduler.runUntil(this.nowMs + ms);
  }

  /** Runs until it is so; fails after `limitMs`. */
  until(what: string, is: () => boolean, limitMs = 60_000): void {
    const endMs = this.nowMs + limitMs;
    while (!is()) {
      if (this.nowMs >= endMs) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
      this.cluster.scheduler.runUntil(this.nowMs + 0.05, is);
    }
  }

  activate(index: number): CoordinatorProcess {
    const coordinator = this.coordinator(index);
    if (coordinator.core === null) coordinator.start();
    this.until(
      `coordinator ${index} is active`,
      () => coordinator.core?.phase === CoordinatorPhase.Active,
    );
    return coordinator;
  }

  /** Every data member in sync, nothing proposed. */
  whole(index: number): void {
    const { core, clock } = this.coordinator(index);
    this.until('every member is in sync', () =>
      core!
        .status(clock.now())
        .members.every(({ state }) => state === 'InSync' || state === 'Witness'),
    );
  }

  write(coordinator: CoordinatorProcess, lba: number, blocks = 1, fua = false): Outcome {
    const id = this.cluster.nextNumber();
    const op = new HostOp();
    op.value = id * 64;
    const values = Array.from({ length: blocks }, (_, index) => op.value + index);
    const data = new SimPayload(values) as unknown as DataBuffer;
    op.begin(BlockOpKind.Write, lba, blocks, data, id, fua, op.owner);
    return this.#submit(coordinator, op);
  }

  unmap(coordinator: CoordinatorProcess, lba: number, blocks = 1): Outcome {
    const op = new HostOp();
    op.begin(BlockOpKind.Unmap, lba, blocks, null, this.cluster.nextNumber(), false, op.owner);
    return this.#submit(coordinator, op);
  }

  read(coordinator: CoordinatorProcess, lba: number, blocks = 1): Outcome {
    const op = new HostOp();
    op.begin(BlockOpKind.Read, lba, blocks, null, this.cluster.nextNumber(), false, op.owner);
    return this.#submit(coordinator, op);
  }

  flush(coordinator: CoordinatorProcess): Outcome {
    const op = new HostOp();
    op.begin(BlockOpKind.Flush, 0, 0, null, this.cluster.nextNumber(), false, op.owner);
    return this.#submit(coordinator, op);
  }

  /** Runs until it has ended, and asks that it ended well. */
  ok(outcome: Outcome): Outcome {
    this.until('an operation ends', () => outcome.status !== null);
    if (outcome.status !== IoStatus.Ok)
      throw new Error(`an operation ended with ${outcome.status}`);
    return outcome;
  }

  #submit(coordinator: CoordinatorProcess, op: HostOp): Outcome {
    const outcome: Outcome = { op, status: null, endMs: -1 };
    op.host = {
      onOpDone: (_op, status) => {
        outcome.status = status ?? 'silent';
        outcome.endMs = this.nowMs;
      },
    };
    coordinator.submit(op);
    return outcome;
  }

  /** Cuts a coordinator off from members, both ways. */
  cut(coordinator: number, ...members: number[]): void {
    for (const member of members) this.cluster.network.setCut(coordinator, member, true, true);
  }

  /** Nothing of what the coordinator sends reaches the member for ten minutes; the connection lives. */
  clogDown(coordinator: number, member: number): void {
    const { network } = this.cluster;
    for (const connection of network.connections) {
      if (connection.coordinator === coordinator && connection.member === member) {
        network.clog(connection, true, 600_000);
      }
    }
  }

  join(coordinator: number, ...members: number[]): void {
    for (const member of members) this.cluster.network.setCut(coordinator, member, false, false);
  }
}

/** Does it become active? The checker looks at whoever does. */
export function tryActivate(scenario: Scenario, index: number, limitMs: number): boolean {
  const coordinator = scenario.coordinator(index);
  const endMs = scenario.nowMs + limitMs;
  while (scenario.nowMs < endMs && coordinator.core?.phase !== CoordinatorPhase.Active)
    scenario.run(10);
  return coordinator.core?.phase === CoordinatorPhase.Active;
}
