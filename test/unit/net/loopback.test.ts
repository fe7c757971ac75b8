// Real sockets: what the kernel cuts and merges, back pressure, and the end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { silentLog, Turn } from '../../../src/base/index.ts';
import type { Transport, TransportHandler } from '../../../src/iscsi/transport.ts';
import { Listener } from '../../../src/net/index.ts';

class Echo implements TransportHandler {
  readonly transport: Transport;
  received = 0;
  drains = 0;
  readonly closed: Promise<void>;
  onClosed!: () => void;

  constructor(transport: Transport) {
    this.transport = transport;
    this.closed = new Promise((resolve) => {
      this.onClosed = resolve;
    });
    transport.start(this);
  }

  onBytes(b: Buffer, start: number, end: number): void {
    this.received += end - start;
    this.transport.write(Buffer.from(b.subarray(start, end)));
    if (!this.transport.drained) this.transport.pauseReading();
  }

  onDrained(): void {
    this.drains += 1;
    this.transport.resumeReading();
  }
}

async function listen(
  maxConnections = 10,
  address = '127.0.0.1',
): Promise<{ listener: Listener; port: number; echoes: Echo[] }> {
  const echoes: Echo[] = [];
  const listener = new Listener({
    turn: new Turn(),
    log: silentLog,
    maxConnections,
    onConnection: (transport) => echoes.push(new Echo(transport)),
  });
  const { port } = await listener.listen({ address, port: 0 });
  return { listener, port, echoes };
}

test('bytes come and go unchanged, through back pressure', async () => {
  const { listener, port, echoes } = await listen();
  const socket = connect({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  const total = 32 * 1024 * 1024;
  const sent = Buffer.alloc(total);
  for (let at = 0; at < total; at += 4) sent.writeUInt32LE(at, at);
  socket.write(sent);
  const parts: Buffer[] = [];
  let bytes = 0;
  // The reader comes late: the echo must wait for it, not buffer for it.
  await new Promise((resolve) => setImmediate(resolve));
  for await (const part of socket) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes === total) break;
  }
  assert.ok(Buffer.concat(parts).equals(sent));
  assert.equal(echoes[0]!.received, total);
  assert.ok(echoes[0]!.drains > 0);
  assert.equal(echoes[0]!.transport.peerAddress, '127.0.0.1');
  assert.equal(echoes[0]!.transport.local, `127.0.0.1:${port}`);
  await echoes[0]!.closed;
  listener.close();
});

test('several sockets share the read buffer without mixing', async () => {
  const { listener, port, echoes } = await listen();
  const answers = await Promise.all(
    [1, 2, 3, 4, 5].map(async (seed) => {
      const socket = connect({ port, host: '127.0.0.1' });
      const data = Buffer.alloc(200_000, seed);
      socket.write(data);
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const part of socket) {
        parts.push(part as Buffer);
        bytes += (part as Buffer).length;
        if (bytes === data.length) break;
      }
      return Buffer.concat(parts).equals(data);
    }),
  );
  assert.deepEqual(answers, [true, true, true, true, true]);
  await Promise.all(echoes.map((echo) => echo.closed));
  listener.close();
});

test('close sends what was written, then the peer sees the end', async () => {
  const { listener, port, echoes } = await listen();
  const socket = connect({ port, host: '127.0.0.1' });
  socket.write('x');
  await once(socket, 'data');
  const goodbye = Buffer.alloc(1_000_000, 7);
  echoes[0]!.transport.write(goodbye);
  echoes[0]!.transport.close();
  let bytes = 0;
  for await (const part of socket) bytes += (part as Buffer).length;
  assert.equal(bytes, goodbye.length);
  await echoes[0]!.closed;
  listener.close();
});

test('a reset connection is closed once, and the listener bounds how many there are', async () => {
  const { listener, port, echoes } = await listen(1);
  const first = connect({ port, host: '127.0.0.1' });
  first.write('x');
  await once(first, 'data');
  const second = connect({ port, host: '127.0.0.1' });
  second.on('error', () => {});
  await once(second, 'close');
  assert.equal(echoes.length, 1);
  first.resetAndDestroy();
  await echoes[0]!.closed;
  const third = connect({ port, host: '127.0.0.1' });
  third.write('x');
  await once(third, 'data');
  third.destroy();
  await echoes[1]!.closed;
  listener.close();
});

test('a portal that is taken says so', async () => {
  const { listener, port } = await listen();
  await assert.rejects(listener.listen({ address: '127.0.0.1', port }), { code: 'EADDRINUSE' });
  assert.equal(listener.portals.length, 1);
  listener.close();
});
