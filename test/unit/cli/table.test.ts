import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeObject, titled } from '../../../src/cli/describe.ts';
import { renderCells, type ServerTable, tableCells } from '../../../src/cli/table.ts';

test('columns stand three spaces apart, without borders or trailing blanks', () => {
  const table: ServerTable = {
    kind: 'Table',
    columnDefinitions: [
      { name: 'Name', priority: 0 },
      { name: 'Size', priority: 0 },
      { name: 'Note', priority: 1 },
    ],
    rows: [
      { cells: ['a', '5Gi', 'x'], object: { metadata: { name: 'a', namespace: 'n' } } },
      { cells: ['longer', '', 'y'], object: { metadata: { name: 'longer' } } },
    ],
  };
  const look = { wide: false, withNamespace: false, namePrefix: '' };
  assert.deepEqual(renderCells(tableCells(table, look)), [
    'NAME     SIZE',
    'a        5Gi',
    'longer   <none>',
  ]);
  const wide = renderCells(tableCells(table, { ...look, wide: true, withNamespace: true }));
  assert.deepEqual(wide, [
    'NAMESPACE   NAME     SIZE     NOTE',
    'n           a        5Gi      x',
    '<none>      longer   <none>   y',
  ]);
});

test('a description reads like one', () => {
  assert.equal(titled('usedBytes'), 'Used Bytes');
  assert.equal(titled('iqn'), 'IQN');
  assert.equal(titled('ioErrors'), 'I/O Errors');
  const lines = describeObject(
    {
      apiVersion: 'v1',
      kind: 'X',
      metadata: { name: 'x' },
      status: {
        sizeBytes: 1048576,
        devices: [{ path: '/dev/a', state: 'Online' }],
        conditions: [{ type: 'Ready', status: 'True', reason: 'Yes', message: 'all is well' }],
      },
    },
    [{ type: 'Normal', reason: 'Made', message: 'it was made', count: 2 }],
  );
  const text = lines.join('\n');
  assert.match(text, /^ {2}Size Bytes: +1048576 \(1Mi\)$/m);
  assert.match(text, /^ {4}PATH +STATE\n {4}\/dev\/a +Online$/m);
  assert.match(text, /^ {2}Ready +True +Yes +<none> +all is well$/m);
  assert.match(text, /^ {2}Normal +Made +<none> +2 +<none> +it was made$/m);
});
