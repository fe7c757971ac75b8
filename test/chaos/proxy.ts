// A TCP proxy on loopback that does what networks do: cuts, stalls, slows, half-closes, corrupts. Bytes of one connection
// never change their order.
import { connect, createServer, type Server, type Socket } from 'node:net';

export type LinkFault = 'none' | 'blackhole' | 'slow' | 'refuse';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

export class FaultyLink {
  readonly #targetPort: number;
  #server: Server | null = null;
  readonly #pairs = new Set<Pair>();
  #fault: LinkFault = 'none';
  #corrupt = 0;
  /** Of each piece, while the link is slow. */
  slowMs = 20;
  port = 0;
  corrupted = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  async start(): Promise<void> {
    const server = createServer((near) => this.#accept(near));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    const bound = server.address();
    if (typeof bound === 'object' && bound !== null) this.port = bound.port;
  }

  close(): void {
    this.#server?.close();
    this.cut();
  }

  set(fault: LinkFault): void {
    this.#fault = fault;
    if (fault === 'refuse') this.cut();
    for (const { near, far } of this.#pairs) {
      for (const socket of [near, far]) {
        if (fault === 'blackhole') socket.pause();
        else socket.resume();
      }
    }
  }

  /** Ends every connection, at once. */
  cut(): void {
    for (const { near, far } of [...this.#pairs]) {
      near.destroy();
      far.destroy();
    }
  }

  /** One direction ends in order, the other goes on. */
  halfClose(): void {
    for (const { near, far } of this.#pairs) {
      near.pause();
      far.end();
    }
  }

  /** Flips one bit in each of the next `pieces` that pass. */
  corrupt(pieces: number): void {
    this.#corrupt += pieces;
  }

  #accept(near: Socket): void {
    if (this.#fault === 'refuse') {
      near.destroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port: this.#targetPort });
    const pair = { near, far };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (b: Buffer) => this.#pass(from, to, b));
      from.on('error', end);
      from.on('close', end);
      to.on('drain', () => {
        if (this.#fault !== 'blackhole') from.resume();
      });
    }
    if (this.#fault === 'blackhole') {
      near.pause();
      far.pause();
    }
  }

  #pass(from: Socket, to: Socket, b: Buffer): void {
    if (this.#corrupt > 0 && b.length > 0) {
      this.#corrupt -= 1;
      this.corrupted += 1;
      const at = Math.floor(Math.random() * b.length);
      b[at]! ^= 1 << Math.floor(Math.random() * 8);
    }
    if (this.#fault === 'slow') {
      from.pause();
      setTimeout(() => {
        if (this.#fault !== 'blackhole') from.resume();
        if (!to.destroyed) to.write(b);
      }, this.slowMs);
      return;
    }
    if (!to.write(b)) from.pause();
  }
}
