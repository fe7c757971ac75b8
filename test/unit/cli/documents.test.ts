// Goal: what the pages show to type works as it stands there: command lines, configurations, manifests, files.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Command, CommanderError } from 'commander';
import { parse } from 'yaml';
import { buildProgram } from '../../../src/cli/program.ts';
import { ConfigError, parseConfig } from '../../../src/daemon/config/index.ts';
import { blocksOf, commandLinesOf, type Page, pages, ROOT } from '../../support/documents.ts';

const all = pages();

/** A program that reads command lines and does nothing of what they say. */
function reader(): Command {
  const quieten = (command: Command): void => {
    command
      .exitOverride()
      .configureOutput({ writeErr: () => undefined, writeOut: () => undefined })
      .showHelpAfterError(false);
    if (command.commands.length === 0) command.action(() => undefined);
    for (const one of command.commands) quieten(one);
  };
  const program = buildProgram();
  quieten(program);
  return program;
}

/** Null where the command takes these words, else what it says against them. */
function refusal(words: readonly string[], cut: boolean): string | null {
  try {
    reader().parse(words, { from: 'user' });
    return null;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const missing = [
      'commander.help',
      'commander.helpDisplayed',
      'commander.missingArgument',
      'commander.missingMandatoryOptionValue',
      'commander.optionMissingArgument',
    ];
    if (cut && missing.includes(error.code)) return null;
    // Placeholders stand for values.
    if (error.code === 'commander.invalidArgument' && /'[A-Z][A-Z:]*'/.test(error.message))
      return null;
    return `${error.code}: ${error.message}`;
  }
}

function leaves(command: Command, path = ''): string[] {
  if (command.commands.length === 0) return [path.trim()];
  return command.commands.flatMap((one) => leaves(one, `${path} ${one.name()}`));
}

test('every ashlar command line in the pages is one that the command takes', () => {
  const bad: string[] = [];
  let read = 0;
  for (const page of all) {
    for (const { line, text, ways, cut } of commandLinesOf(page, 'ashlar')) {
      for (const way of ways) {
        read += 1;
        const why = refusal(way.slice(1), cut);
        if (why !== null) bad.push(`${page.path}:${line}: ${text}: ${why} (${way.join(' ')})`);
      }
    }
  }
  assert.deepEqual(bad, []);
  assert.ok(read > 150, `${read} were found`);
  // The reader itself: what is wrong is refused.
  assert.match(refusal(['get', 'volumes', '--wide'], false) ?? '', /unknownOption/);
  assert.match(refusal(['frobnicate'], true) ?? '', /unknownCommand/);
  assert.match(refusal(['config', 'chek'], true) ?? '', /unknownCommand/);
});

