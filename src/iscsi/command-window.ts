// CmdSN order and the command window, RFC 7143 §4.2.2.1: which request is next, and how many more the initiator may
// send. The window is the back pressure: MaxCmdSN moves on only as far as there are slots and buffers.
import { assert, serialAdd, serialDiff } from '../base/index.ts';

export const Place = { Next: 0, Ahead: 1, Outside: 2 } as const;
export type Place = (typeof Place)[keyof typeof Place];

export class CommandWindow {
  readonly #size: number;
  expCmdSn: number;
  maxCmdSn: number;
  /** Non-immediate commands that hold a slot. */
  #inUse = 0;

  /** `cmdSn`: the one the first request of full feature phase will carry. */
  constructor(cmdSn: number, size: number) {
    this.#size = size;
    this.expCmdSn = cmdSn;
    this.maxCmdSn = serialAdd(cmdSn, size - 1);
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** What to do with a non-immediate request: take it, hold it, or silently ignore it. */
  place(cmdSn: number): Place {
    if (cmdSn === this.expCmdSn) {
      // Equal and yet outside: the window is closed.
      return serialDiff(this.maxCmdSn, cmdSn) >= 0 ? Place.Next : Place.Outside;
    }
    if (serialDiff(cmdSn, this.expCmdSn) < 0 || serialDiff(cmdSn, this.maxCmdSn) > 0) {
      return Place.Outside;
    }
    return Place.Ahead;
  }

  /** The next request was taken. */
  advance(): void {
    this.expCmdSn = serialAdd(this.expCmdSn, 1);
  }

  take(): void {
    assert(this.#inUse < this.#size);
    this.#inUse += 1;
  }

  give(): void {
    assert(this.#inUse > 0);
    this.#inUse -= 1;
  }

  /**
   * Moves MaxCmdSN to what can be taken now. It never moves back: the initiator ignores that. `scarce`: memory runs
   * low, so one command at a time. With nothing outstanding the window is never closed, so it needs no NOP-In to open.
   */
  open(scarce: boolean): void {
    const size = scarce ? 1 : this.#size;
    const free = Math.max(0, size - this.#inUse);
    const max = serialAdd(this.expCmdSn, free - 1);
    if (serialDiff(max, this.maxCmdSn) > 0) this.maxCmdSn = max;
  }
}
