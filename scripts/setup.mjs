// Makes a fresh clone ready: system packages, npm packages, the build. Plain JavaScript without dependencies, since it
// runs before there are any. Everything is skipped that is there already, so it costs half a second when nothing is new.
//
//   node scripts/setup.mjs [--for start|test|bench] [--check]
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { fail, say, step } from './progress.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** One of each line's packages must be there; the first that apt knows is installed. */
const BUILD_PACKAGES = [['g++'], ['make'], ['cmake'], ['liburing-dev']];
const TEST_PACKAGES = [
  ['libgtest-dev'],
  ['clang-14', 'clang'],
  ['clang-format-14', 'clang-format'],
  ['libclang-rt-14-dev', 'libclang-rt-18-dev', 'libclang-rt-dev'],
  ['libfuzzer-14-dev', 'libclang-rt-18-dev', 'libclang-rt-dev'],
  ['libiscsi-bin'],
  ['qemu-system-x86'],
  ['cpio'],
  ['kmod'],
  ['zstd'],
  ['xz-utils'],
  ['e2fsprogs'],
  ['busybox-static'],
];

/** Lists that the tests and benchmarks keep themselves: one package a line, `a | b` for alternatives. */
function listed(file) {
  const path = join(root, file);
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map((line) => line.split('|').map((name) => name.trim()));
}

function wantedPackages(purpose) {
  const wanted = [...BUILD_PACKAGES];
  if (purpose === 'test') wanted.push(...TEST_PACKAGES, ...listed('test/packages.txt'));
  if (purpose === 'bench') wanted.push(...listed('bench/packages.txt'));
  return wanted;
}

function missingPackages(purpose) {
  const query = spawnSync('dpkg', ['--get-selections'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (query.error !== undefined) return null;
  const installed = new Set(
    query.stdout
      .split('\n')
      .map((line) => line.split('\t'))
      .filter((words) => words.at(-1) === 'install')
      // Some are listed with their architecture: libiscsi-bin, or libc6:amd64.
      .map(([name]) => name.split(':')[0]),
  );
  return wantedPackages(purpose).filter((names) => !names.some((name) => installed.has(name)));
}

/** The first of the alternatives that this release of the distribution has. */
function choose(alternatives) {
  const known = (name) => {
    const policy = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' });
    return policy.status === 0 && /Candidate: (?!\(none\))/.test(policy.stdout);
  };
  return alternatives.length === 1
    ? alternatives[0]
    : (alternatives.find(known) ?? alternatives[0]);
}

async function installPackages(purpose) {
  let missing = missingPackages(purpose);
  if (missing === null) {
    say(
      'This is no Debian or Ubuntu: install a C++20 compiler, make, cmake and liburing yourself.',
    );
    return;
  }
  if (missing.length === 0) return;
  const isRoot = process.getuid?.() === 0;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  if (isRoot) await step('Reading package lists', 'apt-get', ['update', '-q'], { env });
  const names = [...new Set(missing.map(choose))];
  const command = `apt-get install -y --no-install-recommends ${names.join(' ')}`;
  if (!isRoot) {
    fail(`packages are missing. Install them, then run this again:\n\n  sudo ${command}\n`);
  }
  const args = ['install', '-y', '-q', '--no-install-recommends', ...names];
  if (!(await step(`Installing ${names.length} packages`, 'apt-get', args, { env }))) {
    // The whole set fails when one name does: what can be had is had, and the tests say what they miss.
    for (const name of names) {
      await step(
        `Installing ${name}`,
        'apt-get',
        ['install', '-y', '-q', '--no-install-recommends', name],
        { env },
      );
    }
  }
  missing = missingPackages(purpose) ?? [];
  const vital = missing.filter((some) => BUILD_PACKAGES.some((known) => known[0] === some[0]));
  if (vital.length > 0) fail(`cannot install ${vital.flat().join(', ')}; try: ${command}`);
  if (missing.length > 0) say(`Not to be had here: ${missing.map((names) => names[0]).join(', ')}`);
}

async function installModules() {
  const lock = join(root, 'package-lock.json');
  // npm writes this file at the end of an installation.
  const mark = join(root, 'node_modules/.package-lock.json');
  if (existsSync(mark) && statSync(mark).mtimeMs >= statSync(lock).mtimeMs) return;
  // A clone gives every file the time of the clone: the content decides.
  const stamp = join(root, 'node_modules/.ashlar-lock');
  const digest = createHash('sha256').update(readFileSync(lock)).digest('hex');
  if (existsSync(mark) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  const args = ['ci', '--no-audit', '--no-fund'];
  if (!(await step('Installing npm packages', 'npm', args, { cwd: root }))) {
    fail('npm ci failed; is the registry reachable?');
  }
  writeFileSync(stamp, digest);
}

function* filesBelow(path) {
  if (!existsSync(path)) return;
  if (statSync(path).isFile()) {
    yield path;
    return;
  }
  for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    yield* filesBelow(join(path, entry.name));
  }
}

function digestOf(paths) {
  const hash = createHash('sha256').update(process.version);
  for (const path of paths) {
    for (const file of filesBelow(join(root, path))) {
      hash
        .update(`${file.slice(root.length)}\0`)
        .update(readFileSync(file))
        .update('\0');
    }
  }
  return hash.digest('hex');
}

/** Builds unless the same content was built before: times lie after a checkout. */
async function buildUnlessBuilt(title, inputs, output, script) {
  const stamp = join(root, 'build', `.${script.replace(':', '-')}.stamp`);
  const digest = digestOf(inputs);
  const built = existsSync(join(root, output)) && existsSync(stamp);
  if (built && readFileSync(stamp, 'utf8') === digest) return;
  if (!(await step(title, 'npm', ['run', '--silent', script], { cwd: root })))
    fail(`${title} failed`);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, digest);
}

/** Everything that `purpose` needs. */
export async function setUp(purpose) {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major < 20) fail(`Node ${process.versions.node} is too old; ashlar needs 20 or later`);
  if (process.platform !== 'linux') fail('ashlar runs on Linux');
  await installPackages(purpose);
  await installModules();
  await buildUnlessBuilt(
    'Building the engine',
    ['CMakeLists.txt', 'native/engine', 'native/io', 'native/binding', 'package-lock.json'],
    'build/cmake/Release/ashlar.node',
    'build:native',
  );
  await buildUnlessBuilt(
    'Compiling TypeScript',
    ['tsconfig.json', 'package-lock.json', 'src', 'test', 'bench'],
    'dist/src/cli/main.js',
    'build:ts',
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const at = process.argv.indexOf('--for');
  await setUp(at === -1 ? 'start' : (process.argv[at + 1] ?? 'start'));
  say('Ready.');
}
