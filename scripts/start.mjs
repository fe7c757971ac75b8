// `npm start`: sets up what is missing, then runs `ashlar serve` on the pool in ./data. Arguments go on to it:
//   npm start -- --portal 127.0.0.1:3261
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

await setUp('start');
const own = process.argv.slice(2);
const given = (flag) => own.some((word) => word === flag || word.startsWith(`${flag}=`));
const args = [join(root, 'dist/src/cli/main.js'), 'serve'];
if (!given('--data') && !given('--config')) args.push('--data', join(root, 'data'));
const child = spawn(process.execPath, [...args, ...own], { stdio: 'inherit', cwd: root });
// A terminal sends Ctrl-C to both of us; a signal to this process alone is passed on.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)));
