// The commands of a session: made when first needed, reused, and found by their tag.
import { assert } from '../base/index.ts';
import { Command, CommandState } from './command.ts';
import { COMMAND_SLOTS } from './limits.ts';
import type { Session } from './session.ts';
import { TagTable } from './tag-table.ts';

export class CommandTable {
  readonly #session: Session;
  readonly #commands: Command[] = [];
  readonly #free: Command[] = [];
  readonly #tags = new TagTable(COMMAND_SLOTS);
  /** Immediate ones among them. */
  immediates = 0;
  outstanding = 0;
  /** Ever begun. */
  begun = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The command that has the tag, or null. */
  find(itt: number): Command | null {
    const slot = this.#tags.get(itt);
    return slot < 0 ? null : this.#commands[slot]!;
  }

  /** Whether a slot of that number was ever in use: what a Target Transfer Tag of ours may name. */
  knowsSlot(slot: number): boolean {
    return slot < this.#commands.length;
  }

  begin(itt: number, immediate: boolean): Command {
    const command = this.#free.pop() ?? this.#make();
    command.begin(itt, immediate);
    this.#tags.set(itt, command.slot);
    if (immediate) this.immediates += 1;
    this.outstanding += 1;
    this.begun += 1;
    return command;
  }

  /** Nothing is left of it but its slot. */
  retire(command: Command): void {
    assert(command.state !== CommandState.Free && !command.inWindow);
    command.task.releaseBuffers();
    command.state = CommandState.Free;
    this.#tags.delete(command.itt);
    if (command.immediate) this.immediates -= 1;
    this.outstanding -= 1;
    this.#free.push(command);
  }

  forEach(visit: (command: Command) => void): void {
    if (this.outstanding === 0) return;
    for (const command of this.#commands) visit(command);
  }

  #make(): Command {
    assert(this.#commands.length < COMMAND_SLOTS, 'more commands than the window has room for');
    const command = new Command(this.#session, this.#commands.length);
    this.#commands.push(command);
    return command;
  }
}
