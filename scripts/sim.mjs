// npm run test:sim -- --seeds N [--first-seed K] [--minutes M] [--shape 1|2|2w|3|5] [--trace]: the simulator, built first.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (command, args) =>
  spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
let status = run('npx', ['tsc', '-p', 'tsconfig.json']);
if (status === 0)
  status = run(process.execPath, ['dist/test/sim/run.js', ...process.argv.slice(2)]);
process.exitCode = status;
