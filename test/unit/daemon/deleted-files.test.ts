// Goal: a pool's file that is removed under its daemon is told of once, with the way to save it, before the daemon ends.
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Log, ManualClock, silentLog } from '../../../src/base/index.ts';
import { DeletedFileWatch, deletedPoolFiles } from '../../../src/daemon/deleted-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-deleted-'));
after(() => rmSync(folder, { recursive: true }));

function anOpenFile(name: string, bytes: number): { path: string; fd: number } {
  const path = join(folder, name);
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, bytes);
  return { path, fd };
}

test('open files without a name are found, and none that has one, that is small, or that is memory', () => {
  const files = [
    anOpenFile('there', 2 ** 26),
    anOpenFile('gone', 2 ** 26),
    anOpenFile('log', 2 ** 20),
  ];
  try {
    assert.deepEqual(deletedPoolFiles(), []);
    for (const { path } of files.slice(1)) unlinkSync(path);
    assert.deepEqual(deletedPoolFiles(), [files[1]]);
  } finally {
    for (const { fd } of files) closeSync(fd);
  }
  assert.deepEqual(deletedPoolFiles(), []);
});

test('each is told of once, with the way to save it', () => {
  const clock = new ManualClock();
  const said: string[] = [];
  const log: Log = { ...silentLog, error: (_, message) => said.push(message) };
  let found: { path: string; fd: number }[] = [];
  const watch = new DeletedFileWatch(clock, log, () => found);
  clock.advance(30_000);
  assert.deepEqual(said, []);
  found = [{ path: '/srv/pool.img', fd: 21 }];
  clock.advance(30_000);
  assert.equal(said.length, 1);
  assert.match(
    said[0]!,
    /^\/srv\/pool\.img was removed .*cp --sparse=always \/proc\/\d+\/fd\/21 \/srv\/pool\.img\.saved$/,
  );
  found = [...found, { path: '/srv/other.img', fd: 22 }];
  clock.advance(10_000);
  assert.equal(said.length, 2);
  watch.stop();
  found = [{ path: '/srv/third.img', fd: 23 }];
  clock.advance(60_000);
  assert.equal(said.length, 2);
});
