// `npm run bench:engine`: the engine against the medium it stands on; with --compare beside fio, btrfs and qcow2 too.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

const args = process.argv.slice(2);
const compare = args.includes('--compare');
if (compare) await setUp('bench');
// Builds it; without arguments it would run too long for a comparison.
const alone = [join(root, 'scripts/native-run.mjs'), 'engine_bench'];
const build = compare ? [...alone, '--build-only'] : [...alone, ...args];
const { status } = spawnSync(process.execPath, build, { stdio: 'inherit', cwd: root });
if (status !== 0 || !compare) process.exit(status ?? 1);
const child = spawn(process.execPath, [join(root, 'dist/bench/engine.js'), ...args], {
  stdio: 'inherit',
  cwd: root,
});
process.on('SIGINT', () => {});
child.on('exit', (code) => process.exit(code ?? 1));
