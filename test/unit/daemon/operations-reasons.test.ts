// Goal: whoever looks up a reason that they are shown finds it in docs/operations.md, with what it means.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { reasonsIn } from '../../support/reasons.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const text = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8');
const named = (word: string): boolean => text.includes(`\`${word}\``);

/** Reasons that are states, and those that are put together: `Volume${state}`. */
const STATES = [
  'Healthy',
  'Degraded',
  'Rebuilding',
  'Offline',
  'Init',
  'Pending',
  'Online',
  'Faulted',
];
const VOLUME_STATES = ['Degraded', 'Rebuilding', 'Offline', 'Init'].map(
  (state) => `Volume${state}`,
);
/** Reasons of API answers, and none of conditions. */
const OF_ANSWERS = new Set(['AlreadyExists', 'BadRequest', 'Conflict', 'NotFound']);

test('every reason that conditions and events give is told of', () => {
  const found = reasonsIn(join(ROOT, 'src'));
  // What the search finds is not nothing: of each form in which reasons are given one is known.
  for (const known of ['SnapshotTaken', 'Taken', 'NotNow', 'ReplicasMissing', 'ProvisioningFailed'])
    assert.ok(found.has(known), `${known} is not found in the code any more`);
  const missing = [...found]
    .filter(([reason]) => !OF_ANSWERS.has(reason) && !named(reason))
    .map(([reason, places]) => `${reason} (${places.join(', ')})`);
  assert.deepEqual(missing, []);
  assert.deepEqual(
    [...STATES, ...VOLUME_STATES].filter((reason) => !named(reason)),
    [],
  );
});

test('every reason that is told of is given, or is a state', () => {
  const found = reasonsIn(join(ROOT, 'src'));
  const table = /## Reasons, from A to Z(.*?)\n## /s.exec(`${text}\n## `)?.[1] ?? '';
  const told = table
    .split('\n')
    .flatMap((line) => /^\| (`[^|]*) \|/.exec(line)?.[1]?.match(/`[A-Z][A-Za-z]+`/g) ?? [])
    .map((word) => word.slice(1, -1));
  assert.ok(told.length > 50, `${told.length} reasons`);
  const known = new Set([...found.keys(), ...STATES, ...VOLUME_STATES]);
  assert.deepEqual(
    told.filter((reason) => !known.has(reason)),
    [],
  );
});

test('every code of the engine is told of', () => {
  const codes = new Set<string>();
  const folder = join(ROOT, 'src');
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const file = readFileSync(join(folder, name), 'utf8');
    for (const [, code = ''] of file.matchAll(/'(STORE_[A-Z_]+)'/g)) codes.add(code);
  }
  assert.ok(codes.size > 15);
  assert.deepEqual(
    [...codes].filter((code) => !named(code)),
    [],
  );
});
