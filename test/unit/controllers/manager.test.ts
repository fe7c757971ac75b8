// Goal: one object whose look takes long does not keep those of a controller that may look at many waiting.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import {
  type Controller,
  ControllerManager,
  type Surroundings,
} from '../../../src/controllers/index.ts';
import { VOLUME } from '../../../src/kinds/index.ts';

async function begun(workers?: number): Promise<number> {
  let looks = 0;
  const controller = {
    name: 'slow',
    kind: VOLUME,
    triggers: [],
    ...(workers === undefined ? {} : { workers }),
    reconcile: () => {
      looks += 1;
      return new Promise<undefined>(() => {});
    },
  } as unknown as Controller;
  const objects = Array.from({ length: 100 }, (_, n) => ({ metadata: { name: `v-${n}` } }));
  const around = {
    clock: new ManualClock(),
    log: silentLog,
    catalog: { all: () => objects, onChange: () => {} },
  } as unknown as Surroundings;
  new ControllerManager(around, [controller]).start();
  for (let turn = 0; turn < 30; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return looks;
}

test('a controller looks at as many objects at one time as it says, else at four', async () => {
  assert.equal(await begun(), 4);
  assert.equal(await begun(64), 64);
});
