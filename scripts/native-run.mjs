// Builds programs of the engine's tests in release mode and runs them: node scripts/native-run.mjs PROGRAM... [ARGUMENTS].
// What npm run test:model and its like do; npm test runs the same programs with fewer states.
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const words = process.argv.slice(2);
const flags = words.findIndex((word) => !/^[a-z_]+$/.test(word));
const programs = flags < 0 ? words : words.slice(0, flags);
const args = flags < 0 ? [] : words.slice(flags);
if (programs.length === 0) {
  console.error('node scripts/native-run.mjs PROGRAM... [ARGUMENTS]');
  process.exit(2);
}
const jobs = String(Math.max(2, cpus().length));

function run(command, parameters, stdio) {
  const { status, error } = spawnSync(command, parameters, { cwd: root, stdio });
  if (error !== undefined) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

const folder = join('build', 'native-crash');
const quiet = ['ignore', 'ignore', 'inherit'];
// As in phases.mjs: with other options everything would be built anew.
const options = ['-DASHLAR_TESTS=ON', '-DASHLAR_MUTANTS=ON', '-DCMAKE_BUILD_TYPE=Release'];
run('cmake', ['-S', '.', '-B', folder, ...options], quiet);
run('cmake', ['--build', folder, '-j', jobs, '--target', ...programs], quiet);
if (args.includes('--build-only')) process.exit(0);
for (const program of programs) {
  run(join(folder, program), args.includes('--jobs') ? args : [...args, '--jobs', jobs], 'inherit');
}
