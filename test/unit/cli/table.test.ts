import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderAge, renderTable } from '../../../src/cli/table.ts';

test('columns stand three spaces apart, without borders or trailing blanks', () => {
  const columns = [
    { title: 'NAME', value: (row: string[]) => row[0]! },
    { title: 'SIZE', value: (row: string[]) => row[1]! },
    { title: 'NOTE', wide: true, value: (row: string[]) => row[2]! },
  ];
  const rows = [
    ['a', '5Gi', 'x'],
    ['longer', '', 'y'],
  ];
  assert.deepEqual(renderTable(columns, rows, false), [
    'NAME     SIZE',
    'a        5Gi',
    'longer   <none>',
  ]);
  assert.equal(renderTable(columns, rows, true)[1], 'a        5Gi      x');
});

test('ages are as kubectl shows them', () => {
  const from = '2026-11-01T00:00:00Z';
  const after = (seconds: number) => renderAge(from, new Date(Date.parse(from) + seconds * 1000));
  const known: [number, string][] = [
    [-5, '0s'],
    [45, '45s'],
    [119, '119s'],
    [192, '3m12s'],
    [3600, '60m'],
    [5 * 3600 + 60, '5h1m'],
    [20 * 3600, '20h'],
    [7 * 86400, '7d'],
    [800 * 86400, '2y'],
  ];
  for (const [seconds, text] of known) assert.equal(after(seconds), text);
  assert.equal(renderAge('nonsense', new Date()), '<unknown>');
});
