// Goal: systemd takes the units of deploy/ as they are, and finds them well shut off.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

/** Of 10; what systemd calls OK. */
const MAX_EXPOSURE = 4.0;
const analyze = (...args: string[]) => spawnSync('systemd-analyze', args, { encoding: 'utf8' });
// `security` of a file that is not installed is asked for so since 250.
const version = Number(/^systemd (\d+)/.exec(analyze('--version').stdout ?? '')?.[1] ?? 0);
const skip = version >= 250 || process.env['CI'] === 'true' ? false : 'systemd-analyze is missing';
const folder = mkdtempSync(join(tmpdir(), 'ashlar-units-'));
after(() => rmSync(folder, { recursive: true }));

const units = readdirSync('deploy').filter((name) => name.endsWith('.service'));
assert.ok(units.length >= 3);
for (const unit of units) {
  test(`${unit}: verified, and exposed no more than ${MAX_EXPOSURE}`, { skip }, () => {
    // By itself in a folder: with a path, units beside it are looked at too.
    const path = join(folder, unit);
    copyFileSync(join('deploy', unit), path);
    const verified = analyze('verify', path);
    assert.equal(verified.status, 0, verified.stderr);
    assert.equal(verified.stderr + verified.stdout, '');
    const judged = analyze('security', '--offline=true', path);
    const exposure = /Overall exposure level for \S+: ([\d.]+)/.exec(judged.stdout)?.[1];
    assert.ok(Number(exposure) <= MAX_EXPOSURE, judged.stdout.slice(-500) + judged.stderr);
  });
}

/** What a name of SystemCallFilter= stands for; a set has others within it. */
function callsOf(name: string): string[] {
  if (!name.startsWith('@')) return [name];
  const { stdout } = analyze('syscall-filter', name);
  const names = stdout
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
  return names.filter((line) => /^@?[a-z]/.test(line)).flatMap(callsOf);
}

function allowedBy(unit: string): Set<string> {
  const allowed = new Set<string>();
  const text = readFileSync(join('deploy', unit), 'utf8');
  for (const [, not, names] of text.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const call of names!.split(' ').flatMap(callsOf)) {
      if (not === '') allowed.add(call);
      else allowed.delete(call);
    }
  }
  return allowed;
}

const strace = spawnSync('strace', ['--version']).status === 0;
const skipCalls = skip === false && !strace && process.env['CI'] !== 'true' ? 'no strace' : skip;
const START_LIMIT_MS = 90_000;

for (const unit of units) {
  test(`${unit}: its daemon starts and stops with the system calls that it may`, {
    skip: skipCalls,
  }, async () => {
    const command = /^ExecStart=\/usr\/bin\/env ashlar (\w+)$/m.exec(
      readFileSync(join('deploy', unit), 'utf8'),
    )?.[1];
    assert.ok(command !== undefined);
    const config = join(folder, `${command}.yaml`);
    const data = join(folder, command);
    writeFileSync(join(folder, 'secret'), 'a secret of enough bytes\n');
    writeFileSync(
      config,
      [
        `dataDir: ${data}`,
        'pool: {size: 64Mi}',
        'memory: {buffers: 32Mi}',
        'portals: ["127.0.0.1:0"]',
        'api: {address: "127.0.0.1:0"}',
        'directoryPool: {size: 1Gi}',
        `replication: {listen: "127.0.0.1:0", secretFile: ${join(folder, 'secret')}}`,
      ].join('\n'),
    );
    const seen = join(folder, `${command}.calls`);
    const words = [process.execPath, 'dist/src/cli/main.js', command, '--config', config];
    // strace stands aside (-D): the child is the daemon itself.
    const child = spawn('strace', ['-D', '-f', '-qq', '-c', '-U', 'name', '-o', seen, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    const late = setTimeout(() => child.kill('SIGKILL'), START_LIMIT_MS);
    for await (const chunk of child.stdout) {
      said += String(chunk);
      if (/^ {2}(?:API|replicas) /m.test(said) && child.kill('SIGTERM')) break;
    }
    child.stdout.resume();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    clearTimeout(late);
    assert.equal(child.exitCode, 0, said);
    // strace writes its table when it sees that end, a moment later.
    let calls: string[] = [];
    for (let tries = 0; tries < 100 && calls.length === 0; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      calls = readFileSync(seen, 'utf8')
        .split('\n')
        .map((line) => line.trim());
      calls = calls.filter(
        (call) => /^[a-z_0-9]+$/.test(call) && call !== 'total' && call !== 'syscall',
      );
    }
    assert.ok(calls.length > 40, `${calls.length} were seen`);
    const allowed = allowedBy(unit);
    assert.deepEqual(
      calls.filter((call) => !allowed.has(call)),
      [],
    );
  });
}
