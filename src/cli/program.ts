// Every command of `ashlar` with its options, as one program for commander to read command lines with.
import { existsSync, readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { STANDARD_API } from './client.ts';
import { addChanges } from './commands/change.ts';
import { addCheck } from './commands/check.ts';
import { addCreate } from './commands/create.ts';
import { addDoctor } from './commands/doctor.ts';
import { addEdit } from './commands/edit.ts';
import { addExplain } from './commands/explain.ts';
import { addGet } from './commands/get.ts';
import { addKubeconfig } from './commands/kubeconfig.ts';
import { addNodes } from './commands/nodes.ts';
import { addObjects } from './commands/objects.ts';
import { addPoolLife } from './commands/pool-life.ts';
import { addPoolCommands, addSnapshotCommands } from './commands/pools.ts';
import { addReplicaCommands } from './commands/replicas.ts';
import { addTransfers } from './commands/transfer.ts';
import { clientOf } from './connect.ts';
import { printStructured } from './print.ts';
import { EXIT_FAILED, type OutputFlags, print } from './usage.ts';

function packageVersion(): string {
  // dist/src/cli/main.js and src/cli/main.ts are at different depths: the first package.json upwards is ours.
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      const { name, version } = JSON.parse(text) as { name?: string; version?: string };
      if (name === 'ashlar' && version !== undefined) return version;
    } catch {
      // Not at this depth.
    }
  }
  return '0.0.0';
}

export function buildProgram(): Command {
  const program = new Command('ashlar');
  program
    .description('Block storage: iSCSI disks over a checksummed copy-on-write pool')
    .option('--api <address>', `address of the API (ASHLAR_API; standard ${STANDARD_API})`)
    .option('--token-file <file>', 'a file with the bearer token (ASHLAR_TOKEN_FILE, ASHLAR_TOKEN)')
    .option('--ca-file <file>', "the API's certificate, or its authority's (ASHLAR_CA_FILE)")
    .version(packageVersion(), '-V, --version', 'the version of this command')
    .showHelpAfterError('(ashlar --help lists the commands)')
    .exitOverride();
  addServe(program);
  addCreate(program);
  addGet(program);
  addExplain(program);
  addChanges(program);
  addEdit(program);
  addDoctor(program);
  addTransfers(program);
  addReplicaCommands(program);
  addCheck(program);
  addPoolCommands(program);
  addPoolLife(program);
  addSnapshotCommands(program);
  addKubeconfig(program);
  addNodes(program);
  addObjects(program);
  addVersion(program);
  return program;
}

function takeOverOption(what = 'the pool', although = 'although it is'): Option {
  return new Option(
    '--take-over',
    `serve ${what} ${although} another machine's, which has stopped for good; once`,
  );
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('run the storage daemon in the foreground')
    .option('--config <file>', 'configuration (standard: /etc/ashlar/ashlar.yaml if it is there)')
    .option('--data <dir>', 'where the pool file lives')
    .option('--portal <address...>', 'iSCSI portal to listen on; may be repeated')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace')
    .addOption(takeOverOption())
    .action(async (flags: Record<string, never>) => {
      const { serve } = await import('../daemon/index.ts');
      const { api } = program.opts<{ api?: string }>();
      const all = { ...flags, ...(api === undefined ? {} : { api }) };
      const code = await serve(all, packageVersion());
      // Everything is closed; a timer that somebody left running must not hold the process.
      process.stdout.write('', () => process.exit(code));
    });

  program
    .command('node')
    .description(
      'run this machine as a node: its disks, pools, replicas, coordinators, and the control plane',
    )
    .option('--config <file>', 'configuration (standard: /etc/ashlar/ashlar.yaml if it is there)')
    .option('--data <dir>', 'where the objects and the pools in files live')
    .option('--portal <address...>', 'iSCSI portal to listen on; may be repeated')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace')
    .addOption(takeOverOption('its pools', 'although they are'))
    .action(async (flags: Record<string, never>) => {
      const { serveNode } = await import('../daemon/index.ts');
      const { api } = program.opts<{ api?: string }>();
      const all = { ...flags, ...(api === undefined ? {} : { api }) };
      const code = await serveNode(all, packageVersion());
      process.stdout.write('', () => process.exit(code));
    });

  program
    .command('replica')
    .description('run a replica daemon in the foreground: a pool whose replicas coordinators reach')
    .option('--config <file>', 'configuration (standard: /etc/ashlar/ashlar.yaml if it is there)')
    .option('--data <dir>', 'where the pool file lives')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace')
    .addOption(takeOverOption())
    .action(async (flags: Record<string, never>) => {
      const { replica } = await import('../daemon/index.ts');
      const code = await replica(flags, packageVersion());
      process.stdout.write('', () => process.exit(code));
    });

  const config = program.command('config').description('work with the configuration file');
  config
    .command('check')
    .description('say what is wrong with a configuration, or nothing')
    .argument('[file]', 'standard: /etc/ashlar/ashlar.yaml')
    .option('--config <file>', 'the same as the argument')
    .action(async (file: string | undefined, flags: { config?: string }) => {
      const { ConfigError, loadConfig, ownerUnheeded, STANDARD_CONFIG_PATH } = await import(
        '../daemon/index.ts'
      );
      const path = file ?? flags.config ?? STANDARD_CONFIG_PATH;
      try {
        const unheeded = ownerUnheeded(loadConfig({ config: path }).config);
        print(`${path}: good`);
        // Which command will read it is not known here.
        if (unheeded !== null) process.stderr.write(`${path}: ${unheeded}\n`);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        for (const finding of error.findings) process.stderr.write(`${finding}\n`);
        if (path !== file && path !== flags.config && !existsSync(path)) {
          const text =
            'Without it the built-in defaults hold. Another one: ashlar config check FILE';
          process.stderr.write(`${text}\n`);
        }
        process.exitCode = EXIT_FAILED;
      }
    });
}

function addVersion(program: Command): void {
  program
    .command('version')
    .description('versions of this command and of the server')
    .option('--client', 'only of this command')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['json', 'yaml']))
    .action(async (flags: OutputFlags & { client?: boolean }) => {
      const client = `v${packageVersion()}`;
      let server: string | null = null;
      let failure: unknown = null;
      if (flags.client !== true) {
        try {
          const answer = (await (await clientOf(program)).get('/version')) as {
            gitVersion: string;
            ashlarVersion?: string;
          };
          // One of before 0.1.1 has its own there.
          server =
            answer.ashlarVersion === undefined ? answer.gitVersion : `v${answer.ashlarVersion}`;
        } catch (error) {
          failure = error;
        }
      }
      if (flags.output !== undefined) printStructured({ client, server }, flags.output);
      else {
        print(`Client: ${client}`);
        if (server !== null) print(`Server: ${server}`);
      }
      // The client's version was asked for too, and is there: a server that is down is only worth a word.
      if (failure !== null) process.stderr.write(`${(failure as Error).message}\n`);
    });
}
