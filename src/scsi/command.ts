// What a command is, to the device server: where it is found, what it does under reservations and conditions, what
// data it wants and how it runs. One file a family under commands/ makes them; CommandTable finds them.
import { assert } from '../base/index.ts';
import type { Execution } from './execution.ts';

/**
 * How a command fares under a persistent reservation from a nexus that neither holds it nor shares it by registration
 * (SPC-4 table 66, SBC-4 table 14): of the table's five columns only three patterns occur.
 */
export const Access = {
  /** Allowed whoever holds what. */
  Always: 0,
  /** Conflicts with the Exclusive Access types only. */
  Read: 1,
  /** Conflicts with all types. */
  Write: 2,
} as const;
export type Access = (typeof Access)[keyof typeof Access];

/** What `prepare` returns after it ended the execution itself. */
export const ENDED = -1;

export interface Command {
  readonly opcode: number;
  /** In bits 4 to 0 of byte 1; null for opcodes without service actions. */
  readonly serviceAction: number | null;
  readonly name: string;
  /**
   * CDB usage data (SPC-4 §6.34.3): as long as the CDB; the opcode first, then a one for each bit that is evaluated
   * (a service action as its value).
   */
  readonly usage: readonly number[];
  readonly access: Access;
  /** Where the access hangs on the CDB's fields (START STOP UNIT, …); instead of `access`. */
  accessOf?(cdb: Buffer): Access;
  /** As `access`, for another nexus's RESERVE(6): true where SPC-2 lets it through. Default false. */
  readonly duringReserve?: boolean;
  /** Runs although a unit attention is pending, and leaves it so: INQUIRY, REPORT LUNS, REQUEST SENSE. */
  readonly duringUnitAttention?: boolean;
  /** Runs while a SANITIZE is going on or has failed (SBC-4 §4.11.3). */
  readonly duringSanitize?: boolean;
  /**
   * Checks the CDB and returns how many bytes of Data-Out it wants, or ends the execution (`execution.fail…`) and returns
   * ENDED. Absent: wants none, and `execute` does the checking.
   */
  prepare?(execution: Execution): number;
  /**
   * Runs. `task.dataOut` holds `task.dataOutBytes` bytes: all that `prepare` asked for, unless `shortDataOut` is set.
   * Must end the execution in the end, in whatever way. What it returns is ignored.
   */
  execute(execution: Execution): unknown;
  /** True: copes with less Data-Out than it asked for (parameter lists). Otherwise such a task fails unexecuted. */
  readonly shortDataOut?: boolean;
}

/** The commands of a logical unit, found by opcode and service action. */
export class CommandTable {
  readonly all: readonly Command[];
  readonly #byOpcode: (Command | null)[] = new Array(256).fill(null);
  readonly #byServiceAction: ((Command | null)[] | null)[] = new Array(256).fill(null);

  constructor(commands: readonly Command[]) {
    this.all = [...commands].sort(
      (a, b) => a.opcode - b.opcode || (a.serviceAction ?? 0) - (b.serviceAction ?? 0),
    );
    for (const command of commands) {
      assert(command.usage[0] === command.opcode, `${command.name}: usage data`);
      assert(this.#byOpcode[command.opcode] === null, `${command.name}: opcode taken`);
      if (command.serviceAction === null) {
        assert(this.#byServiceAction[command.opcode] === null, `${command.name}: opcode taken`);
        this.#byOpcode[command.opcode] = command;
        continue;
      }
      let actions = this.#byServiceAction[command.opcode] ?? null;
      if (actions === null) {
        actions = new Array(32).fill(null);
        this.#byServiceAction[command.opcode] = actions;
      }
      assert(actions[command.serviceAction] === null, `${command.name}: service action taken`);
      actions[command.serviceAction] = command;
    }
  }

  /** The command a CDB names, or null. */
  find(opcode: number, serviceAction: number): Command | null {
    const command = this.#byOpcode[opcode]!;
    if (command !== null) return command;
    const actions = this.#byServiceAction[opcode] ?? null;
    return actions === null ? null : (actions[serviceAction & 0x1f] ?? null);
  }

  /** True when the opcode is known, by itself or with some service action. */
  knows(opcode: number): boolean {
    return (this.#byOpcode[opcode] ?? null) !== null || this.hasServiceActions(opcode);
  }

  /** True when commands of this opcode are told apart by a service action. */
  hasServiceActions(opcode: number): boolean {
    return (this.#byServiceAction[opcode] ?? null) !== null;
  }
}
