// `npm run bench`: sets up what is missing, then measures. Arguments go on to bench/e2e.ts, or with --replication to
// bench/replication.ts.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

await setUp('bench');
const which = process.argv.includes('--replication') ? 'replication' : 'e2e';
const args = [join(root, `dist/bench/${which}.js`), ...process.argv.slice(2)];
const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: root });
process.on('SIGINT', () => {});
child.on('exit', (code) => process.exit(code ?? 1));
