import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeFolder, makeFolderNow } from '../../../src/objects/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-folders-'));
after(() => rmSync(folder, { recursive: true }));

test('a folder is made with those above it, for nobody else to look in; one that is there is left as it is', async () => {
  const [a, b] = [join(folder, 'a/b/c'), join(folder, 'x/y/z')];
  await makeFolder(a);
  makeFolderNow(b);
  for (const path of [a, b, join(folder, 'a'), join(folder, 'x/y')])
    assert.equal(statSync(path).mode & 0o777, 0o700, path);
  await makeFolder(folder);
  makeFolderNow(folder);
  // At the same time.
  await Promise.all([1, 2, 3].map(() => makeFolder(join(folder, 'p/q'))));
});

test('where none can be made it fails, and names the place', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await assert.rejects(makeFolder(file), /EEXIST.*file/);
  await assert.rejects(makeFolder(join(file, 'below')), /ENOTDIR/);
  // Node's own recursive mkdir does not come back from there.
  await assert.rejects(makeFolder('/proc/ashlar/data'), /\/proc\/ashlar/);
  assert.throws(() => makeFolderNow('/proc/ashlar/data'), /\/proc\/ashlar/);
});
