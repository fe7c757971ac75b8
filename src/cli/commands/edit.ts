// edit: an object in an editor. What was changed there is sent as a merge patch, so that what somebody else changes meanwhile
// in other fields stays; what is wrong comes back into the editor with the server's words above it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { parse, stringify } from 'yaml';
import { ServerError } from '../client.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, kindAndName, pathOf } from '../kinds.ts';
import { printChanged } from '../print.ts';
import { GaveUp, namespaceOption, print, UsageError } from '../usage.ts';

const ADVICE = [
  '# Change what is below and save. Lines that begin with # are ignored; an empty file, or one that is not',
  '# changed, changes nothing.',
];

export function addEdit(program: Command): void {
  program
    .command('edit <kind> [name]')
    .description('change an object in an editor (KUBE_EDITOR, EDITOR; else vi)')
    .addOption(namespaceOption())
    .action(async (first: string, second: string | undefined, flags: { namespace: string }) => {
      const [kindName, name] = kindAndName(first, second);
      const client = await clientOf(program);
      const kind = findKind(await fetchKinds(client), kindName);
      const path = pathOf(kind, flags.namespace, name);
      const before = withoutManagers((await client.get(path)) as ApiObject);
      const folder = mkdtempSync(join(tmpdir(), 'ashlar-edit-'));
      const file = join(folder, `${kind.singular}.yaml`);
      try {
        let text = stringify(before);
        let complaint: string[] = [];
        for (;;) {
          const shown = [...ADVICE, ...complaint.map((line) => `# ${line}`), text].join('\n');
          writeFileSync(file, shown);
          openEditor(file);
          const saved = readFileSync(file, 'utf8');
          text = saved.replaceAll(/^#.*\n/gm, '');
          if (saved === shown && complaint.length > 0) throw new GaveUp(complaint.join('\n'));
          if (saved === shown || text.trim() === '') {
            print('Edit cancelled, no changes made.');
            return;
          }
          try {
            const patch = mergePatch(before, readObject(text));
            if (patch === undefined) {
              print('Edit cancelled, no changes made.');
              return;
            }
            const after = (await client.patch(
              `${path}?fieldManager=ashlar-edit`,
              patch,
            )) as ApiObject;
            printChanged(kind, after, 'edited');
            return;
          } catch (error) {
            const isWrong = error instanceof ServerError || error instanceof UsageError;
            if (!isWrong) throw error;
            complaint = ['', ...error.message.split('\n'), ''];
          }
        }
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
}

function withoutManagers(object: ApiObject): ApiObject {
  const { managedFields: _, ...metadata } = object.metadata as ApiObject['metadata'] & {
    managedFields?: unknown;
  };
  return { ...object, metadata };
}

function openEditor(file: string): void {
  const editor = process.env['KUBE_EDITOR'] || process.env['EDITOR'] || 'vi';
  // As a shell would: people write `code --wait`.
  const { status, error } = spawnSync('sh', ['-c', `${editor} "$1"`, 'sh', file], {
    stdio: 'inherit',
  });
  if (error !== undefined) throw new GaveUp(`the editor '${editor}' cannot be started: ${error}`);
  if (status !== 0)
    throw new GaveUp(`the editor '${editor}' ended with ${status}; nothing is changed`);
}

function readObject(text: string): unknown {
  try {
    return parse(text, { uniqueKeys: true });
  } catch (error) {
    throw new UsageError(`this is not YAML: ${(error as Error).message}`);
  }
}

/** RFC 7386: what makes `before` into `after`; undefined: nothing. Lists are replaced as a whole. */
export function mergePatch(before: unknown, after: unknown): unknown {
  if (JSON.stringify(before) === JSON.stringify(after)) return undefined;
  if (!isMap(before) || !isMap(after)) return after;
  const patch: Record<string, unknown> = {};
  for (const key of Object.keys(before)) if (!(key in after)) patch[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const difference = key in before ? mergePatch(before[key], value) : value;
    if (difference !== undefined) patch[key] = difference;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
