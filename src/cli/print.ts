// How objects and what became of them are printed.
import { stringify } from 'yaml';
import type { ApiObject } from './describe.ts';
import type { Kind } from './kinds.ts';
import { type Output, print } from './usage.ts';

export function printStructured(value: unknown, output: Output): void {
  if (output === 'yaml') process.stdout.write(stringify(value));
  else print(JSON.stringify(value, null, 2));
}

/** `volume/db created`, or the object where the output is asked for. */
export function printChanged(
  kind: Kind,
  object: ApiObject,
  verb: string,
  output: Output = 'table',
) {
  const name = `${kind.shown}/${object.metadata.name}`;
  if (output === 'table' || output === 'wide') print(`${name} ${verb}`);
  else if (output === 'name') print(name);
  else printStructured(object, output);
}
