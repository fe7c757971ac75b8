// What a connection is given, and whom it tells.
import type { Clock, Random, Transport, Turn } from '../base/index.ts';
import type { Agreement } from './handshake.ts';
import type { WireTimeouts } from './limits.ts';
import type { FrameRegions } from './output.ts';
import type { StreamHandler, WireStream } from './stream.ts';

export interface ConnectionHandler {
  /** The handshake is through. */
  onOpen(agreement: Agreement): void;
  /**
   * The peer opens a stream. Return its handler and answer `request` with `stream.respond`, or return null after
   * `refuse`d: the stream is no more.
   */
  onStream(
    stream: WireStream,
    request: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): StreamHandler | Refusal;
  /** The peer wants no new streams (drain). */
  onGoAway(status: number, reason: string): void;
  /** Everything is over. Called once, after each stream's onReset. */
  onClosed(reason: string): void;
}

export class Refusal {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string) {
    this.status = status;
    this.reason = reason;
  }
}

export interface ConnectionOptions {
  readonly makesConnection: boolean;
  readonly transport: Transport;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly regions: FrameRegions;
  readonly timeouts: WireTimeouts;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
  readonly requiredFeatures?: number;
  /** As in the handshake. */
  readonly features?: number;
  readonly connectionWindowBytes?: number;
  readonly streamWindowBytes?: number;
  readonly handler: ConnectionHandler;
}
