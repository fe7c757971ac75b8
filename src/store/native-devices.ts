// The devices of a native pool: media are opened and cleared on another thread, then handed to the engine.
import { randomBytes } from 'node:crypto';
import {
  adviceFor,
  type DamagedBlock,
  type DeviceState,
  type NewDevice,
  type PoolDevice,
  type PoolDevices,
  type PoolVdev,
  type WalkState,
  type WalkStatus,
} from './devices.ts';
import { asStoreError, type NativePoolHandle, native } from './native.ts';
import { StoreError } from './types.ts';
import { uuidText, uuidToBytes } from './uuid.ts';

const STATES: Readonly<Record<number, DeviceState>> = {
  1: 'InSync',
  2: 'Resilvering',
  3: 'Offline',
  4: 'Faulted',
  5: 'Missing',
};
const WALK_STATES: readonly WalkState[] = ['None', 'Running', 'Paused', 'Done', 'Cancelled'];
const SCRUB = 1;
const REBALANCE = 3;
const RESILVER = 2;

/** Runs a control call to its end: NativePool's own. */
type Call = (doing: string, start: (controlId: number) => void) => Promise<unknown>;

export class NativeDevices implements PoolDevices {
  readonly #native: NativePoolHandle;
  readonly #poolId: string;
  readonly #call: Call;

  constructor(handle: NativePoolHandle, poolId: string, call: Call) {
    this.#native = handle;
    this.#poolId = poolId;
    this.#call = call;
  }

  list(): readonly PoolDevice[] {
    const devices = this.#native.devices();
    return devices.map((device) => {
      const state = STATES[device.state] ?? 'Faulted';
      const { readErrors, writeErrors, checksumErrors } = device;
      const sides = devices.filter((other) => other.vdev === device.vdev).length;
      const advice = adviceFor({
        state,
        path: device.path,
        mirrored: sides > 1,
        errors: readErrors + writeErrors + checksumErrors,
        grownBlocks: Math.max(0, device.deviceBlocks - device.sizeBlocks),
      });
      const { id, path, vdev, place, log, sizeBlocks, deviceBlocks, why } = device;
      const replaces = device.replaces ?? null;
      const errors = { readErrors, writeErrors, checksumErrors };
      const where = { id, path, vdev, place, log, state, sizeBlocks, deviceBlocks };
      return { ...where, ...errors, replaces, why, advice };
    });
  }

  vdevs(): readonly PoolVdev[] {
    return this.#native.vdevs();
  }

  scrubStatus(): WalkStatus {
    return this.#walk(SCRUB);
  }

  resilverStatus(): WalkStatus {
    return this.#walk(RESILVER);
  }

  rebalanceStatus(): WalkStatus {
    return this.#walk(REBALANCE);
  }

