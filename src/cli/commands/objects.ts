// objects export and import: everything that the control plane keeps, out of one store and into another. They open the
// store itself, while nothing else uses it.
import type { Command } from 'commander';
import { GaveUp, print, readInput } from '../usage.ts';

interface Flags {
  readonly config?: string;
}

export function addObjects(program: Command): void {
  const objects = program
    .command('objects')
    .description('move what the control plane keeps, between an embedded store and etcd');
  const option = '--config <file>';
  const what = 'whose objects.store it is (standard: /etc/ashlar/ashlar.yaml)';
  objects
    .command('export')
    .description(
      'print all objects, secrets too: ashlar objects export > FILE; stop the nodes first',
    )
    .option(option, what)
    .action(async (flags: Flags) => {
      const { exportConfigured, STANDARD_CONFIG_PATH } = await import('../../daemon/index.ts');
      await explained(async () => {
        for await (const line of exportConfigured(flags.config ?? STANDARD_CONFIG_PATH))
          print(line);
      });
    });
  objects
    .command('import [file]')
    .description('fill an empty store with what export wrote; - or nothing: standard input')
    .option(option, what)
    .action(async (file: string | undefined, flags: Flags) => {
      const { importConfigured, STANDARD_CONFIG_PATH } = await import('../../daemon/index.ts');
      const lines = readInput(file ?? '-').split('\n');
      await explained(async () => {
        const count = await importConfigured(flags.config ?? STANDARD_CONFIG_PATH, lines);
        print(`${count} objects imported`);
      });
    });
}

/** What the store or the configuration says is for people, without a stack. */
async function explained(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new GaveUp((error as Error).message, { cause: error });
  }
}
