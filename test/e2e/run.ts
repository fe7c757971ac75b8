// End to end with a Linux kernel that is not ours: open-iscsi in QEMU against a real daemon, one line a check.
//
//   node dist/test/e2e/run.js                   everything, against an ashlar daemon of its own
//   … --only 'CHAP'                             checks whose name matches
//   … --target tgt                              against tgtd; what it cannot do is left out and said so
//   … --target forgetful                        against a tgtd that loses writes when it is killed: must fail
//   … --image                                   only builds the initiator's image
//
// ASHLAR_E2E_ACCEL=tcg forces emulation where KVM works.
import { parseArgs } from 'node:util';
import { crashScenarios } from './scenarios/crash.ts';
import { dataScenarios } from './scenarios/data.ts';
import { loginScenarios } from './scenarios/login.ts';
import { nodeScenarios } from './scenarios/nodes.ts';
import { replicaScenarios } from './scenarios/replicas.ts';
import { reservationScenarios } from './scenarios/reservations.ts';
import { stackScenarios } from './scenarios/stacks.ts';
import { guestImage, missingPrograms } from './support/image.ts';
import { AshlarTarget, type Target, TgtTarget } from './support/target.ts';
import { type Scenario, World } from './support/world.ts';

const SCENARIOS: readonly Scenario[] = [
  ...loginScenarios,
  ...dataScenarios,
  ...reservationScenarios,
  ...stackScenarios,
  ...crashScenarios,
  ...replicaScenarios,
  ...nodeScenarios,
];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      target: { type: 'string', default: 'ashlar' },
      image: { type: 'boolean', default: false },
    },
  });
  const missing = await missingPrograms();
  if (missing.length > 0) {
    console.log(`end-to-end tests need these packages: ${missing.join(' ')}`);
    return 1;
  }
  const image = await guestImage(console.log);
  if (values.image) return 0;

  const only = values.only === undefined ? undefined : new RegExp(values.only, 'i');
  const target = makeTarget(values.target);
  const world = new World(target, image);
  const totals = { passed: 0, failed: 0, leftOut: 0 };
  try {
    await target.start();
    const bootMs = Date.now();
    const guest = await world.guest();
    console.log(`booted with ${guest.accelerator} in ${seconds(bootMs)} s`);
    for (const scenario of SCENARIOS.filter(({ name }) => only?.test(name) ?? true)) {
      if (scenario.needs !== undefined && target.name !== 'ashlar') {
        totals.leftOut += 1;
        console.log(`left out  ${scenario.name} (${target.name} has no ${scenario.needs})`);
      } else if (await holds(world, scenario)) totals.passed += 1;
      else totals.failed += 1;
    }
  } finally {
    await world.dispose();
  }
  const leftOut = totals.leftOut > 0 ? `, ${totals.leftOut} left out` : '';
  console.log(`${totals.passed} passed, ${totals.failed} failed${leftOut}`);
  return totals.failed === 0 && totals.passed > 0 ? 0 : 1;
}

async function holds(world: World, scenario: Scenario): Promise<boolean> {
  const startedMs = Date.now();
  try {
    await scenario.run(world);
    console.log(`ok    ${scenario.name} (${seconds(startedMs)} s)`);
    return true;
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    console.log(
      `FAIL  ${scenario.name} (${seconds(startedMs)} s)\n${told.replace(/^/gm, '      ')}`,
    );
    const kernel = world.consoleTail().trim().split(/\s*\n/).slice(-6);
    for (const line of kernel) console.log(`      kernel: ${line}`);
    return false;
  } finally {
    await world.cleanUp().catch((error) => console.log(`      cleaning up: ${error.message}`));
  }
}

function makeTarget(kind: string): Target {
  switch (kind) {
    case 'ashlar':
      return new AshlarTarget({ poolMiB: 4096 });
    case 'tgt':
      return new TgtTarget();
    case 'forgetful':
      return new TgtTarget({ forgetful: true });
    default:
      throw new Error(`--target: '${kind}' is none of ashlar, tgt, forgetful`);
  }
}

function seconds(sinceMs: number): string {
  return ((Date.now() - sinceMs) / 1000).toFixed(1);
}

process.exitCode = await main();
