// Strangers do not fill the log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Log, silentLog } from '../../../src/base/index.ts';
import { MAX_STRANGER_LOG_LINES } from '../../../src/iscsi/limits.ts';
import { type Initiator, World } from './support/initiator.ts';

function recorder(): { log: Log; lines: { message: string; fields: object }[] } {
  const lines: { message: string; fields: object }[] = [];
  const note = (fields: object, message: string): void => {
    lines.push({ message, fields });
  };
  const log: Log = { ...silentLog, info: note, warn: note, child: () => log };
  return { log, lines };
}

test('a port scanner writes so many lines a minute, and one that counts the rest', () => {
  const { log, lines } = recorder();
  const world = new World({ log });
  for (let scan = 0; scan < 200; scan += 1) {
    const stranger = world.connect(`192.0.2.${scan}`);
    if (scan % 2 === 0)
      stranger.send(Buffer.from('GET / HTTP/1.1\r\nHost: storage\r\n\r\n'.padEnd(64)));
    stranger.cut();
  }
  assert.equal(lines.length, MAX_STRANGER_LOG_LINES);
  // Who logs in is told of all the same.
  world.login().cut();
  const told = lines.slice(MAX_STRANGER_LOG_LINES).map(({ message }) => message);
  assert.deepEqual(told, ['session is established', 'connection is closed']);
  world.clock.advance(61_000);
  world.connect().cut();
  const [summary, next] = lines.slice(-2);
  assert.match(summary!.message, /left out/);
  assert.deepEqual(summary!.fields, { lines: 200 - MAX_STRANGER_LOG_LINES });
  assert.equal(next!.message, 'connection is closed');
});

test('a refused login is one line', () => {
  const { log, lines } = recorder();
  const world = new World({ log });
  const host: Initiator = world.connect();
  host.login({ TargetName: 'iqn.2026-11.io.ashlar:nothing' });
  host.cut();
  assert.deepEqual(
    lines.map(({ message }) => message),
    ['login refused'],
  );
});
