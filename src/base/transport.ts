// What a protocol room asks of a byte stream. The net room makes it from a socket, a test from an array.

export interface TransportHandler {
  /**
   * `b[start, end)` arrived. Lent for the call: the memory is reused. While reading is paused only what had been read already
   * still comes.
   */
  onBytes(b: Buffer, start: number, end: number): void;
  /** What comes are large pieces, each best taken at once: a read is not divided among turns. */
  readonly takesLarge?: boolean;
  /** The kernel took everything that was written: the memory of earlier writes is free again. */
  onDrained(): void;
  /** The stream is gone, whoever ended it. Called once, never from inside `close`. */
  onClosed(): void;
}

export interface Transport {
  /** Without a port: what limits for an address count by. */
  readonly peerAddress: string;
  /** `address:port`, an IPv6 address in brackets. */
  readonly peer: string;
  /** Where the peer came in, as `peer`. */
  readonly local: string;
  readonly localAddress: string;
  readonly localPort: number;

  /** Begins to read. Called once. */
  start(handler: TransportHandler): void;
  /** Sends `b`. The memory stays untouched until `drained`. Everything of one turn belongs in one write. */
  write(b: Buffer): void;
  /** True when nothing written is still in our memory. */
  readonly drained: boolean;
  pauseReading(): void;
  resumeReading(): void;
  /** Sends what was written, bounded in time, then closes. What still arrives is dropped. Idempotent. */
  close(): void;
  /** Closes at once. Idempotent. */
  destroy(): void;
}
