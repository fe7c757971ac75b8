// What `npm test` runs, in order. A phase is a command; the phases belong to the rooms they test.
//
//   id         how to ask for it: npm test -- --only id,id
//   command    what runs; `node` is this Node
//   limitS     after this many seconds it is stopped, and has failed
//   tools      programs that must be installed
import { existsSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

const jobs = String(Math.max(2, cpus().length));

/** Compiled tests below `folder`: Node 20's runner takes files, not patterns. */
function testFiles(root, folder) {
  const base = join(root, 'dist', folder);
  if (!existsSync(base)) return [];
  return readdirSync(base, { recursive: true })
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => join('dist', folder, name))
    .sort();
}

export function listPhases(root) {
  return [
    {
      id: 'check',
      title: 'types, lint, format',
      commands: [['npm', 'run', '--silent', 'check']],
      limitS: 180,
    },
    {
      id: 'unit',
      title: 'unit and contract tests',
      commands: [
        [
          'node',
          '--test',
          '--test-reporter=tap',
          ...testFiles(root, 'test/unit'),
          ...testFiles(root, 'test/contract'),
          ...testFiles(root, 'test/conformance'),
        ],
      ],
      limitS: 300,
    },
    {
      id: 'native',
      title: 'engine tests under sanitizers',
      commands: [
        [
          'cmake',
          '-S',
          '.',
          '-B',
          'build/native-tests',
          '-DASHLAR_TESTS=ON',
          '-DASHLAR_SANITIZE=address,undefined',
        ],
        ['cmake', '--build', 'build/native-tests', '-j', jobs],
        [
          'ctest',
          '--test-dir',
          'build/native-tests',
          '--output-on-failure',
          '-LE',
          'crash',
          '-j',
          jobs,
        ],
      ],
      limitS: 420,
    },
    {
      id: 'crash',
      title: 'engine crash states',
      commands: [
        [
          'cmake',
          '-S',
          '.',
          '-B',
          'build/native-crash',
          '-DASHLAR_TESTS=ON',
          '-DCMAKE_BUILD_TYPE=Release',
        ],
        ['cmake', '--build', 'build/native-crash', '-j', jobs],
        ['ctest', '--test-dir', 'build/native-crash', '--output-on-failure', '-L', 'crash'],
      ],
      limitS: 300,
    },
    {
      id: 'fuzz',
      title: 'a million malformed PDUs',
      commands: [['node', 'dist/test/fuzz/iscsi-fuzz.js', '--pdus', '1000000', '--seed', '1']],
      limitS: 180,
    },
    {
      id: 'cli',
      title: 'the command line against a real daemon',
      commands: [
        [
          'node',
          '--test',
          '--test-reporter=tap',
          ...testFiles(root, 'test/e2e').filter((name) => /\/cli[^/]*\.test\.js$/.test(name)),
        ],
      ],
      limitS: 180,
    },
    {
      id: 'conformance',
      title: 'iscsi-test-cu, each test alone',
      commands: [['node', 'dist/test/conformance/run.js']],
      tools: ['iscsi-test-cu'],
      limitS: 480,
    },
    {
      id: 'e2e',
      title: 'a Linux initiator in QEMU',
      commands: [['node', 'dist/test/e2e/run.js']],
      tools: ['qemu-system-x86_64'],
      limitS: 480,
    },
  ];
}
