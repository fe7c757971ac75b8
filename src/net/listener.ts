// Listens on the portals of a target node, IPv4 and IPv6, and hands every accepted connection on as a Transport.
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import type { Log, Transport, Turn } from '../base/index.ts';
import type { TlsIdentity } from './dial.ts';
import { addressAndPort, SocketTransport } from './socket-transport.ts';

/** Connections that completed TCP's handshake and wait for accept. */
const BACKLOG = 128;
/** A peer that connects and says nothing. */
const TLS_HANDSHAKE_MS = 5000;

export interface Portal {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface ListenerOptions {
  readonly turn: Turn;
  readonly log: Log;
  /** Connections of all portals together; those beyond are closed at once. */
  readonly maxConnections: number;
  readonly onConnection: (transport: Transport) => void;
  /** Every peer must show a certificate of the same authority. */
  readonly tls?: TlsIdentity | null;
}

export class Listener {
  readonly #options: ListenerOptions;
  readonly #servers: Server[] = [];
  readonly #portals: Portal[] = [];
  #connections = 0;
  readonly #unfollow: (() => void)[] = [];

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** Where it listens: the ports that port 0 became. */
  get portals(): readonly Portal[] {
    return this.#portals;
  }

  /** Opens one more portal. Rejects with the system's error (EADDRINUSE, …). */
  async listen(portal: Portal): Promise<Portal> {
    const { tls = null, log } = this.#options;
    const onSocket = (socket: Socket): void => {
      const { maxConnections, turn, onConnection } = this.#options;
      if (this.#connections >= maxConnections) {
        socket.destroy();
        return;
      }
      this.#connections += 1;
      const transport = new SocketTransport(socket, turn, () => {
        this.#connections -= 1;
      });
      turn.enter();
      onConnection(transport);
      turn.leave();
    };
    const server =
      tls === null
        ? createServer({ pauseOnConnect: true, noDelay: true }, onSocket)
        : this.#secured(tls, onSocket);
    // Who cannot show a certificate is gone already; that is for the log, if at all.
    server.on('tlsClientError', (error) =>
      log.debug({ err: error }, 'a peer failed its TLS handshake'),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: portal.address, port: portal.port, backlog: BACKLOG }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => log.error({ err: error }, 'a portal failed'));
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : portal.port;
    const opened = { address: portal.address, port };
    this.#servers.push(server);
    this.#portals.push(opened);
    log.info({ portal: addressAndPort(opened.address, port) }, 'portal is open');
    return opened;
  }

  #secured(tls: TlsIdentity, onSocket: (socket: Socket) => void): TlsServer {
    const context = () => ({
      cert: tls.cert,
      key: tls.key,
      ca: tls.ca,
      minVersion: 'TLSv1.3' as const,
    });
    const asked = {
      ...context(),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: TLS_HANDSHAKE_MS,
    };
    const server = createTlsServer(asked, (socket) => {
      socket.pause();
      onSocket(socket);
    });
    const unfollow = tls.onRenewed?.(() => server.setSecureContext(context()));
    if (unfollow !== undefined) this.#unfollow.push(unfollow);
    return server;
  }

  /** Accepts nothing more. Connections that are there go on; resolves at once, not when they end. */
  close(): void {
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
    for (const server of this.#servers) server.close();
    this.#servers.length = 0;
    this.#portals.length = 0;
  }
}
