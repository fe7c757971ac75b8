import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../../../src/daemon/log.ts';

test('secrets are redacted wherever they turn up', () => {
  const lines: string[] = [];
  const log = createLog({ level: 'info', node: 'n', people: (line) => lines.push(line) });
  log.info({ secret: 'hunter2-hunter2' }, 'a');
  log.info({ spec: { chap: { user: 'u', secret: 'hunter2-hunter2' } } }, 'b');
  log.info({ chap: { secret: 'hunter2-hunter2' }, mutualChap: { secret: 'hunter2-hunter2' } }, 'c');
  assert.equal(lines.length, 3);
  assert.ok(!lines.join('\n').includes('hunter2'));
  assert.match(lines.join('\n'), /\[redacted\]/);
});
