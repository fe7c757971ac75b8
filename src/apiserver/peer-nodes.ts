// Other nodes as clients: where the API wants tokens, a node that asks for what only this one has (log lines) brings none of
// its caller's. It shows the certificate that nodes show each other (replication.tls), and is shown one of the same kind.
// Both are tied to a name in the client's greeting (SNI) that nobody else uses, so browsers and kubectl see the API's own
// certificate, and an authority that anybody can get a certificate of says nothing about who is a node.
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import type { Identity } from './access.ts';

/** Reserved for such uses by RFC 6761 §6.4: no host has it. */
export const NODE_SERVER_NAME = 'node.ashlar.invalid';

/** Key and certificate of this node, and whose certificates are believed; all in PEM. */
export interface PeerIdentity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Calls back when they were renewed. */
  readonly onRenewed?: (listener: () => void) => () => void;
}

/** What an HTTPS server needs besides, to know nodes when it sees them. Who shows no certificate is served all the same. */
export function peerOptions(peers: PeerIdentity): object {
  const make = (): SecureContext =>
    createSecureContext({
      cert: peers.cert,
      key: peers.key,
      ca: peers.ca,
      minVersion: 'TLSv1.3',
    });
  let context = make();
  peers.onRenewed?.(() => {
    context = make();
  });
  return {
    requestCert: true,
    rejectUnauthorized: false,
    SNICallback: (name: string, done: (error: Error | null, context?: SecureContext) => void) =>
      name === NODE_SERVER_NAME ? done(null, context) : done(null),
  };
}

/** It may read logs, and nothing else. */
const A_NODE: Identity = { name: 'a node', role: 'read' };

/** The identity of the node at the other end; null: it is none. */
export function nodeAt(socket: unknown): Identity | null {
  if (!(socket instanceof TLSSocket)) return null;
  const { servername } = socket as unknown as { servername?: string | false };
  return socket.authorized && servername === NODE_SERVER_NAME ? A_NODE : null;
}

export function isNode(identity: Identity | null): boolean {
  return identity === A_NODE;
}
