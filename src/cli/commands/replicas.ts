// scale, move, force: how many copies a volume has, and where.
import type { Command } from 'commander';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, kindAndName, pathOf } from '../kinds.ts';
import { printChanged } from '../print.ts';
import { collect, type OutputFlags, outputOption, toInteger, UsageError } from '../usage.ts';

const MERGE_PATCH = 'application/merge-patch+json';

interface WithNodes extends ApiObject {
  readonly spec: { readonly replicaNodes?: readonly string[] };
}

export function addReplicaCommands(program: Command): void {
  program
    .command('scale <kind> [name]')
    .description('change how many copies a volume has, while it is in use')
    .requiredOption('--replicas <count>', '1, 2, 3 or 5')
    .option('--replica-node <host:port>', 'where a new copy goes; once for each', collect, [])
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        name: string | undefined,
        flags: OutputFlags & { replicas: string; replicaNode: string[] },
      ) => {
        const client = await clientOf(program);
        const { kind, path } = await findVolume(program, kindName, name);
        const count = toInteger('--replicas', flags.replicas);
        const volume = (await client.get(path)) as WithNodes;
        const nodes = volume.spec.replicaNodes;
        let spec: object;
        if (nodes === undefined) spec = { replicaCount: count };
        else {
          const wanted = [...nodes, ...flags.replicaNode].slice(0, count);
          if (wanted.length < count) {
            throw new UsageError(
              `${count} copies need ${count - nodes.length} more --replica-node, and there are ${flags.replicaNode.length}`,
            );
          }
          spec = { replicaNodes: wanted };
        }
        const after = (await client.patch(path, { spec }, MERGE_PATCH)) as ApiObject;
        printChanged(kind, after, 'scaled', flags.output);
      },
    );

  program
    .command('move <kind> [name]')
    .description('move a replica to another node, while its volume is in use')
    .requiredOption('--to <host:port>', 'the node that gets it')
    .addOption(outputOption())
    .action(
      async (kindName: string, name: string | undefined, flags: OutputFlags & { to: string }) => {
        const client = await clientOf(program);
        const kinds = await fetchKinds(client);
        const [word, replicaName] = kindAndName(kindName, name);
        const replicas = findKind(kinds, word);
        if (replicas.plural !== 'replicas') throw new UsageError(`a ${word} cannot be moved`);
        const replica = (await client.get(pathOf(replicas, null, replicaName))) as ApiObject & {
          readonly spec: { readonly volumeName: string; readonly nodeName: string };
        };
        const { volumeName, nodeName } = replica.spec;
        const volumes = findKind(kinds, 'volumes.ashlar.io');
        const path = pathOf(volumes, null, volumeName);
        const volume = (await client.get(path)) as WithNodes;
        const nodes = volume.spec.replicaNodes;
        if (nodes === undefined) throw new UsageError(`volume ${volumeName} has no replica nodes`);
        const replicaNodes = nodes.map((node) => (node === nodeName ? flags.to : node));
        const after = (await client.patch(
          path,
          { spec: { replicaNodes } },
          MERGE_PATCH,
        )) as ApiObject;
        printChanged(volumes, after, `replica ${replicaName} moved`, flags.output);
      },
    );

  program
    .command('force <kind> [name]')
    .description('serve a volume from the replicas that are left, when a majority is lost for good')
    .option('--yes-i-lost-the-others', 'what only they held is given up')
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        name: string | undefined,
        flags: OutputFlags & { yesILostTheOthers?: boolean },
      ) => {
        if (flags.yesILostTheOthers !== true) {
          throw new UsageError(
            'writes that only the lost replicas hold are given up; read docs/operations.md, "Quorum is lost for good", then say --yes-i-lost-the-others',
          );
        }
        const client = await clientOf(program);
        const { kind, path } = await findVolume(program, kindName, name);
        const annotations = { 'ashlar.io/force-quorum': new Date().toISOString() };
        const after = (await client.patch(
          path,
          { metadata: { annotations } },
          MERGE_PATCH,
        )) as ApiObject;
        printChanged(kind, after, 'forced', flags.output);
      },
    );

  async function findVolume(within: Command, kindName: string, name: string | undefined) {
    const [word, volume] = kindAndName(kindName, name);
    const kind = findKind(await fetchKinds(await clientOf(within)), word);
    return { kind, path: pathOf(kind, null, volume) };
  }
}
