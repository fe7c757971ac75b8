// The reasons that the code gives in conditions and events, found in its text: literals in conditions, in calls of the
// recorder of events, and in calls of whatever hands a parameter named `reason` on to these.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where conditions and events are written. */
const ROOMS = ['apiserver', 'control', 'controllers', 'daemon', 'node'];

/** Each reason with the files that give it. One that is put together when it is given has no name here. */
export function reasonsIn(source: string): Map<string, string[]> {
  const texts = new Map<string, string>();
  for (const room of ROOMS) {
    for (const name of readdirSync(join(source, room), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      texts.set(`${room}/${name}`, readFileSync(join(source, room, name), 'utf8'));
    }
  }
  // `export const REPLICAS_MISSING = 'ReplicasMissing';`
  const constants = new Map(
    [...texts.values()].flatMap((text) =>
      [...text.matchAll(/^export const ([A-Z][A-Z_]+) = '([A-Z][A-Za-z]+)';$/gm)].map(
        ([, name = '', value = '']): [string, string] => [name, value],
      ),
    ),
  );
  const found = new Map<string, string[]>();
  for (const [place, text] of texts) {
    for (const reason of reasonsOf(text, constants)) {
      const places = found.get(reason) ?? [];
      if (!places.includes(place)) places.push(place);
      found.set(reason, places);
    }
  }
  return found;
}

function reasonsOf(text: string, constants: ReadonlyMap<string, string>): string[] {
  const givers: [RegExp, number][] = [[/\bevents\.record\(/g, 2]];
  for (const [, name = '', parameters = ''] of text.matchAll(
    /(?:async |function |^ +)(#?\w+)(?:<[^>]*>)?\(([^()]*\breason: string[^()]*)\)[^;{]*\{/gm,
  )) {
    const index = parameters.split(',').findIndex((one) => /^\s*reason: string/.test(one));
    if (name !== 'record')
      givers.push([new RegExp(`(?:this\\.|\\b)${name}(?:<[^>]*>)?\\(`, 'g'), index]);
  }
  const expressions: string[] = [];
  for (const [call, index] of givers) {
    for (const match of text.matchAll(call)) {
      expressions.push(argumentsAt(text, match.index + match[0].length)[index] ?? '');
    }
  }
  // `const reason = lacks ? 'ReplicasMissing' : state;`
  for (const [, expression = ''] of text.matchAll(/\bconst reason =\s+([^;]+);/g)) {
    expressions.push(expression);
  }
  // `{ type: 'Ready', status, reason: 'Taken' }`
  for (const [, expression = ''] of text.matchAll(/\{\s*type: [^{};]*?\breason: ([^,}]+)[,}\s]/g)) {
    expressions.push(expression);
  }
  return expressions.flatMap((expression) => [
    ...[...expression.matchAll(/'([A-Z][A-Za-z]+)'/g)].map(([, reason = '']) => reason),
    ...(expression.match(/\b[A-Z][A-Z_]+\b/g) ?? []).flatMap((name) => constants.get(name) ?? []),
  ]);
}

/** The arguments of the call whose bracket was opened just before `start`. */
function argumentsAt(text: string, start: number): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = start;
  let quote = '';
  for (let at = start; at < text.length; at += 1) {
    const sign = text[at]!;
    if (quote !== '') {
      if (sign === quote && text[at - 1] !== '\\') quote = '';
    } else if ('\'`"'.includes(sign)) quote = sign;
    else if ('([{'.includes(sign)) depth += 1;
    else if (')]}'.includes(sign) && depth > 0) depth -= 1;
    else if (sign === ')' || (sign === ',' && depth === 0)) {
      found.push(text.slice(from, at));
      from = at + 1;
      if (sign === ')') break;
    }
  }
  return found;
}
