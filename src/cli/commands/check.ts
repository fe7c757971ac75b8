// check pool: walks a pool that is not open, on the devices themselves. The one command that reaches past the API.
import { type Command, Option } from 'commander';
import { printStructured } from '../print.ts';
import { EXIT_FAILED, GaveUp, type OutputFlags, print, UsageError } from '../usage.ts';

interface CheckFlags extends OutputFlags {
  readonly data: boolean;
  readonly pool?: string;
}

export function addCheck(program: Command): void {
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
