import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Catalog, copySnapshotName } from '../../../src/controllers/index.ts';
import { SNAPSHOT, type Volume } from '../../../src/kinds/index.ts';
import { blocksToMake } from '../../../src/node/agent/sources.ts';

const MI = 2 ** 20;

function aCatalog(snapshots: Readonly<Record<string, number>>): Catalog {
  const get = (kind: unknown, name: string) =>
    kind === SNAPSHOT && name in snapshots ? { status: { sizeBytes: snapshots[name] } } : null;
  return { get } as unknown as Catalog;
}

const aVolume = (size: string, source?: Volume['spec']['source']): Volume =>
  ({
    metadata: { name: 'copy', uid: 'u-1' },
    spec: { size, ...(source === undefined ? {} : { source }) },
  }) as unknown as Volume;

test('a volume is as large as it is asked for, and as what it begins from was when that was cut', () => {
  const catalog = aCatalog({ [copySnapshotName('u-1')]: 128 * MI, monday: 32 * MI });
  assert.equal(blocksToMake(catalog, aVolume('64Mi')), (64 * MI) / 4096);
  assert.equal(blocksToMake(catalog, aVolume('64Mi', { volume: 'db' })), (128 * MI) / 4096);
  assert.equal(blocksToMake(catalog, aVolume('64Mi', { snapshot: 'monday' })), (64 * MI) / 4096);
});
