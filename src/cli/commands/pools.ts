// Pools and their devices: the commands beyond get and describe.
import type { Command } from 'commander';
import { parseQuantity } from '../../base/index.ts';
import type { Client } from '../client.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, type Kind, kindAndName, pathOf } from '../kinds.ts';
import { printChanged, printStructured } from '../print.ts';
import { renderCells } from '../table.ts';
import { type OutputFlags, outputOption, print, UsageError } from '../usage.ts';

interface NewDeviceFlags extends OutputFlags {
  readonly force?: boolean;
  readonly size?: string;
}

/** An action of one object: a POST to its subresource. */
async function act(
  program: Command,
  first: string,
  given: string | undefined,
  action: string,
  body: object,
  verb: string,
  flags: OutputFlags,
): Promise<void> {
  const [kindName, name] = kindAndName(first, given);
  const client = await clientOf(program);
  const kind = findKind(await fetchKinds(client), kindName);
  const after = (await client.create(`${pathOf(kind, null, name)}/${action}`, body)) as ApiObject;
  printChanged(kind, after, verb, flags.output);
}

interface ScrubSchedule {
  readonly every?: string;
  readonly bandwidth?: string;
}

/** By the clock: what is wanted of the pool, and not something to be done now. */
async function schedule(
  program: Command,
  first: string,
  given: string | undefined,
  flags: OutputFlags & ScrubSchedule,
): Promise<void> {
  const [kindName, name] = kindAndName(first, given);
  const client = await clientOf(program);
  const kind = findKind(await fetchKinds(client), kindName);
  const { every, bandwidth } = flags;
  const scrub = {
    ...(every === undefined ? {} : { every: every === 'never' ? null : every }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
  };
  const after = (await client.patch(pathOf(kind, null, name), { spec: { scrub } })) as ApiObject;
  printChanged(kind, after, 'scrub scheduled', flags.output);
}

export function addPoolCommands(program: Command): void {
  program
    .command('scrub <kind> [name]')
    .description('read all of a pool and mend what a mirror can; describe shows how far it is')
    .option('--pause', 'let it rest')
    .option('--cancel', 'end it')
    .option('--every <period>', 'from now on by the clock: 7d, 30d; never: no more')
    .option('--bandwidth <quantity>', 'what it, a resilver or a rebalance may take a second: 100Mi')
    .addOption(outputOption())
    .action(
      async (
        kind: string,
        name: string | undefined,
        flags: OutputFlags & ScrubSchedule & { pause?: boolean; cancel?: boolean },
      ) => {
        if (flags.every !== undefined || flags.bandwidth !== undefined) {
          await schedule(program, kind, name, flags);
          return;
        }
        const action = flags.cancel === true ? 'cancel' : flags.pause === true ? 'pause' : 'start';
        const verb = { start: 'scrub started', pause: 'scrub paused', cancel: 'scrub cancelled' }[
          action
        ];
        await act(program, kind, name, 'scrub', { action }, verb, flags);
      },
    );

  program
    .command('rebalance <kind> [name]')
    .description('move data of a pool to its emptier devices; describe shows how far it is')
    .option('--pause', 'let it rest')
    .option('--cancel', 'end it: what has moved stays moved')
    .addOption(outputOption())
    .action(
      async (
        kind: string,
        name: string | undefined,
        flags: OutputFlags & { pause?: boolean; cancel?: boolean },
      ) => {
        const action = flags.cancel === true ? 'cancel' : flags.pause === true ? 'pause' : 'start';
        const end = { start: 'started', pause: 'paused', cancel: 'cancelled' }[action];
        await act(program, kind, name, 'rebalance', { action }, `rebalance ${end}`, flags);
      },
    );

  const device = program.command('device').description('the devices of a pool, while it serves');
  const forced = (flags: NewDeviceFlags): object => ({
    ...(flags.force === true ? { force: true } : {}),
    ...(flags.size === undefined ? {} : { sizeBytes: toBytes(flags.size) }),
  });
  device
    .command('add <pool> <paths...>')
    .description('add a device, or the sides of a mirror')
    .option('--force', 'overwrite what is there')
    .option('--size <quantity>', 'of a file that is to be made')
    .addOption(outputOption())
    .action((pool: string, devices: string[], flags: NewDeviceFlags) =>
      act(program, 'pools', pool, 'add', { devices, ...forced(flags) }, 'device added', flags),
    );
  device
    .command('attach <pool> <beside> <path>')
    .description('make a mirror: another side beside a device')
    .option('--force', 'overwrite what is there')
    .option('--size <quantity>', 'of a file that is to be made')
    .addOption(outputOption())
    .action((pool: string, beside: string, path: string, flags: NewDeviceFlags) =>
      act(
        program,
        'pools',
        pool,
        'attach',
        { beside, device: path, ...forced(flags) },
        'device attached',
        flags,
      ),
    );
  device
    .command('replace <pool> <old> <new>')
    .description('replace a device; the old one leaves once the new one has everything')
    .option('--force', 'overwrite what is there')
    .option('--size <quantity>', 'of a file that is to be made')
    .addOption(outputOption())
    .action((pool: string, old: string, by: string, flags: NewDeviceFlags) =>
      act(
        program,
        'pools',
        pool,
        'replace',
        { device: old, by, ...forced(flags) },
        'device is being replaced',
        flags,
      ),
    );
  for (const [verb, told, description] of [
    ['offline', 'device offline', 'take a side of a mirror away for a while'],
    ['detach', 'device detached', 'take a side out of a mirror'],
  ] as const) {
    device
      .command(`${verb} <pool> <device>`)
      .description(description)
      .addOption(outputOption())
      .action((pool: string, one: string, flags: OutputFlags) =>
        act(program, 'pools', pool, verb, { device: one }, told, flags),
      );
  }
  device
    .command('online <pool> <device>')
    .description('bring a device back; what it missed is resilvered')
    .option('--path <path>', 'where it is now')
    .addOption(outputOption())
    .action((pool: string, one: string, flags: OutputFlags & { path?: string }) =>
      act(
        program,
        'pools',
        pool,
        'online',
        { device: one, ...(flags.path === undefined ? {} : { path: flags.path }) },
        'device online',
        flags,
      ),
    );
  device
    .command('grow <pool>')
    .description('use what devices have grown by')
    .addOption(outputOption())
    .action((pool: string, flags: OutputFlags) =>
      act(program, 'pools', pool, 'grow', {}, 'grown', flags),
    );
}

function toBytes(size: string): number {
  const bytes = parseQuantity(size);
  if (bytes === null)
    throw new UsageError(`--size: '${size}' is not a quantity; write it like 5Gi`);
  return bytes;
}

export function addSnapshotCommands(program: Command): void {
  program
    .command('expose <kind> [name]')
    .description('let hosts see a snapshot, as a read-only disk of its own')
    .addOption(outputOption())
    .action((kind: string, name: string | undefined, flags: OutputFlags) =>
      act(program, kind, name, 'expose', {}, 'exposed', flags),
    );
  program
    .command('unexpose <kind> [name]')
    .description('hosts see a snapshot no more')
    .option('--force', 'also while in use: sessions are ended')
    .addOption(outputOption())
    .action((kind: string, name: string | undefined, flags: OutputFlags & { force?: boolean }) => {
      const body = flags.force === true ? { force: true } : {};
      return act(program, kind, name, 'unexpose', body, 'not exposed any more', flags);
    });
  program
    .command('rollback <kind> [name]')
    .description('make a volume what a snapshot of it is')
    .requiredOption('--to <snapshot>', 'its name, without the volume')
    .option('--delete-later', 'snapshots taken since then go')
    .option('--force', 'also while in use: sessions are ended')
    .addOption(outputOption())
    .action(
      async (
        first: string,
        given: string | undefined,
        flags: OutputFlags & { to: string; deleteLater?: boolean; force?: boolean },
      ) => {
        const [kind, name] = kindAndName(first, given);
        const to = flags.to.startsWith(`${name}@`) ? flags.to.slice(name.length + 1) : flags.to;
        const body = {
          to,
          ...(flags.deleteLater === true ? { deleteLater: true } : {}),
          ...(flags.force === true ? { force: true } : {}),
        };
        await act(program, kind, name, 'rollback', body, `rolled back to ${to}`, flags);
      },
    );
  program
    .command('promote <kind> [name]')
    .description(
      'give a clone the snapshots that it came from; the volume that had them becomes its clone',
    )
    .addOption(outputOption())
    .action((kind: string, name: string | undefined, flags: OutputFlags) =>
      act(program, kind, name, 'promote', {}, 'promoted', flags),
    );
  program
    .command('diff <from> <to>')
    .description('what changed from a snapshot (V@NAME) to a later one, or to the volume (V)')
    .addOption(outputOption())
    .action(async (from: string, to: string, flags: OutputFlags) => {
      const client = await clientOf(program);
      await showDiff(client, findKind(await fetchKinds(client), 'snapshots'), from, to, flags);
    });
}

interface Diff {
  readonly extents: readonly { offsetBytes: number; bytes: number; kind: string }[];
  readonly changedBytes: number;
}

async function showDiff(client: Client, kind: Kind, from: string, to: string, flags: OutputFlags) {
  if (!from.includes('@')) throw new UsageError(`'${from}' is no snapshot; write it V@NAME`);
  const path = `${pathOf(kind, null, from)}/diff?to=${encodeURIComponent(to)}`;
  const diff = (await client.get(path)) as Diff;
  if (flags.output === 'json' || flags.output === 'yaml') {
    printStructured(diff, flags.output);
    return;
  }
  const cells = diff.extents.map(({ offsetBytes, bytes, kind: what }) => [
    String(offsetBytes),
    String(bytes),
    what,
  ]);
  if (cells.length > 0) {
    for (const line of renderCells([['OFFSET', 'BYTES', 'NOW'], ...cells])) print(line);
  }
  print(`${diff.changedBytes} bytes differ in ${cells.length} extents`);
}
