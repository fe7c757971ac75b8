// check pool and rescue pool: walk a pool that is not open, and read from one that cannot be opened, on the devices
// themselves. The only commands that reach past the API.
import { type Command, Option } from 'commander';
import { formatBytes } from '../../base/index.ts';
import type { RescuedVolume } from '../../store/index.ts';
import { printStructured } from '../print.ts';
import { EXIT_FAILED, GaveUp, type OutputFlags, print, UsageError } from '../usage.ts';

/** Of one volume. */
const SHOWN_LOST = 20;

interface CheckFlags extends OutputFlags {
  readonly data: boolean;
  readonly pool?: string;
}

interface RescueFlags {
  readonly to: string;
  readonly pool?: string;
  readonly volume: readonly string[];
}

export function addCheck(program: Command): void {
  addRescue(program);
  const check = program.command('check').description('look at things offline');
  check
    .command('pool')
    .description('walk a pool that is not open: reference counts, free space, checksums')
    .argument('<path...>', "the pool's devices, or folders to find them in (/dev/disk/by-id)")
    .option('--pool <name-or-id>', 'which one, where there are several')
    .option('--no-data', 'metadata only: not every block of data is read')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['json', 'yaml']))
    .action(async (places: string[], flags: CheckFlags) => {
      const { checkPool, StoreError } = await import('../../store/index.ts');
      const paths = await devicesOf(places, flags.pool);
      const report = await checkPool(paths, { withData: flags.data }).catch((error: unknown) => {
        if (!(error instanceof StoreError)) throw error;
        throw new GaveUp(`${error.message}; ${whatToDo(error.code)}`);
      });
      if (flags.output !== undefined) printStructured({ devices: paths, ...report }, flags.output);
      else printReport(paths, report);
      if (!report.clean) process.exitCode = EXIT_FAILED;
    });
}

function addRescue(program: Command): void {
  program
    .command('rescue')
    .description('save what a pool holds that cannot be opened any more')
    .command('pool')
    .description(
      'write its volumes as raw images, without changing it; what cannot be read is told',
    )
    .argument('<path...>', "the pool's devices, or folders to find them in (/dev/disk/by-id)")
    .requiredOption('--to <folder>', 'where the images go; on another disk')
    .option('--pool <name-or-id>', 'which one, where there are several')
    .option(
      '--volume <name>',
      'only this one, or VOLUME@SNAPSHOT; repeat',
      (one: string, all: readonly string[]) => [...all, one],
      [] as readonly string[],
    )
    .action(async (places: string[], flags: RescueFlags) => {
      const { rescueVolumes, StoreError } = await import('../../store/index.ts');
      const paths = await devicesOf(places, flags.pool);
      const volumes = flags.volume.length === 0 ? null : flags.volume;
      const onVolume = (rescued: RescuedVolume): void => {
        const { name, image, sizeBytes, readBytes, lost } = rescued;
        print(
          `${name}: ${formatBytes(readBytes)} of ${formatBytes(sizeBytes)} written to ${image}`,
        );
        for (const { byteOffset, bytes } of lost.slice(0, SHOWN_LOST))
          print(`  lost: ${bytes} bytes at ${byteOffset}`);
        if (lost.length > SHOWN_LOST) print(`  and ${lost.length - SHOWN_LOST} more places`);
        if (lost.length > 0) process.exitCode = EXIT_FAILED;
      };
      const onFailed = (name: string, error: Error): void => {
        print(`${name}: not saved: ${error.message}`);
        process.exitCode = EXIT_FAILED;
      };
      await rescueVolumes({ paths, folder: flags.to, volumes, onVolume, onFailed }).catch(
        (error: unknown) => {
          if (error instanceof StoreError)
            throw new GaveUp(`${error.message}; ${whatToDo(error.code)}`);
          if ((error as NodeJS.ErrnoException).code === undefined) throw error;
          throw new GaveUp((error as Error).message);
        },
      );
    });
}

/** The end of a message of a pool that cannot be looked at. */
function whatToDo(code: string): string {
  if (code === 'STORE_IN_USE') return 'stop what serves it, or ask that: ashlar describe pool';
  if (code === 'STORE_TOO_FEW_DEVICES' || code === 'STORE_FOREIGN_DEVICE')
    return 'name all devices of one pool, or a folder to find them in and --pool';
  return "name the pool's devices, or a folder to find them in, such as /dev/disk/by-id";
}

async function devicesOf(
  places: readonly string[],
  wanted: string | undefined,
): Promise<readonly string[]> {
  const { findPools } = await import('../../store/index.ts');
  const pools = (await findPools(places)).filter(
    (pool) => wanted === undefined || pool.name === wanted || pool.id === wanted,
  );
  const [pool, another] = pools;
  // Nothing found: whoever opens them says what is wrong with each.
  if (pool === undefined && wanted === undefined) return places;
  if (pool === undefined)
    throw new UsageError(`there is no pool ${wanted} on ${places.join(', ')}`);
  if (another !== undefined) {
    const names = pools.map(({ name, id }) => `${name} (${id})`).join(', ');
    throw new UsageError(`there are several pools: ${names}; say which by --pool`);
  }
  return pool.paths;
}

interface Report {
  readonly clean: boolean;
  readonly pagesChecked: number;
  readonly blocksChecked: number;
  readonly findings: readonly string[];
}

function printReport(paths: readonly string[], report: Report): void {
  print(`devices  ${paths.join(' ')}`);
  print(`checked  ${report.pagesChecked} metadata pages, ${report.blocksChecked} blocks of data`);
  for (const finding of report.findings) print(`  ${finding}`);
  print(report.clean ? 'clean' : 'NOT CLEAN');
}
