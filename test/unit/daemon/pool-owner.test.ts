import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { keptIn, poolOwnerOf } from '../../../src/daemon/pool-owner.ts';
import { keptMachine, namedOwner } from '../../../src/store/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-pool-owner-'));
after(() => rmSync(folder, { recursive: true }));

const machine = { id: '1e863d89-ac33-7848-0475-f064f3aa476e', name: 'box' };
const config = (dataDir: string, owner: string | null = null) => ({ dataDir, pool: { owner } });

test('what the configuration calls the machine goes before what it is', () => {
  assert.deepEqual(poolOwnerOf(config(folder, 'storage-1'), machine), {
    ...namedOwner('storage-1', machine),
  });
  assert.equal(poolOwnerOf(config(folder, 'storage-1'), null)?.name, 'storage-1');
  assert.equal(poolOwnerOf(config(folder), machine), machine);
});

test('an id is made once, whole, and kept', () => {
  const id = keptIn(folder);
  assert.match(id ?? '', /^[0-9a-f]{32}$/);
  assert.equal(keptIn(folder), id);
  assert.deepEqual(readdirSync(folder), ['machine-id']);
  assert.equal(statSync(join(folder, 'machine-id')).mode & 0o777, 0o600);
  // One that has a machine-id by now is still the one that it was.
  assert.deepEqual(poolOwnerOf(config(folder), machine), {
    ...machine,
    formerId: keptMachine(id ?? '', '').id,
  });
  // On a volume, without a machine-id: the same at each start, whatever the container is called.
  assert.equal(
    poolOwnerOf(config(folder), null, () => true)?.id,
    keptMachine(id ?? '', 'any name').id,
  );
  // What is not one is not overwritten: somebody may know what it is.
  writeFileSync(join(folder, 'machine-id'), 'something else');
  assert.equal(keptIn(folder), null);
  assert.equal(readFileSync(join(folder, 'machine-id'), 'latin1'), 'something else');
});

test('without a folder that lasts a machine without a machine-id is nobody', () => {
  assert.equal(poolOwnerOf(config('/dev/shm'), null), null); // In memory.
  assert.equal(poolOwnerOf(config('/'), null), null); // In the root, which may be a container's.
  assert.equal(poolOwnerOf(config(join(folder, 'missing')), null), null);
  assert.equal(keptIn(join(folder, 'missing')), null);
});
