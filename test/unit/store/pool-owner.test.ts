import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Turn } from '../../../src/base/index.ts';
import { DataBufferPool, MAX_BUFFER_BYTES } from '../../../src/block/index.ts';
import {
  checkPool,
  createPoolFile,
  type FoundPool,
  keptMachine,
  lastUseOf,
  namedOwner,
  nativeArena,
  openPool,
  type Pool,
  probePool,
  thisMachine,
  thisNode,
  withProbe,
} from '../../../src/store/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-owner-'));
after(() => rmSync(folder, { recursive: true }));

const turn = new Turn();
const buffers = new DataBufferPool(nativeArena(MAX_BUFFER_BYTES * 2));

/** The first 16 bytes of SHA-256 of "ashlar pool owner: node n1", as labels of earlier versions have it. */
const FORMER = '49a3575e-abdb-b93f-4794-fcba4dcf5b89';

function aMachineId(text: string): string {
  const path = join(folder, 'machine-id');
  writeFileSync(path, text);
  return path;
}

test('a machine is known by its machine-id, which is not told, and by nothing where it has none', () => {
  const id = '0123456789abcdef0123456789abcdef';
  const lasts = (): boolean => false; // Also where the tests' folder is in memory.
  const machine = thisMachine(aMachineId(`${id}\n`), lasts);
  assert.equal(machine?.name, hostname());
  assert.equal(machine?.id, '1e863d89-ac33-7848-0475-f064f3aa476e');
  assert.equal(thisMachine(aMachineId(`f${id.slice(1)}\n`), lasts)?.id === machine?.id, false);
  for (const none of ['', 'uninitialized\n', `${'0'.repeat(32)}\n`, id.slice(1)]) {
    assert.equal(thisMachine(aMachineId(none), lasts), null, none);
  }
  assert.equal(thisMachine(join(folder, 'missing'), lasts), null);
  assert.equal(
    thisMachine(aMachineId(`${id}\n`), () => true),
    null,
    'of this boot alone',
  );
  assert.deepEqual(thisNode('n1', 'c1'), thisNode('n1', 'c1'));
  assert.notEqual(thisNode('n1', 'c1').id, thisNode('n2', 'c1').id);
  assert.notEqual(thisNode('n1', 'c1').id, thisNode('n1', 'c2').id);
});

test('a pool of another machine is refused, told of, and opened once it is taken over', async () => {
  const path = join(folder, 'pool');
  const open = { path, turn, buffers };
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  assert.equal((await probePool(path)).owner, undefined);
  await (await openPool({ ...open, owner: thisNode('alpha', 'c1') })).close();
  const { owner } = await probePool(path);
  assert.deepEqual([owner?.id, owner?.name], [thisNode('alpha', 'c1').id, 'alpha']);
  assert.match(
    lastUseOf(owner),
    /^alpha has had it since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC, and may/,
  );
  const refused = {
    code: 'STORE_OWNED',
    message: /pool tank belongs to machine alpha since 20.* UTC, which has not exported it/,
  };
  await assert.rejects(openPool({ ...open, owner: thisNode('beta', 'c1') }), refused);
  await assert.rejects(openPool({ ...open, owner: null }), refused);
  assert.equal((await checkPool(path)).clean, true);
  await (await openPool({ ...open, owner: thisNode('beta', 'c1'), takeOver: true })).close();
  await assert.rejects(
    openPool({ ...open, owner: thisNode('alpha', 'c1') }),
    /belongs to machine beta/,
  );
  await (await openPool({ ...open, owner: thisNode('beta', 'c1') })).exportPool();
  await (await openPool({ ...open, owner: thisNode('alpha', 'c1') })).close();
});

test('nodes of one name in two clusters are two owners, and labels that name the node alone are the one of that name', async () => {
  const path = join(folder, 'clusters');
  const open = { path, turn, buffers };
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  // As a version wrote it that knew no clusters.
  const before = { id: FORMER, name: 'n1' };
  await (await openPool({ ...open, owner: before })).close();
  await (await openPool({ ...open, owner: thisNode('n1', 'c1') })).close();
  assert.equal((await probePool(path)).owner?.id, thisNode('n1', 'c1').id);
  await assert.rejects(openPool({ ...open, owner: thisNode('n1', 'c2') }), { code: 'STORE_OWNED' });
});

test('a machine that is given a name, or has got a machine-id since, is the one that it was', async () => {
  const path = join(folder, 'named');
  const open = { path, turn, buffers };
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  const kept = keptMachine('0123456789abcdef0123456789abcdef', 'box');
  await (await openPool({ ...open, owner: kept })).close();
  await (await openPool({ ...open, owner: namedOwner('storage-1', kept) })).close();
  assert.equal((await probePool(path)).owner?.name, 'storage-1');
  await assert.rejects(openPool({ ...open, owner: kept }), /belongs to machine storage-1/);
  await (await openPool({ ...open, owner: namedOwner('storage-1', null) })).close();
});

