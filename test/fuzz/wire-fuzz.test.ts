// A short run of the wire's fuzzer; the long one is a phase of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wireFuzz } from './wire-fuzz.ts';

test('malformed frames cost a session or a connection, and nothing else', () => {
  const { delivered, reasons } = wireFuzz(3000, 7);
  assert.ok(delivered > 50, 'the generator gets past the first checks');
  assert.ok(reasons.size > 10, 'and breaks the protocol in many ways');
});
