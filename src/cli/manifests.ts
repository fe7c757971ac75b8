// Manifests from files: YAML or JSON, several in one, lists taken apart, folders read file by file.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Document, parseAllDocuments } from 'yaml';
import { readInput, UsageError } from './usage.ts';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name?: string; readonly namespace?: string } & Record<
    string,
    unknown
  >;
  readonly [field: string]: unknown;
}

export function readManifests(filenames: readonly string[]): Manifest[] {
  const manifests = filenames.flatMap(filesOf).flatMap(readFile);
  if (manifests.length === 0) throw new UsageError(`${filenames.join(', ')}: holds no manifest`);
  return manifests;
}

function filesOf(filename: string): string[] {
  if (filename === '-') return [filename];
  try {
    if (!statSync(filename).isDirectory()) return [filename];
  } catch {
    return [filename]; // Reading it says what is wrong with it.
  }
  return readdirSync(filename)
    .filter((name) => /\.(ya?ml|json)$/.test(name))
    .sort()
    .map((name) => join(filename, name));
}

function readFile(filename: string): Manifest[] {
  const manifests: Manifest[] = [];
  for (const document of parseAllDocuments(readInput(filename))) {
    if (!(document instanceof Document)) continue;
    const [error] = document.errors;
    if (error !== undefined) throw new UsageError(`${filename}: ${error.message}`);
    const value = document.toJS() as { kind?: unknown; items?: unknown } | null;
    if (value === null) continue;
    const isList = String(value.kind).endsWith('List') && Array.isArray(value.items);
    for (const item of isList ? (value.items as unknown[]) : [value]) {
      manifests.push(checked(filename, item));
    }
  }
  return manifests;
}

function checked(filename: string, item: unknown): Manifest {
  const manifest = item as Partial<Manifest> | null;
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) {
    throw new UsageError(`${filename}: is no manifest`);
  }
  const { kind, apiVersion, metadata } = manifest;
  if (typeof kind !== 'string') throw new UsageError(`${filename}: kind: is required`);
  if (typeof apiVersion !== 'string') throw new UsageError(`${filename}: apiVersion: is required`);
  if (typeof metadata?.name !== 'string') {
    throw new UsageError(`${filename}: metadata.name: is required`);
  }
  return manifest as Manifest;
}
