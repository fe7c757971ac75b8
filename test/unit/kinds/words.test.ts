// Goal: whoever asks what a field is for (`kubectl explain`) is told, of every field of every kind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allKinds } from '../../../src/kinds/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
}

function* wordless(schema: Schema, path: string): Iterable<string> {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    if ((field.description ?? '') === '') yield `${path}.${name}`;
    yield* wordless(field, `${path}.${name}`);
  }
  if (schema.items !== undefined) yield* wordless(schema.items, `${path}[]`);
  for (const choice of schema.anyOf ?? []) yield* wordless(choice, path);
}

test('every field of every kind has a description', () => {
  const kinds = allKinds(new MemoryObjectStore());
  assert.ok(kinds.length > 15);
  const without = kinds.flatMap(({ kind, group, fields, description }) => [
    ...(description === '' ? [`${group} ${kind}`] : []),
    ...wordless({ properties: (fields ?? {}) as Record<string, Schema> }, `${group} ${kind}`),
  ]);
  assert.deepEqual(without, []);
});
