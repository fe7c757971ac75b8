// What `npm test` runs, in order. A phase is a command; the phases belong to the rooms they test.
//
//   id         how to ask for it: npm test -- --only id,id
//   commands   what runs, one after the other; `node` is this Node. Several in one list run at the same time
//   computes   it needs processors and no clock: it runs beside the others, behind them (scripts/test.mjs)
//   limitS     after this many seconds it is stopped, and has failed: for hangs, several times what a busy machine needs
//   tools      programs that must be installed
//   files      the tests it runs: without any it has failed, since `node --test` would go and look for others
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

/** The first of these programs that is installed; the last one's name, to be missed, where none is. */
function firstOf(...programs) {
  const found = programs.find((name) => spawnSync('which', [name]).status === 0);
  return found ?? programs.at(-1);
}

const jobs = String(Math.max(2, cpus().length));

/** Compiled tests below `folder`: Node 20's runner takes files, not patterns. */
function testFiles(root, folder, ending = '.test.js') {
  const base = join(root, 'dist', folder);
  if (!existsSync(base)) return [];
  return readdirSync(base, { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => join('dist', folder, name))
    .sort();
}

export function listPhases(root) {
  const tap = ['node', '--test', '--test-reporter=tap'];
  const cli = testFiles(root, 'test/e2e').filter((name) => /\/cli[^/]*\.test\.js$/.test(name));
  const folders = ['test/unit', 'test/contract', 'test/format', 'test/conformance', 'test/fuzz'];
  const units = folders.flatMap((folder) => testFiles(root, folder));
  const sims = testFiles(root, 'test/sim', '.sim.js');
  const walkthroughs = testFiles(root, 'test/e2e/walkthrough');
  const walkthrough = walkthroughs.filter((name) => name.endsWith('/walkthrough.test.js'));
  const oneNode = walkthroughs.filter((name) => /\/one-node[^/]*\.test\.js$/.test(name));
  // All the others, the longest first: they end at about the same time.
  const longest = ['outgrow', 'node-gone', 'three-nodes', 'replicated-snapshots', 'growing'];
  const lengthOf = (name) => longest.findIndex((known) => name.endsWith(`/${known}.test.js`)) >>> 0;
  const severalNodes = walkthroughs
    .filter((name) => !walkthrough.includes(name) && !oneNode.includes(name))
    .sort((a, b) => lengthOf(a) - lengthOf(b));
  const clang = firstOf('clang++-14', 'clang++-18', 'clang++');
  const apiFuzz = ['--expose-gc', 'dist/test/fuzz/api-fuzz.js', '--requests', '10000'];
  const deviceMutant = (number) => [
    'build/native-crash/device_states',
    '--mutants',
    ...['--mutant', number, '--states', '3000'],
  ];
  // Device calls one upon the other, and the power cut while labels are under way.
  const labels = ['--operations', '200', '--device-calls', '30', '--label-cuts', '95'];
  const configure = (folder, ...options) => ['cmake', '-S', '.', '-B', folder, ...options];
  // One build for all that measure and explore, faults built in or not: with other options it would be built anew.
  const configureRelease = configure(
    'build/native-crash',
    '-DASHLAR_TESTS=ON',
    '-DASHLAR_MUTANTS=ON',
    '-DCMAKE_BUILD_TYPE=Release',
  );
  const compile = (folder) => ['cmake', '--build', folder, '-j', jobs];
  const fuzzers = existsSync(join(root, 'native/fuzz'))
    ? readdirSync(join(root, 'native/fuzz')).filter((name) => name.endsWith('_fuzzer.cc'))
    : [];
  return [
    {
      id: 'check',
      title: 'types, lint, format',
      commands: [['npm', 'run', '--silent', 'check']],
      limitS: 600,
    },
    {
      id: 'unit',
      title: 'unit and contract tests',
      files: units,
      commands: [[...tap, `--test-concurrency=${jobs}`, ...units]],
      limitS: 900,
    },
    {
      id: 'control-sim',
      title: 'controllers killed between any two steps',
      files: testFiles(root, 'test/sim/controllers'),
      commands: [[...tap, ...testFiles(root, 'test/sim/controllers')]],
      limitS: 240,
    },
    // First of those that compute: in the other lane `scale` is linked with what it has built by then.
    {
      id: 'crash',
      title: 'engine crash states',
      computes: true,
      commands: [
        configureRelease,
        [
          'cmake',
          '--build',
          'build/native-crash',
          '-j',
          jobs,
          '--target',
          'crash_states',
          'device_states',
        ],
        ['build/native-crash/crash_states', '--states', '20000', '--jobs', jobs],
        ['build/native-crash/device_states', '--states', '3000', '--jobs', jobs],
        ['build/native-crash/device_states', ...['--states', '1000', '--jobs', jobs, ...labels]],
        [
          ['build/native-crash/crash_states', '--mutants', '--states', '3000'],
          // From seeds in whose states they show soon; without a mutant those are clean. 9 has a directed test in
          // native/test/engine_walks_test.cc: no seed that was tried deletes the one snapshot at the one moment.
          [...deviceMutant('10'), '--seed', '100'],
          [...deviceMutant('11'), '--seed', '1'],
          [...deviceMutant('12'), '--seed', '31', ...labels],
          [...deviceMutant('13'), '--seed', '61', ...labels],
        ],
      ],
      limitS: 1500,
    },
    {
      id: 'sim',
      title: 'a thousand simulated clusters, and every rule switched off once',
      computes: true,
      files: sims,
      commands: [
        ['node', 'dist/test/sim/run.js', '--seeds', '1000', '--minutes', '10', '--jobs', jobs],
        [...tap, ...sims],
      ],
      limitS: 1200,
    },
    {
      id: 'native',
      title: 'engine tests under sanitizers',
      computes: true,
      commands: [
        configure('build/native-tests', '-DASHLAR_TESTS=ON', '-DASHLAR_SANITIZE=address,undefined'),
        compile('build/native-tests'),
        ['ctest', '--test-dir', 'build/native-tests', '--output-on-failure', '-j', jobs],
      ],
      limitS: 1200,
    },
    {
      id: 'model',
      title: 'the engine against a model',
      computes: true,
      commands: [
        configureRelease,
        [
          'cmake',
          '--build',
          'build/native-crash',
          '-j',
          jobs,
          '--target',
          'model_run',
          'engine_pairs_test',
        ],
        ['build/native-crash/model_run', '--seeds', '200', '--jobs', jobs],
        // Under sanitizers only a few of the pairs are made.
        ['build/native-crash/engine_pairs_test', '--gtest_brief=1'],
      ],
      limitS: 1200,
    },
    {
      id: 'fuzz',
      title: 'a million malformed PDUs, a hundred thousand frames, ten thousand API requests',
      computes: true,
      commands: [
        [
          ['node', 'dist/test/fuzz/iscsi-fuzz.js', '--pdus', '1000000', '--seed', '1'],
          ['node', 'dist/test/fuzz/wire-fuzz.js', '--frames', '100000', '--seed', '1'],
          ['node', ...apiFuzz, '--seed', '1'],
        ],
      ],
      limitS: 600,
    },
    {
      id: 'native-fuzz',
      title: 'the engine reads hostile media',
      computes: true,
      tools: [clang],
      commands: [
        configure(
          'build/native-fuzz',
          '-DASHLAR_FUZZ=ON',
          '-DASHLAR_SANITIZE=address,undefined',
          `-DCMAKE_CXX_COMPILER=${clang}`,
        ),
        compile('build/native-fuzz'),
        fuzzers.map((name) => [
          `build/native-fuzz/${name.replace(/\.cc$/, '')}`,
          '-runs=200000',
          '-max_total_time=20',
          '-seed=1',
          // Inputs of any length at once: what is read are blocks, and little shows in their first bytes.
          '-len_control=0',
          '-timeout=20',
          '-rss_limit_mb=1024',
          '-artifact_prefix=build/native-fuzz/',
        ]),
      ],
      limitS: 900,
    },
    {
      id: 'cli',
      title: 'the command line against a real daemon',
      files: cli,
      commands: [[...tap, `--test-concurrency=${jobs}`, ...cli]],
      limitS: 600,
    },
    {
      id: 'walkthrough',
      title: "OpenEBS' walk-through on one node and on three, by kubectl and by ashlar",
      files: walkthrough,
      commands: [[...tap, ...walkthrough]],
      tools: ['kubectl', 'qemu-io', 'etcd'],
      limitS: 300,
    },
    {
      id: 'three-nodes',
      title:
        'nodes with etcd: failover, etcd away, the leader killed, nodes that come later, snapshots, pools',
      files: severalNodes,
      // They wait for most of their time, and none measures.
      commands: [severalNodes.map((file) => [...tap, file])],
      tools: ['kubectl', 'qemu-io', 'etcd'],
      limitS: 900,
    },
    {
      id: 'one-node',
      title:
        'one node of the control plane: limits, wrong manifests, kill -9; another client library',
      files: oneNode,
      // One after the other: the first measures.
      commands: oneNode.map((name) => [...tap, name]),
      tools: ['kubectl', 'qemu-io'],
      limitS: 300,
    },
    {
      id: 'replication',
      title: 'replicas as processes: killed, stopped, cut off, emptied',
      files: testFiles(root, 'test/chaos'),
      // The faults of one disturb the other no more than their own do, and its limits are for hangs.
      commands: [
        [
          [...tap, '--test-concurrency=1', ...testFiles(root, 'test/chaos')],
          ['node', 'dist/test/chaos/run.js', '--minutes', '2', '--seed', '1'],
        ],
      ],
      limitS: 900,
    },
    {
      id: 'scale',
      title: 'a volume far larger than its cache, and a thousand snapshots',
      commands: [
        configureRelease,
        ['cmake', '--build', 'build/native-crash', '-j', jobs, '--target', 'scale_run'],
        [
          'build/native-crash/scale_run',
          '--granules',
          '5000000',
          '--cache',
          '64',
          '--path',
          'build/native-crash/scale.pool',
        ],
      ],
      limitS: 900,
    },
    {
      id: 'conformance',
      title: 'iscsi-test-cu, each test alone',
      commands: [['node', 'dist/test/conformance/run.js']],
      tools: ['iscsi-test-cu'],
      limitS: 1200,
    },
    {
      id: 'e2e',
      title: 'a Linux initiator in QEMU',
      commands: [['node', 'dist/test/e2e/run.js']],
      tools: ['qemu-system-x86_64'],
      limitS: 1800,
    },
  ];
}
