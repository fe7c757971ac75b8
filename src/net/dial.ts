// Makes connections: to the replicas of other nodes, in the clear or with TLS.
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { Transport, Turn } from '../base/index.ts';
import { addressAndPort, SocketTransport } from './socket-transport.ts';

/** Certificates in PEM. The peer must show one that `ca` signed. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Of one that is renewed while it is in use: calls back each time. The value ends that. */
  readonly onRenewed?: (listener: () => void) => () => void;
}

export interface DialOptions {
  readonly address: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly turn: Turn;
  readonly tls: TlsIdentity | null;
}

/** Connects; `done` is called once, in a turn, with the transport or with why there is none. */
export function dial(
  options: DialOptions,
  done: (transport: Transport | null, error: string) => void,
): void {
  const { address, port, timeoutMs, turn, tls } = options;
  const where = addressAndPort(address, port);
  let socket: Socket;
  let over = false;
  const finish = (transport: Transport | null, error: string): void => {
    if (over) return;
    over = true;
    turn.enter();
    done(transport, error);
    turn.leave();
  };
  const connected = (): void => {
    if (over) return;
    socket.setTimeout(0);
    socket.removeAllListeners('timeout');
    socket.removeAllListeners('error');
    finish(new SocketTransport(socket, turn, () => {}), '');
  };
  if (tls === null) {
    socket = connect({ host: address, port, noDelay: true });
    socket.pause(); // Nothing is read until the transport has its handler.
    socket.once('connect', connected);
  } else {
    const asked: ConnectionOptions = {
      host: address,
      port,
      cert: tls.cert,
      key: tls.key,
      ca: tls.ca,
      rejectUnauthorized: true,
      // A node is known by the authority that signed it; addresses change.
      checkServerIdentity: () => undefined,
      minVersion: 'TLSv1.3',
    };
    const secured: TLSSocket = connectTls(asked);
    socket = secured;
    socket.pause();
    socket.once('secureConnect', connected);
  }
  socket.setTimeout(timeoutMs, () => {
    socket.destroy();
    finish(null, `${where} did not answer in ${timeoutMs / 1000} s`);
  });
  socket.on('error', (error) => {
    socket.destroy();
    finish(null, `${where}: ${error.message}`);
  });
  socket.once('close', () => finish(null, `${where} closed the connection`));
}