  #walk(kind: number): WalkStatus {
    const walk = this.#native.walkInfo(kind);
    const at = (seconds: number) => (seconds > 0 ? new Date(seconds * 1000) : null);
    return {
      state: WALK_STATES[walk?.state ?? 0] ?? 'None',
      startedAt: at(walk?.startedS ?? 0),
      endedAt: at(walk?.endedS ?? 0),
      doneBlocks: walk?.doneBlocks ?? 0,
      totalBlocks: walk?.totalBlocks ?? 0,
      healedBlocks: walk?.healedBlocks ?? 0,
      damagedBlocks: walk?.damagedBlocks ?? 0,
      secondsLeft: walk != null && walk.secondsLeft > 0 ? walk.secondsLeft : null,
    };
  }

  damage(): readonly DamagedBlock[] {
    return this.#native.damage();
  }

  async add(sides: readonly NewDevice[]): Promise<void> {
    if (sides.length < 1 || sides.length > 3) {
      throw new StoreError(
        'STORE_INVALID',
        'a vdev has one device, or the two or three of a mirror',
      );
    }
    const media: unknown[] = [];
    for (const side of sides) media.push(await prepare(side));
    await this.#call(`adding ${sides.map((side) => side.path).join(', ')}`, (controlId) =>
      this.#native.addVdev(controlId, media),
    );
  }

  async attach(besideId: string, device: NewDevice): Promise<void> {
    await this.#join(besideId, device, false);
  }

  async replace(id: string, device: NewDevice): Promise<void> {
    await this.#join(id, device, true);
  }

  async #join(id: string, device: NewDevice, replaces: boolean): Promise<void> {
    const beside = this.#find(id);
    const medium = await prepare({ sizeBytes: beside.sizeBlocks * 4096, ...device });
    const doing = replaces
      ? `replacing ${beside.path} by ${device.path}`
      : `attaching ${device.path} to ${beside.path}`;
    await this.#call(doing, (controlId) =>
      this.#native.attachDevice(controlId, uuidToBytes(id), [medium], replaces),
    );
  }

  async detach(id: string): Promise<void> {
    const { path } = this.#find(id);
    await this.#call(`detaching ${path}`, (controlId) =>
      this.#native.detachDevice(controlId, uuidToBytes(id)),
    );
  }

  async offline(id: string): Promise<void> {
    const { path } = this.#find(id);
    await this.#call(`taking ${path} offline`, (controlId) =>
      this.#native.offlineDevice(controlId, uuidToBytes(id)),
    );
  }

  async online(id: string, path?: string): Promise<void> {
    const device = this.#find(id);
    const media: unknown[] = [];
    let sequence = 0;
    if (path !== undefined || device.deviceBlocks === 0) {
      const place = path ?? device.path;
      const found = await openDevice(place);
      if (uuidText(found.poolId) !== this.#poolId || uuidText(found.deviceId) !== id) {
        throw new StoreError(
          'STORE_FOREIGN_DEVICE',
          `${place} is another device; to put it in the place of ${device.path}, replace that`,
        );
      }
      media.push(found.medium);
      sequence = found.sequence;
    }
    await this.#call(`bringing ${device.path} online`, (controlId) =>
      this.#native.onlineDevice(controlId, uuidToBytes(id), media, sequence),
    );
  }

  async grow(): Promise<void> {
    await this.#call('growing', (controlId) => this.#native.growDevices(controlId));
  }

  async setGrowthLimit(percent: number): Promise<void> {
    if (!Number.isInteger(percent) || percent < 1 || percent > 100) {
      throw new StoreError('STORE_INVALID', `a limit is 1 to 100 percent, not ${percent}`);
    }
    await this.#call('setting the limit', (controlId) =>
      this.#native.setGrowthLimit(controlId, percent),
    );
  }

  async startScrub(): Promise<void> {
    await this.#call('starting a scrub', (controlId) => this.#native.startScrub(controlId));
  }

  async pauseScrub(): Promise<void> {
    await this.#call('pausing the scrub', (controlId) => this.#native.stopScrub(controlId, false));
  }

  async cancelScrub(): Promise<void> {
    await this.#call('ending the scrub', (controlId) => this.#native.stopScrub(controlId, true));
  }

  async startRebalance(): Promise<void> {
    await this.#call('starting to rebalance', (controlId) =>
      this.#native.startRebalance(controlId),
    );
  }

  async pauseRebalance(): Promise<void> {
    await this.#call('pausing the rebalance', (controlId) =>
      this.#native.stopRebalance(controlId, false),
    );
  }

  async cancelRebalance(): Promise<void> {
    await this.#call('ending the rebalance', (controlId) =>
      this.#native.stopRebalance(controlId, true),
    );
  }

  setWalkRate(bytesPerSecond: number): void {
    this.#native.setWalkRate(bytesPerSecond);
  }

  #find(id: string): PoolDevice {
    const device = this.list().find((each) => each.id === id);
    if (device === undefined) {
      throw new StoreError('STORE_NOT_FOUND', `the pool has no device ${id}`);
    }
    return device;
  }
}

async function prepare(device: NewDevice): Promise<unknown> {
  const { path, sizeBytes = 0, sparse = false, force = false } = device;
  try {
    const id = Uint8Array.from(randomBytes(16));
    id[6] = (id[6]! & 0x0f) | 0x40; // RFC 9562 §5.4.
    id[8] = (id[8]! & 0x3f) | 0x80;
    return await native().prepareDevice({ path, sizeBytes, sparse, force, id });
  } catch (error) {
    throw asStoreError(error);
  }
}

async function openDevice(path: string) {
  try {
    return await native().openDevice({ path });
  } catch (error) {
    throw asStoreError(error);
  }
}