test("the options in README's table of commands are those commands'", () => {
  const bad: string[] = [];
  let read = 0;
  const readme = all.find(({ path }) => path === 'README.md')!;
  for (const [index, row] of readme.text.split('\n').entries()) {
    const [, first = '', second = ''] = row.split(/(?<!\\)\|/);
    const commands = commandLinesOf({ path: 'row', text: first }, 'ashlar');
    for (const [, option] of second.matchAll(/`(--[^`]*)`/g)) {
      if (commands.length === 0) continue;
      read += 1;
      const words = option!
        .replace(/\\\|.*/, '')
        .replace(/ …/g, '')
        .split(' ');
      const taken = commands.some(
        ({ ways }) => refusal([...ways[0]!.slice(1), ...words], true) === null,
      );
      if (!taken) bad.push(`README.md:${index + 1}: ${option} of ${commands[0]!.text}`);
    }
  }
  assert.deepEqual(bad, []);
  assert.ok(read > 15, `${read} were found`);
});

test('every command is told of in the pages', () => {
  const told = all
    .flatMap((page) => commandLinesOf(page, 'ashlar'))
    .flatMap(({ ways }) => ways.map((way) => way.slice(1).join(' ')));
  const untold = leaves(buildProgram()).filter(
    (path) => !told.some((text) => text === path || text.startsWith(`${path} `)),
  );
  assert.deepEqual(untold, []);
});

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ashlar-documents-'));
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const openssl = (name: string): unknown =>
    execFileSync(
      'openssl',
      ['req', '-x509', ...ec, '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', '/CN=a'],
      { cwd: folder, stdio: 'pipe' },
    );
  for (const name of ['node', 'ca', 'api']) openssl(name);
  writeFileSync(join(folder, 'replication.secret'), `${'ab'.repeat(32)}\n`);
  writeFileSync(join(folder, 'tokens'), `admin operator ${'cd'.repeat(24)}\n`);
});
after(() => rmSync(folder, { recursive: true }));

/** The pages name files below /etc/ashlar, or beside the configuration: here both are the test's own folder. */
function findingsIn(text: string): readonly string[] {
  const here = text.replaceAll('/etc/ashlar/', `${folder}/`);
  try {
    parseConfig(here, join(folder, 'ashlar.yaml'));
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.findings;
    throw error;
  }
}

const KEYS = new Set(
  Object.keys(parse(readFileSync(join(ROOT, 'deploy/ashlar.yaml'), 'utf8')) as object),
);

const isConfig = (text: string): boolean => {
  const key = /^(?:#.*\n)*(\w+):(?: |\n)/.exec(text)?.[1];
  return key !== undefined && KEYS.has(key);
};

function configsOf(page: Page): { line: number; text: string }[] {
  if (!page.path.endsWith('.md'))
    return page.path.endsWith('.yaml') && isConfig(page.text.replace(/^\n/gm, ''))
      ? [{ line: 1, text: page.text }]
      : [];
  return blocksOf(page).filter(({ text }) => isConfig(text));
}

test('every configuration in the pages is good', () => {
  const bad: string[] = [];
  let read = 0;
  for (const page of all) {
    for (const { line, text } of configsOf(page)) {
      read += 1;
      for (const finding of findingsIn(text)) bad.push(`${page.path}:${line}: ${finding}`);
    }
  }
  assert.deepEqual(bad, []);
  assert.ok(read >= 6, `${read} were found`);
  assert.match(findingsIn('pool: {sise: 1Gi}')[0] ?? '', /unknown key/);
});

test('every key of a configuration that the pages name is one', () => {
  const example = parse(readFileSync(join(ROOT, 'deploy/ashlar.yaml'), 'utf8')) as object;
  const known = readFileSync(join(ROOT, 'src/daemon/config/schema.ts'), 'utf8');
  const bad: string[] = [];
  for (const { path, text } of all) {
    for (const [, whole] of text.matchAll(/`((?:[a-z]\w*)(?:\.[a-z]\w*)+)(?:: [^`]*)?`/g)) {
      const [section, ...keys] = whole!.split('.');
      if (section === undefined || !(section in example)) continue;
      if (whole!.startsWith('node.session.')) continue; // open-iscsi's.
      if (/\.(?:yaml|md|ts|img|json|service|conf|cc|h)$/.test(whole!)) continue;
      if (!keys.every((key) => new RegExp(`\\b${key}: `).test(known)))
        bad.push(`${path}: ${whole}`);
    }
  }
  assert.deepEqual(bad, []);
});

test('what the pages link to is there', () => {
  const bad: string[] = [];
  for (const { path, text } of all.filter((page) => page.path.endsWith('.md'))) {
    for (const [, target] of text.matchAll(/\]\(([^)#\s]+)?(?:#[^)]*)?\)/g)) {
      if (target === undefined || /^[a-z]+:/.test(target)) continue;
      if (!existsSync(join(ROOT, dirname(path), target))) bad.push(`${path}: ${target}`);
    }
  }
  assert.deepEqual(bad, []);
});

test('every npm script and every program that the pages run is there', () => {
  const scripts = (
    JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }
  ).scripts;
  const bad: string[] = [];
  for (const { path, text } of all) {
    for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g))
      if (!(name! in scripts)) bad.push(`${path}: npm run ${name}`);
    for (const [, file] of text.matchAll(/node (dist\/[\w./-]+\.js|scripts\/[\w.-]+)/g))
      if (!existsSync(join(ROOT, file!))) bad.push(`${path}: node ${file}`);
  }
  assert.deepEqual(bad, []);
});
