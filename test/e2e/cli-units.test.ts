// Goal: systemd takes the units of deploy/ as they are, and finds them well shut off.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
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
