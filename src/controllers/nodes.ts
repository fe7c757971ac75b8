// Nodes: says which are silent, and what that means for their pools and replicas, so that nothing is called healthy
// that nobody has heard of. What is done about it is the volumes' business.
import type { KindDefinition } from '../apiserver/index.ts';
import { setCondition } from '../apiserver/index.ts';
import { BLOCK_DEVICE, NODE, type Node, POOL, REPLICA } from '../kinds/index.ts';
import { type Controller, isDeleting, type Surroundings, Writer } from './controller.ts';
import { isHeard, onNode } from './on-node.ts';

const LOOK_AGAIN_MS = 1000;

export class NodeController implements Controller {
  readonly name = 'nodes';
  readonly kind = NODE as unknown as KindDefinition;
  readonly triggers = [];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, events } = this.#around;
    const node = catalog.get(NODE, key);
    if (node === null || isDeleting(node)) return undefined;
    if (isHeard(this.#around, key)) return LOOK_AGAIN_MS;
    // Its node itself says that it is ready, when it is back.
    const message = 'its lease has run out: nothing was heard of it';
    const said = await this.#say(node, message);
    if (said) events.record(node, 'Warning', 'NodeSilent', message);
    await this.#markSilent(key);
    return LOOK_AGAIN_MS;
  }

  async #say(node: Node, message: string): Promise<boolean> {
    const said = await this.#writer.status(NODE, node, (status) => {
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Ready', status: 'Unknown', reason: 'NodeSilent', message },
        this.#around.now(),
      );
    });
    return said !== node;
  }

  async #markSilent(nodeName: string): Promise<void> {
    const { pools, replicas, devices } = onNode(this.#around.catalog, nodeName);
    for (const pool of pools) {
      await this.#writer.status(POOL, pool, (status) => {
        // Exported: its node gives its devices back when it is heard of again, and never opens it.
        if (!['Pending', 'Exported', undefined].includes(status.phase)) status.phase = 'Offline';
      });
    }
    for (const replica of replicas) {
      await this.#writer.status(REPLICA, replica, (status) => {
        if (status.phase !== undefined && status.phase !== 'Pending') status.phase = 'Offline';
      });
    }
    for (const device of devices) {
      await this.#writer.status(BLOCK_DEVICE, device, (status) => {
        status.state = 'Unknown';
      });
    }
  }
}
