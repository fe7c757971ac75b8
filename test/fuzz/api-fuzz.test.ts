// A taste of the fuzzer with the unit tests; the whole of it is a phase of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { everyKind, fuzz, ofTheDaemon } from './api-fuzz.ts';

for (const [name, build] of [
  ['every kind', everyKind],
  ['the daemon', ofTheDaemon],
] as const) {
  test(`random requests at ${name} are answered, never with a 500`, async () => {
    const app = await build();
    const { requests, codes } = await fuzz(app, { requests: 600, seed: 7 });
    await app.close();
    assert.equal(requests, 600);
    // It reaches past the doors: some requests are right.
    assert.ok((codes.get(200) ?? 0) + (codes.get(201) ?? 0) > 20, JSON.stringify([...codes]));
  });
}
