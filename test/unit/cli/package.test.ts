// Goal: the package that npm makes, and the image, hold everything that they need, and need nothing that is there for tests alone.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../support/documents.ts';

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

const filesBelow = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(ROOT.length));

test('the package holds the command, the engine with all it is built from, the units and the pages', () => {
  const text = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // A list until npm 11, then by name.
  const answer = Object.values(JSON.parse(text) as object) as { files: { path: string }[] }[];
  const packed = new Set(answer[0]!.files.map(({ path }) => path));
  const wanted = [
    ...Object.values(manifest.bin),
    ...['engine', 'io', 'binding'].flatMap((room) => filesBelow(`native/${room}`)),
    ...filesBelow('dist/src').filter((path) => path.endsWith('.js')),
    ...filesBelow('deploy'),
    ...filesBelow('docs'),
    ...['CMakeLists.txt', 'README.md', 'LICENSE', 'scripts/install.mjs'],
  ];
  assert.ok(wanted.length > 300);
  assert.deepEqual(
    wanted.filter((path) => !packed.has(path)),
    [],
  );
  assert.deepEqual(
    [...packed].filter((path) => /^(?:test|dist\/test|data|build|src)\//.test(path)),
    [],
  );
});

test('what the command imports is among its dependencies', () => {
  const strangers = new Set<string>();
  for (const path of filesBelow('src').filter((name) => name.endsWith('.ts'))) {
    const text = readFileSync(join(ROOT, path), 'utf8');
    for (const [, module] of text.matchAll(/(?:from|import\(|import) ?'([^'.\s][^'\s]*)'/g)) {
      const name = module!
        .split('/')
        .slice(0, module!.startsWith('@') ? 2 : 1)
        .join('/');
      if (name.startsWith('node:') || builtinModules.includes(name)) continue;
      if (!(name in manifest.dependencies)) strangers.add(`${path}: ${name}`);
    }
  }
  assert.deepEqual([...strangers], []);
});

test('what the image copies is there', () => {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
  const copied = [...text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) =>
    names!.split(' '),
  );
  assert.ok(copied.length > 5);
  assert.deepEqual(
    copied.filter((name) => !existsSync(join(ROOT, name))),
    [],
  );
});
