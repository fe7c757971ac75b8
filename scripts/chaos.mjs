// `npm run test:chaos -- --minutes 60 [--seed N] [--keep]`: builds, then lets processes die under a client that knows every
// acknowledged write. See test/chaos/run.ts.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

await setUp('test');
const args = [join(root, 'dist/test/chaos/run.js'), ...process.argv.slice(2)];
const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: root });
process.on('SIGINT', () => {});
child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)));
