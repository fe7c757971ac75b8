// Requests that came ahead of a gap in CmdSN (RFC 7143 §4.2.2.1), kept until their turn comes. One connection delivers in
// order, so only an odd initiator leaves a gap; ABORT TASK may fill one (§11.5.5).
import { MAX_HELD_BYTES } from './limits.ts';
import { ahsBytesOf, BHS_BYTES, ittOf, Opcode, opcodeOf } from './pdu/index.ts';

export class HeldRequests {
  /** Copies, by CmdSN; null marks one that ABORT TASK took as received. */
  readonly #byCmdSn = new Map<number, Buffer | null>();
  #bytes = 0;

  get size(): number {
    return this.#byCmdSn.size;
  }

  /** Keeps a copy. False: there is too much already. */
  keep(
    cmdSn: number,
    head: Buffer,
    at: number,
    data: Buffer,
    dataAt: number,
    dataBytes: number,
  ): boolean {
    if (this.#byCmdSn.has(cmdSn)) return true;
    const headBytes = BHS_BYTES + ahsBytesOf(head, at);
    this.#bytes += headBytes + dataBytes;
    if (this.#bytes > MAX_HELD_BYTES) return false;
    const copy = Buffer.allocUnsafe(headBytes + dataBytes);
    head.copy(copy, 0, at, at + headBytes);
    data.copy(copy, headBytes, dataAt, dataAt + dataBytes);
    this.#byCmdSn.set(cmdSn, copy);
    return true;
  }

  /** Takes the one with the number out: null when it counts as received, undefined when there is none. */
  take(cmdSn: number): Buffer | null | undefined {
    const pdu = this.#byCmdSn.get(cmdSn);
    if (pdu === undefined) return undefined;
    this.#byCmdSn.delete(cmdSn);
    if (pdu !== null) this.#bytes -= pdu.length;
    return pdu;
  }

  /** Marks the command with the number and the tag as received, whether or not it has come. False: another has come. */
  markReceived(cmdSn: number, itt: number): boolean {
    const pdu = this.#byCmdSn.get(cmdSn);
    if (pdu === null) return true;
    if (pdu !== undefined) {
      if (opcodeOf(pdu, 0) !== Opcode.ScsiCommand || ittOf(pdu, 0) !== itt) return false;
      this.#bytes -= pdu.length;
    }
    this.#byCmdSn.set(cmdSn, null);
    return true;
  }

  clear(): void {
    this.#byCmdSn.clear();
    this.#bytes = 0;
  }
}
