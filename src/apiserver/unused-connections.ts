// Connections that were opened and have sent no request yet, as browsers and clients with a pool keep them: Node's server
// takes them for busy, and its close would wait for them until they time out.
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';

export function endUnusedAtClose(app: FastifyInstance): void {
  /** By both ends, which a TLS socket shares with the one below it. */
  const unused = new Map<string, Socket>();
  const server = app.server as Server;
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket);
    unused.set(key, socket);
    socket.once('close', () => {
      if (unused.get(key) === socket) unused.delete(key);
    });
  });
  server.on('request', ({ socket }) => unused.delete(keyOf(socket)));
  app.addHook('preClose', async () => {
    for (const socket of unused.values()) socket.destroy();
  });
}

function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
