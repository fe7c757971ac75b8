// The disks of this node as objects: found at the start and every half minute, named once, never forgotten while they
// are claimed. Numbers are given in the order in which devices are found, and kept.
import { setCondition } from '../../apiserver/index.ts';
import { hasReason, type Writer } from '../../controllers/index.ts';
import { BLOCK_DEVICE, type BlockDevice } from '../../kinds/index.ts';
import {
  type DiscoveredDevice,
  type DiscoverOptions,
  discoverDevices,
} from '../devices/discover.ts';
import type { NodeSurroundings } from './surroundings.ts';

export class DeviceKeeper {
  readonly #around: NodeSurroundings;
  readonly #options: DiscoverOptions;
  readonly #writer: Writer;
  #tail: Promise<void> = Promise.resolve();

  constructor(around: NodeSurroundings, options: DiscoverOptions, writer: Writer) {
    this.#around = around;
    this.#options = options;
    this.#writer = writer;
  }

  /** Looks what there is, and says so. Never rejects for what one device is like. */
  async scan(): Promise<void> {
    // One after the other: two at once would both name a new device.
    const scan = this.#tail.then(() => this.#scan());
    this.#tail = scan.catch(() => {});
    await scan;
  }

  async #scan(): Promise<void> {
    const { nodeName, client, log } = this.#around;
    const known = (await client.list<BlockDevice>(BLOCK_DEVICE)).items;
    const mine = known.filter(({ spec }) => spec.nodeName === nodeName);
    const claimed = new Set(
      mine
        .filter(({ spec }) => spec.claimRef !== undefined)
        .flatMap(({ spec }) => [spec.path, spec.byIdPath ?? spec.path]),
    );
    const found = discoverDevices({ ...this.#options, isOurs: (path) => claimed.has(path) });
    for (const device of found) {
      try {
        const object =
          mine.find(({ spec }) => spec.identity === device.identity) ??
          (await this.#name(device, mine));
        await this.#describe(object, device);
      } catch (error) {
        log.warn({ path: device.path, err: error }, 'a device could not be told of; trying again');
      }
    }
    for (const object of mine) {
      if (found.some(({ identity }) => identity === object.spec.identity)) continue;
      await this.#missing(object);
    }
  }

  /** A new one: the lowest number that is free on this node. */
  async #name(device: DiscoveredDevice, mine: BlockDevice[]): Promise<BlockDevice> {
    const { nodeName, client, events } = this.#around;
    const taken = new Set(mine.map(({ spec }) => spec.deviceName));
    let number = 1;
    while (taken.has(`blockdevice-${number}`)) number += 1;
    const deviceName = `blockdevice-${number}`;
    const spec = { nodeName, deviceName, ...specOf(device) };
    const create = (name: string): Promise<BlockDevice> =>
      client.create<BlockDevice>(BLOCK_DEVICE, {
        metadata: { name, labels: { 'kubernetes.io/hostname': nodeName } },
        spec,
      });
    let object: BlockDevice;
    try {
      object = await create(deviceName);
    } catch (error) {
      // The short name is another node's.
      if (!hasReason(error, 'AlreadyExists')) throw error;
      object = await create(`${deviceName}-${nodeName.toLowerCase()}`);
    }
    mine.push(object);
    const text = `${device.path}, ${device.sizeBytes} bytes${device.inUse === '' ? '' : `, in use: ${device.inUse}`}`;
    events.record(object, 'Normal', 'DeviceFound', text);
    return object;
  }

  async #describe(object: BlockDevice, device: DiscoveredDevice): Promise<void> {
    const { events } = this.#around;
    const current = await this.#writer.update(BLOCK_DEVICE, object, (copy) => {
      const { nodeName, deviceName, claimRef } = copy.spec;
      copy.spec = {
        nodeName,
        deviceName,
        ...specOf(device),
        ...(claimRef === undefined ? {} : { claimRef }),
      };
    });
    const pool = await this.#poolOn(current, device);
    await this.#writer.status(BLOCK_DEVICE, current, (status) => {
      if (pool === null) delete status.pool;
      else status.pool = pool;
      status.state = 'Active';
      status.contents = device.contents;
      status.inUse = device.inUse;
      delete status.conditions;
    });
    if (object.status?.state === 'Inactive')
      events.record(object, 'Normal', 'DeviceBack', device.path);
  }

  /** A pool of which a label there tells, and that nobody here has. */
  async #poolOn({ spec }: BlockDevice, { path, inUse, contents }: DiscoveredDevice) {
    if (spec.claimRef !== undefined || inUse !== '' || contents === '') return null;
    const [found] = await this.#around.media.find([path]).catch(() => []);
    if (found === undefined) return null;
    const { id, name, devices, exported } = found;
    return { id, name, devices, exported };
  }

  async #missing(object: BlockDevice): Promise<void> {
    const { now, events } = this.#around;
    const message = `${object.spec.path} is not there any more`;
    const said = await this.#writer.status(BLOCK_DEVICE, object, (status) => {
      status.state = 'Inactive';
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Present', status: 'False', reason: 'Missing', message },
        now(),
      );
    });
    if (said !== object) events.record(object, 'Warning', 'DeviceMissing', message);
  }
}

function specOf(device: DiscoveredDevice): Omit<BlockDevice['spec'], 'nodeName' | 'deviceName'> {
  return {
    identity: device.identity,
    path: device.path,
    ...(device.byIdPath === null ? {} : { byIdPath: device.byIdPath }),
    sizeBytes: device.sizeBytes,
    logicalBlockBytes: device.logicalBlockBytes,
    ...(device.model === '' ? {} : { model: device.model }),
    ...(device.serial === '' ? {} : { serial: device.serial }),
    rotational: device.rotational,
    sparse: device.sparse,
  };
}
