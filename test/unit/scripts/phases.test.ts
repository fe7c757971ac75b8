// Goal: no test that nobody runs. `npm test` names its files by patterns, and one that fits none would never be missed.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

interface Phase {
  readonly id: string;
  readonly files?: readonly string[];
}

test('every test file is run by exactly one phase', async () => {
  const root = process.cwd();
  const { listPhases } = (await import(join(root, 'scripts/phases.mjs'))) as {
    listPhases: (root: string) => readonly Phase[];
  };
  const phasesOf = new Map<string, string[]>();
  for (const { id, files = [] } of listPhases(root)) {
    for (const file of files) phasesOf.set(file, [...(phasesOf.get(file) ?? []), id]);
  }
  const sources = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(test|sim)\.ts$/.test(name))
    .map((name) => join('dist/test', name.replace(/ts$/, 'js')));
  assert.ok(sources.length > 100);
  for (const file of sources) assert.equal(phasesOf.get(file)?.length, 1, file);
});
