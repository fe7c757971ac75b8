// Goal: whoever reads why the start failed reads what to do, too.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/daemon/config/index.ts';
import { fewOpenFiles, openFilesLimit } from '../../../src/daemon/open-files.ts';
import { portError } from '../../../src/daemon/ports.ts';
import { startAdvice } from '../../../src/daemon/start-advice.ts';

const storeError = (code: string, message = 'it failed'): Error =>
  Object.assign(new Error(message), { name: 'StoreError', code });

test('what the store refuses comes with what to do', () => {
  assert.match(startAdvice(storeError('STORE_NOT_A_POOL')) ?? '', /pool\.path.*wipefs/);
  assert.match(
    startAdvice(storeError('STORE_IO', 'p.img: cannot open it: Permission denied')) ?? '',
    /runs as \S+, who may not: ls -l/,
  );
  assert.equal(startAdvice(storeError('STORE_IN_USE')), null);
  assert.equal(startAdvice(new Error('Permission denied')), null);
});

test('a portal whose name nobody knows is told of by that name', () => {
  const error = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' });
  const address = { host: 'nowhere', port: 3260 };
  assert.match(
    portError(error, 'the portal', address, '--portal', 'Another').message,
    /the portal nowhere:3260: the name nowhere is not known here \(getent hosts nowhere\)/,
  );
});

const limits = (hard: string): string =>
  [
    'Limit                     Soft Limit           Hard Limit           Units',
    `Max open files            1024                 ${hard.padEnd(20)} files`,
  ].join('\n');

test('too few files for the sessions that are allowed are told of, with the number and the setting', () => {
  const config = parseConfig('', 'a.yaml');
  assert.match(
    fewOpenFiles(config, limits('1024')) ?? '',
    /^at most 1024 files may be open here, and 1024 sessions with 256 logins may want 1736: .*LimitNOFILE=/,
  );
  assert.equal(fewOpenFiles(config, limits('65536')), null);
  assert.equal(fewOpenFiles(config, limits('unlimited')), null);
  assert.equal(fewOpenFiles(config, ''), null);
  const small = parseConfig('iscsi: {maxSessions: 100}', 'a.yaml');
  assert.equal(fewOpenFiles(small, limits('1024')), null);
  assert.equal(openFilesLimit(limits('4096')), 4096);
});
