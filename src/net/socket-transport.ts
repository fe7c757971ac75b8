// A TCP socket as a Transport. The fast part is the read side: every socket of the process reads into one static buffer
// and is handed out from there, without an allocation a read. Node offers that (`onread`) for sockets it connects, not
// for those a server accepts, so an accepted one is wrapped a second time around its handle. `_handle` is internal to
// Node and is named in this file only; where it is missing, plain 'data' events do the same, somewhat slower.
import { type Socket, Socket as SocketClass } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Transport, TransportHandler, Turn } from '../base/index.ts';

/** One read: what a burst of writes at depth 32 brings, and what fits the second level cache. */
export const READ_BUFFER_BYTES = 256 * 1024;
/** A read of at most so many bytes holds requests without data: of 48 bytes each, as in iSCSI and in our own frames. */
const SMALL_READ_BYTES = 4096;
/**
 * One turn takes so much of a read, 16 requests or 16 blocks of 4 KiB with their headers: what it says leaves at its end, and the next
 * process begins with that while the rest is worked on. Else all that a host has under way goes from one process to the
 * next as a whole, and only one of them works at a time.
 */
const TURN_SMALL_BYTES = 16 * 48;
const TURN_BYTES = 16 * (4096 + 48);
/** How long `close` waits for the peer to take what was sent to it. */
const LINGER_MS = 2000;
const KEEPALIVE_MS = 60_000;

/**
 * All sockets read into it: a read and its callback are one synchronous step of the event loop, and a handler keeps
 * nothing of the bytes lent to it.
 */
const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

interface WithHandle {
  _handle?: unknown;
}

export class SocketTransport implements Transport {
  readonly peerAddress: string;
  readonly peer: string;
  readonly local: string;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #socket: Socket;
  readonly #turn: Turn;
  #handler: TransportHandler | null = null;
  #closing = false;
  #paused = false;
  #drainWanted = false;
  readonly #onWritten: () => void;

  /** `accepted` or connected: paused, nothing read from it yet (`pauseOnConnect`). `onGone`: it is closed, once. */
  constructor(accepted: Socket, turn: Turn, onGone: () => void) {
    this.#turn = turn;
    this.peerAddress = plainAddress(accepted.remoteAddress ?? '');
    this.localAddress = plainAddress(accepted.localAddress ?? '');
    this.localPort = accepted.localPort ?? 0;
    this.peer = addressAndPort(this.peerAddress, accepted.remotePort ?? 0);
    this.local = addressAndPort(this.localAddress, this.localPort);
    this.#socket = this.#rewrap(accepted);
    this.#onWritten = () => this.#written();
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, KEEPALIVE_MS);
    // An error is followed by 'close', which says what matters: the stream is gone.
    this.#socket.on('error', () => {});
    this.#socket.once('close', onGone);
  }

  start(handler: TransportHandler): void {
    this.#handler = handler;
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.on('close', () => this.#closed());
    if (this.#socket.destroyed) queueMicrotask(() => this.#closed());
    else if (!this.#paused) this.#socket.resume();
  }

  get drained(): boolean {
    return this.#socket.writableLength === 0;
  }

  write(b: Buffer): void {
    if (this.#closing) return;
    // Without a callback a write that the kernel takes at once costs no tick; one is asked for only when it did not.
    this.#socket.write(b);
    if (this.#socket.writableLength > 0 && !this.#drainWanted) {
      this.#drainWanted = true;
      this.#socket.write(EMPTY, this.#onWritten);
    }
  }

  pauseReading(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#paused = false;
    if (this.#handler !== null && !this.#closing) this.#socket.resume();
  }

  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#socket.end();
    this.#socket.resume();
    this.#socket.setTimeout(LINGER_MS, () => this.#socket.destroy());
  }

  destroy(): void {
    this.#closing = true;
    this.#socket.destroy();
  }

  #rewrap(accepted: Socket): Socket {
    const handle = (accepted as WithHandle)._handle;
    // A TLS socket's handle is the cipher's, and must stay in its own wrapper.
    const plain = !(accepted instanceof TLSSocket);
    if (plain && typeof handle === 'object' && handle !== null && 'useUserBuffer' in handle) {
      const options = {
        handle,
        onread: {
          buffer: readBuffer,
          callback: (bytes: number) => {
            this.#read(readBuffer, 0, bytes);
            return !this.#paused;
          },
        },
      };
      // The old wrapper must neither read nor close the handle that is the new one's now.
      accepted.removeAllListeners();
      (accepted as WithHandle)._handle = null;
      const socket = new SocketClass(options as unknown as ConstructorParameters<typeof Socket>[0]);
      socket.pause();
      return socket;
    }
    accepted.on('data', (chunk: Buffer) => this.#read(chunk, 0, chunk.length));
    accepted.pause();
    return accepted;
  }

  #read(b: Buffer, start: number, end: number): void {
    const bytes = end - start;
    const most = this.#handler?.takesLarge === true ? bytes : TURN_BYTES;
    const step = bytes <= SMALL_READ_BYTES ? TURN_SMALL_BYTES : most;
    for (let at = start; at < end; at += step) {
      if (this.#closing || this.#handler === null) return;
      this.#turn.enter();
      this.#handler.onBytes(b, at, Math.min(end, at + step));
      this.#turn.leave();
    }
  }

  #written(): void {
    this.#drainWanted = false;
    if (this.#closing || this.#handler === null) return;
    if (this.#socket.writableLength > 0) return;
    this.#turn.enter();
    this.#handler.onDrained();
    this.#turn.leave();
  }

  #closed(): void {
    this.#closing = true;
    const handler = this.#handler;
    if (handler === null) return;
    this.#handler = null;
    this.#turn.enter();
    handler.onClosed();
    this.#turn.leave();
  }
}

const EMPTY = Buffer.alloc(0);

/** An IPv4 address that came by a dual-stack listener is an IPv4 address. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** `address:port`, an IPv6 address in brackets. */
export function addressAndPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
