// Goal: pages of keys by prefix are what sorting and cutting everything would give, and count what comes after them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SortedKeys } from '../../../src/objects/sorted-keys.ts';

test('a page is a part of all keys in order', () => {
  const key = fc.stringMatching(/^\/[ab]\/[ab~]{0,3}$/);
  fc.assert(
    fc.property(
      fc.uniqueArray(key, { maxLength: 30 }),
      fc.array(fc.nat(29), { maxLength: 10 }),
      fc.constantFrom('', '/', '/a/', '/b/', '/a/~'),
      fc.option(key),
      fc.option(fc.nat(5)),
      (all, gone, prefix, after, limit) => {
        const keys = new SortedKeys();
        for (const one of all) keys.add(one);
        const left = new Set(all);
        for (const at of gone) {
          const one = all[at];
          if (one !== undefined && left.delete(one)) keys.delete(one);
        }
        const within = [...left]
          .filter((one) => one.startsWith(prefix) && (after === null || one > after))
          .sort();
        const wanted = limit === null ? within : within.slice(0, limit);
        assert.deepEqual(keys.page(prefix, after, limit), {
          keys: wanted,
          remaining: within.length - wanted.length,
        });
      },
    ),
  );
});
