// Times the hot functions:  node dist/bench/micro/run.js [REGULAR-EXPRESSION]
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Case, time } from './harness.ts';

const folder = dirname(fileURLToPath(import.meta.url));
const only = new RegExp(process.argv[2] ?? '');

for (const file of readdirSync(folder).filter((name) => name.endsWith('.bench.js'))) {
  const loaded = (await import(pathToFileURL(join(folder, file)).href)) as {
    cases: readonly Case[];
  };
  for (const benchCase of loaded.cases.filter(({ name }) => only.test(name))) {
    const { name, nsMedian, nsMin, nsMax, bytes } = time(benchCase);
    const rate = bytes === undefined ? '' : `  ${(bytes / nsMedian).toFixed(2)} GB/s`;
    const range = `(${nsMin.toFixed(0)}–${nsMax.toFixed(0)})`;
    console.log(`${name.padEnd(40)} ${nsMedian.toFixed(0).padStart(8)} ns ${range}${rate}`);
  }
}