test('what is refused by what it holds, and what is given back, is as it was found', async () => {
  const path = join(folder, 'refused');
  const open = { path, turn, buffers };
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  const pool = await openPool({ ...open, owner: thisNode('alpha', 'c1') });
  await pool.createVolume({ id: randomUUID(), name: 'db', sizeBlocks: 256 });
  await pool.close();
  const before = readFileSync(path);
  const beta = { ...open, owner: thisNode('beta', 'c1') };
  const accept = (held: Pool): void => {
    assert.deepEqual(
      held.volumes().map(({ name }) => name),
      ['db'],
    );
    throw new Error('db is taken');
  };
  await assert.rejects(openPool({ ...beta, takeOver: true, accept }), /^Error: db is taken$/);
  assert.ok(readFileSync(path).equals(before), 'nothing was written');
  // A pool that cannot be opened is not taken over either.
  const torn = Buffer.from(before);
  for (const at of [0, 4096, torn.length - 8192, torn.length - 4096]) torn.fill(0, at, at + 4096);
  writeFileSync(path, torn);
  await assert.rejects(openPool({ ...beta, takeOver: true }), { code: 'STORE_CORRUPT' });
  assert.ok(readFileSync(path).equals(torn), 'nothing was written');
  writeFileSync(path, before);
  await (await openPool({ ...beta, takeOver: true })).giveBack();
  const { owner, exported } = await probePool(path);
  assert.deepEqual([owner?.name, exported], ['alpha', false]);
  await (await openPool({ ...open, owner: thisNode('alpha', 'c1') })).exportPool();
  await (await openPool(beta)).giveBack();
  assert.equal((await probePool(path)).exported, true);
});

// Two machines over storage that both reach: a file's lock would keep them apart, so the other one works on a copy, and
// what it writes to labels and superblocks is then put where both see it.
test('a machine whose pool is taken over while it runs stops at its next write, and says why', async () => {
  const path = join(folder, 'shared');
  await createPoolFile({ path, sizeBytes: 64 << 20, name: 'tank' });
  const alpha = { path, turn, buffers, owner: thisNode('alpha', 'c1'), ownerLookMs: 20 };
  const pool = await openPool(alpha);
  const told: string[] = [];
  pool.onFault((why) => told.push(why));
  await pool.putBlob('looked', Buffer.from('at'));
  await pool.checkpoint();

  const copy = join(folder, 'copy');
  copyFileSync(path, copy);
  const ended = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'take-over.js'), copy, 'beta'],
    { encoding: 'utf8' },
  );
  assert.equal(ended.status, 0, ended.stderr);
  const ends = readFileSync(copy);
  const fd = openSync(path, 'r+');
  for (const at of [0, ends.length - 10 * 4096]) writeSync(fd, ends, at, 10 * 4096, at);
  closeSync(fd);
  const after = readFileSync(path);

  await setTimeout(100); // A look is due: nothing is read for it before there is something to write.
  assert.equal(pool.stats().state, 'Online');
  await assert.rejects(pool.putBlob('a', Buffer.from('b')), { code: 'STORE_FAULTED' });
  assert.equal(told.length, 1);
  assert.match(
    told[0] ?? '',
    /^pool tank was taken over by machine beta at 20.* UTC .*; nothing more is written here$/,
  );
  await assert.rejects(pool.checkpoint(), /taken over by machine beta/);
  await assert.rejects(pool.close());
  assert.ok(readFileSync(path).equals(after), 'nothing was written');
});

test('whose a pool of several devices is the newest label says, and who is named elsewhere is told', () => {
  const since = new Date('2026-11-01T00:00:00Z');
  const owner = (name: string) => ({ id: thisNode(name, 'c1').id, name, since });
  const probe = { id: 'p', name: 'tank', deviceId: 'd', devices: 3, exported: false };
  const old = { ...probe, sequence: 4, owner: owner('alpha') };
  const new_ = { ...probe, sequence: 5, owner: owner('beta') };
  for (const order of [
    [old, new_, old],
    [new_, old, old],
    [old, old, new_],
  ]) {
    let found: FoundPool | undefined;
    for (const [at, one] of order.entries()) found = withProbe(found, one, `/d${at}`);
    assert.equal(found?.owner?.name, 'beta');
    assert.deepEqual(found?.otherOwners, [owner('alpha')]);
    assert.equal(
      lastUseOf(found?.owner, found?.otherOwners),
      'its devices disagree: beta has had it since 2026-11-01 00:00:00 UTC by the newest label, alpha has had it since 2026-11-01 00:00:00 UTC by others; each may have it open',
    );
  }
  const same = withProbe(withProbe(undefined, old, '/a'), { ...old, sequence: 5 }, '/b');
  assert.equal(same.otherOwners, undefined);
  assert.match(lastUseOf(same.owner, same.otherOwners), /^alpha has had it since .*, and may/);
});
