import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setSpin } from '../../../src/store/index.ts';

test('a spin outside of 0 to 1000 microseconds is refused', () => {
  for (const wrong of [-1, 1001, Number.NaN]) assert.throws(() => setSpin(wrong), RangeError);
});

test('with a spin, sockets and timers still do their work, and an idle loop does not burn its processor', async () => {
  setSpin(1000);
  try {
    const server = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const socket = connect(address.port, '127.0.0.1');
    let echoes = 0;
    // Ping-pong, the pattern that heats the spin up.
    await new Promise<void>((resolve) => {
      socket.on('data', () => {
        echoes += 1;
        if (echoes === 2000) resolve();
        else socket.write('x');
      });
      socket.write('x');
    });
    assert.equal(echoes, 2000);
    socket.destroy();
    server.close();
    await sleep(50);
    const before = process.cpuUsage();
    await sleep(500);
    const used = process.cpuUsage(before);
    // A loop that spun all the time would have used 500 ms.
    assert.ok(
      used.user + used.system < 250_000,
      `${used.user + used.system} µs in an idle half second`,
    );
  } finally {
    setSpin(0);
  }
});
