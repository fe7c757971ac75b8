// The pages that people copy from: the blocks of code in them, and the command lines, as a shell would have them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Page {
  /** Below the root of the repository: `docs/nodes.md`. */
  readonly path: string;
  readonly text: string;
}

/** Lines that belong together, without their indentation; `line` is that of the first, from 1. */
export interface Block {
  readonly line: number;
  readonly text: string;
}

/** One command line as written, and the words of each way in which it may be meant. */
export interface CommandLine {
  readonly line: number;
  readonly text: string;
  readonly ways: readonly (readonly string[])[];
  /** Something is left out: what it wants besides need not be there. */
  readonly cut: boolean;
}

export function pages(): Page[] {
  const below = (folder: string): string[] =>
    readdirSync(join(ROOT, folder), { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(folder, entry.name))
      .sort();
  return ['README.md', 'ARCHITECTURE.md', 'Dockerfile', ...below('docs'), ...below('deploy')].map(
    (path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }),
  );
}

/** Blocks of code: indented by four, and ended by an empty line or by other text. */
export function blocksOf(page: Page): Block[] {
  const blocks: Block[] = [];
  let lines: string[] = [];
  let line = 0;
  const end = (): void => {
    if (lines.length > 0) blocks.push({ line, text: lines.join('\n') });
    lines = [];
  };
  for (const [index, text] of page.text.split('\n').entries()) {
    if (!text.startsWith('    ')) end();
    else {
      if (lines.length === 0) line = index + 1;
      lines.push(text.slice(4));
    }
  }
  end();
  return blocks;
}

/** `program …` in blocks of code, between back-quotes, and between quotes of what alerts say. */
export function commandLinesOf(page: Page, program: string): CommandLine[] {
  const found: CommandLine[] = [];
  const add = (line: number, text: string, isMention: boolean): void => {
    // A mention (`ashlar get`) names the command, and a row of `…` says that there is more.
    const bare = !/ --?[a-z]/.test(text);
    found.push({
      line,
      text,
      ways: waysOf(text),
      cut: text.includes('…') || (isMention && bare),
    });
  };
  if (page.path.endsWith('.md')) {
    for (const { line, text } of blocksOf(page)) {
      const whole = text.replace(/\\\n\s*/g, (joined) => ' '.repeat(joined.length));
      for (const [index, one] of whole.split('\n').entries())
        for (const command of one.replace(/\s#.*/, '').split(/;|&&/)) {
          const words = /^(?:\s|[$#] )*(.*?)\s*&?$/.exec(command)?.[1] ?? '';
          if (words.startsWith(`${program} `) && !/^\w+ \d/.test(words))
            add(line + index, words, false);
        }
    }
  }
  const quoted = new RegExp(`[\`'](${program} [^\`'\n]*(?:\n[^\`'\n]+)?)[\`']`, 'g');
  for (const match of page.text.matchAll(quoted)) {
    const line = page.text.slice(0, match.index).split('\n').length;
    for (const command of match[1]!.replace(/\n\s*(?:\/\/|#)?\s*/g, ' ').split(';')) {
      const words = command.trim();
      if (words.startsWith(`${program} `)) add(line, words.replace(/\\\|/g, '|'), true);
    }
  }
  return found;
}

/**
 * `a|b` is either word, `[c]` may be left out, `K[,K]` is text in a word; `…` by itself is what was said before, once more.
 * Where what is read or written stands behind `<` and `>`, it is the shell's.
 */
function waysOf(text: string): string[][] {
  const within = text
    .replace(/\{\{.*?\}\}/g, 'X')
    .replace(/(\S)\[([^\]\s]*)\]/g, '$1$2')
    .replace(/ [<>] ?\S+/g, '');
  let ways: string[][] = [[]];
  for (const part of within.match(/\[[^\]]*\]|\S+/g) ?? []) {
    const optional = part.startsWith('[');
    const inner = optional ? part.slice(1, -1).split(/\s+/) : [part];
    let taken = ways;
    for (const [index, word] of inner.entries()) {
      if (word === '…' && !(inner[index - 1] ?? '').startsWith('-')) continue;
      const either = word.split('|').map((one) => one.replace(/(?<=[\w>])…$/, ''));
      taken = taken.flatMap((way) => either.map((one) => [...way, one]));
    }
    ways = optional ? [...ways, ...taken] : taken;
  }
  return ways;
}
