// Goal: no initiator that has logged in can crash the target, hold its memory, or leave a task behind (T12). The million of
// test/fuzz has more of these streams.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Opcode } from '../../../src/iscsi/pdu/index.ts';
import { attack } from './support/hostile.ts';

const SEEDS = 60;

test('streams of nearly right PDUs leave nothing behind', () => {
  const seen = new Set<number>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      attack(seed, seen);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  // The attacks get far enough to be worth something.
  for (const opcode of [Opcode.DataIn, Opcode.ScsiResponse, Opcode.R2t, Opcode.Reject]) {
    assert.ok(seen.has(opcode), `no answer of kind ${opcode}`);
  }
});
