// Goal: a host that reads slowly keeps its READs waiting, in the order in which they came.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import type { DataBuffer } from '../../../src/block/index.ts';
import { AnswerShare } from '../../../src/scsi/answer-share.ts';
import type { Execution } from '../../../src/scsi/execution.ts';
import { MAX_ANSWER_BYTES } from '../../../src/scsi/limits.ts';

const bufferOf = (bytes: number): DataBuffer => ({ capacityBytes: bytes }) as DataBuffer;

/** READs that ask `share` as executions do, and who has got a buffer. */
function setUp() {
  const share = new AnswerShare(new Turn());
  const got: string[] = [];
  const read = (name: string, bytes: number): Execution => {
    const execution: Execution = {
      bytes,
      resume(): void {
        if (!share.admits(execution, bytes)) {
          share.wait(execution);
          return;
        }
        share.hold(bufferOf(bytes));
        got.push(name);
      },
    } as Execution;
    execution.resume();
    return execution;
  };
  return { share, got, read };
}

test('small READs do not pass a large one that waits', async () => {
  const { share, got, read } = setUp();
  const half = MAX_ANSWER_BYTES / 2;
  read('first', half + 1);
  read('large', half);
  for (const name of ['a', 'b', 'c']) read(name, 1024);
  assert.deepEqual(got, ['first']);
  share.give(bufferOf(half + 1));
  await Promise.resolve();
  assert.deepEqual(got, ['first', 'large', 'a', 'b', 'c']);
});

test('those behind a large one that was aborted go on', async () => {
  const { share, got, read } = setUp();
  const half = MAX_ANSWER_BYTES / 2;
  read('first', half + 1);
  const large = read('large', half);
  read('small', 1024);
  share.forget(large);
  await Promise.resolve();
  assert.deepEqual(got, ['first', 'small']);
});
