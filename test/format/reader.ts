// A second reader of the on-disk format, written from docs/on-disk-format.md: it opens a pool, replays its log in memory,
// and hands out the bytes of volumes and snapshots. It never writes. It shares no code with the engine.
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { BlockMap } from './block-map.ts';
import { BLOCK, count, crcOf, text, u64, uuid } from './bytes.ts';

const ROLE = { map: 1, catalog: 2 } as const;
const LEAF_ENTRIES = 128;
const LOG_HEADER = 64;
const ENTRY_HEADER = 40;

interface Device {
  readonly file: number;
  readonly blocks: number;
}

interface Pointer {
  readonly addresses: readonly [bigint, bigint];
  readonly crc: number;
  readonly born: bigint;
  readonly maxVersion: bigint;
}

interface Superblock {
  readonly storeId: string;
  readonly generation: bigint;
  readonly logStart: bigint;
  readonly logBlocks: number;
  readonly logSequence: number;
  readonly logOpening: bigint;
  readonly predecessorCrc: number;
  readonly catalog: { readonly root: Pointer; readonly height: number };
}

export interface ReadVolume {
  readonly name: string;
  readonly id: string;
  sizeBlocks: number;
  readonly blocks: BlockMap;
  /** 1 a volume, 2 a snapshot. */
  readonly kind: number;
  /** Of a snapshot: its volume's tree id. */
  readonly headTree: bigint;
  holeFloor: bigint;
}

/** Opens the devices of a pool and reads what is there, as recovery would find it. */
export class PoolReader {
  readonly #sides = new Map<number, Device[]>();
  readonly #super: Superblock;
  /** Who used the pool last: of all labels, the newest says it. */
  owner = { id: '', name: '', sinceS: 0 };
  /** By tree id. */
  readonly volumes = new Map<bigint, ReadVolume>();
  replayed = 0;
  dropped = 0;

  constructor(paths: readonly string[]) {
    const devices = paths.map((path): Device => {
      const file = openSync(path, 'r');
      return { file, blocks: Math.floor(statSync(path).size / BLOCK) };
    });
    this.#assemble(devices);
    this.#super = this.#newestSuperblock();
    this.#readCatalog();
    this.#replay();
  }

  close(): void {
    for (const sides of this.#sides.values()) for (const { file } of sides) closeSync(file);
  }

  volume(name: string): ReadVolume | undefined {
    return [...this.volumes.values()].find((each) => each.kind === 1 && each.name === name);
  }

  snapshot(volume: string, name: string): ReadVolume | undefined {
    return [...this.volumes].find(
      ([, each]) =>
        each.kind === 2 && each.name === name && this.volumes.get(each.headTree)?.name === volume,
    )?.[1];
  }

  /** One block of a volume, its checksum compared. */
  read(volume: ReadVolume, lba: number): Buffer {
    const entry = volume.blocks.at(lba);
    if (entry.kind !== 1) return Buffer.alloc(BLOCK);
    const bytes = this.#readGood(entry.address, (block) => crcOf(block) === entry.crc);
    if (bytes === null) throw new Error(`${volume.name}: block ${lba} does not match its CRC32C`);
    return bytes;
  }

  // Labels and superblocks.

  #assemble(devices: readonly Device[]): void {
    const labels = devices.map((device) => this.#newestLabel(device));
    const truth = labels.reduce((a, b) => (u64(a, 48) >= u64(b, 48) ? a : b));
    this.owner = {
      id: uuid(truth, 144),
      name: text(truth, 168, 64),
      sinceS: Number(u64(truth, 160)),
    };
    for (let index = 0; index < truth.readUInt32LE(12); index += 1) {
      const at = 512 + index * 192;
      const state = truth.readUInt8(at + 19);
      const id = uuid(truth, at);
      const device = devices[labels.findIndex((label) => uuid(label, 32) === id)];
      if (state !== 1 || device === undefined) continue; // Only what is in sync is read.
      const vdev = truth.readUInt16LE(at + 16);
      this.#sides.set(vdev, [...(this.#sides.get(vdev) ?? []), device]);
    }
  }

  #newestLabel(device: Device): Buffer {
    let newest: Buffer | null = null;
    for (const place of [2, 6, device.blocks - 6, device.blocks - 10]) {
      const label = Buffer.alloc(4 * BLOCK);
      readSync(device.file, label, 0, label.length, place * BLOCK);
      const good =
        label.toString('latin1', 0, 8) === 'ASHLABEL' &&
        label.readUInt32LE(16380) === crcOf(label.subarray(0, 16380));
      if (good && (newest === null || u64(label, 48) > u64(newest, 48))) newest = label;
    }
    if (newest === null) throw new Error('a device without a label');
    return newest;
  }

  #newestSuperblock(): Superblock {
    let newest: Superblock | null = null;
    for (const device of [...this.#sides.values()].flat()) {
      for (const place of [0, 1, device.blocks - 2, device.blocks - 1]) {
        const block = Buffer.alloc(BLOCK);
        readSync(device.file, block, 0, BLOCK, place * BLOCK);
        const found = parseSuperblock(block);
        if (found !== null && (newest === null || found.generation > newest.generation)) {
          newest = found;
        }
      }
    }
    if (newest === null) throw new Error('no valid superblock');
    return newest;
  }

  // Blocks and pages.

  #readGood(address: bigint, good: (block: Buffer) => boolean): Buffer | null {
    const vdev = Number(address >> 48n);
    const place = Number(address & (2n ** 48n - 1n)) * BLOCK;
    for (const side of this.#sides.get(vdev) ?? []) {
      const block = Buffer.alloc(BLOCK);
      readSync(side.file, block, 0, BLOCK, place);
      if (good(block)) return block;
    }
    return null;
  }

  #page(pointer: Pointer, role: number, level: number, tree: bigint, index: number): Buffer {
    const good = (page: Buffer): boolean =>
      page.toString('latin1', 0, 4) === 'ASHP' &&
      page.readUInt8(4) === role &&
      page.readUInt8(5) === level &&
      uuid(page, 8) === this.#super.storeId &&
      u64(page, 24) === tree &&
      count(page, 32) === index &&
      u64(page, 40) === pointer.born &&
      crcOf(page) === pointer.crc;
    for (const address of pointer.addresses) {
      const page = this.#readGood(address, good);
      if (page !== null) return page;
    }
    throw new Error(`page ${index} of level ${level} of tree ${tree} is damaged`);
  }

  /** Every leaf of a tree, and every null pointer with the number of leaves below it. */
  #walk(
    role: number,
    tree: bigint,
    root: { readonly root: Pointer; readonly height: number },
    leaf: (page: Buffer, index: number) => void,
    nothing: (pointer: Pointer, firstLeaf: number, leaves: number) => void = () => undefined,
  ): void {
    const visit = (pointer: Pointer, level: number, index: number): void => {
      if (pointer.addresses.every((address) => address === 0n)) {
        nothing(pointer, index * 64 ** level, 64 ** level);
        return;
      }
      const page = this.#page(pointer, role, level, tree, index);
      if (level === 0) leaf(page, index);
      else
        for (let i = 0; i < 64; i += 1)
          visit(pointerAt(page, 64 + i * 48), level - 1, index * 64 + i);
    };
    visit(root.root, root.height, 0);
  }

  #readCatalog(): void {
    this.#walk(ROLE.catalog, 0n, this.#super.catalog, (record) => {
      const kind = record.readUInt8(64);
      const state = record.readUInt8(65);
      if (state !== 1 || (kind !== 1 && kind !== 2)) return; // Live volumes and snapshots.
      const volume: ReadVolume = {
        kind,
        name: record.toString('utf8', 256, 256 + record.readUInt16LE(66)),
        id: uuid(record, 72),
        sizeBlocks: count(record, 96),
        blocks: new BlockMap(),
        headTree: u64(record, 912),
        holeFloor: u64(record, 120),
      };
      const map = { root: pointerAt(record, 144), height: record.readUInt32LE(144 + 48) };
      this.#readMap(volume, u64(record, 920), map);
      this.volumes.set(u64(record, 88), volume);
    });
  }

  #readMap(
    { blocks }: ReadVolume,
    tree: bigint,
    map: { readonly root: Pointer; readonly height: number },
  ): void {
    const leaf = (page: Buffer, index: number): void => {
      for (let e = 0; e < LEAF_ENTRIES; e += 1) {
        const kind = page.readUInt8(3648 + e) & 15;
        if (kind === 0) continue;
        const version = u64(page, 1088 + e * 8);
        const address = u64(page, 64 + e * 8);
        const crc = page.readUInt32LE(3136 + e * 4);
        blocks.entries.set(index * LEAF_ENTRIES + e, { kind, version, address, crc });
      }
    };
    this.#walk(ROLE.map, tree, map, leaf, ({ maxVersion }, first, leaves) => {
      if (maxVersion === 0n) return;
      const lba = first * LEAF_ENTRIES;
      blocks.holes.push({ first: lba, end: lba + leaves * LEAF_ENTRIES, version: maxVersion });
    });
  }

  // The log.

  #logBlock(sequence: number): Buffer | null {
    const { logStart, logBlocks, storeId } = this.#super;
    return this.#readGood(logStart + BigInt(sequence % logBlocks), (block) => {
      if (block.toString('latin1', 0, 4) !== 'ASHL' || uuid(block, 8) !== storeId) return false;
      const crc = crcOf(block.subarray(0, 4), Buffer.alloc(4), block.subarray(8));
      return block.readUInt32LE(4) === crc && count(block, 24) === sequence;
    });
  }

  #replay(): void {
    const chain: Buffer[] = [];
    const flushed = new Map<bigint, number>();
    let predecessor = this.#super.predecessorCrc;
    let opening = this.#super.logOpening;
    for (
      let sequence = this.#super.logSequence;
      chain.length < this.#super.logBlocks;
      sequence += 1
    ) {
      const block = this.#logBlock(sequence);
      if (block === null || block.readUInt32LE(56) !== predecessor) break;
      if (u64(block, 32) < opening) break;
      opening = u64(block, 32);
      predecessor = block.readUInt32LE(4);
      flushed.set(opening, Math.max(flushed.get(opening) ?? 0, count(block, 40)));
      chain.push(block);
    }
    for (const block of chain) {
      const verify = count(block, 24) >= (flushed.get(u64(block, 32)) ?? 0);
      const end = LOG_HEADER + block.readUInt16LE(60);
      for (let at = LOG_HEADER; at < end; at += block.readUInt16LE(at + 2)) {
        this.replayed += 1;
        this.#apply(block.subarray(at, at + block.readUInt16LE(at + 2)), verify);
      }
    }
  }

  #apply(entry: Buffer, verify: boolean): void {
    const kind = entry.readUInt8(0);
    const tree = u64(entry, 8);
    const lba = count(entry, 16);
    const version = u64(entry, 24);
    const volume = this.volumes.get(tree);
    if (kind === 3) {
      const size = entry.readUInt32LE(ENTRY_HEADER + 24);
      this.volumes.set(tree, {
        kind: 1,
        id: uuid(entry, ENTRY_HEADER),
        name: text(entry, ENTRY_HEADER + 32, size),
        sizeBlocks: count(entry, 32),
        blocks: new BlockMap(),
        headTree: 0n,
        holeFloor: u64(entry, ENTRY_HEADER + 16),
      });
      return;
    }
    if (volume === undefined) return;
    switch (kind) {
      case 1:
      case 7:
        this.#applyWrite(volume, entry, kind === 7, lba, version, verify);
        break;
      case 2:
        volume.blocks.unmap(lba, count(entry, 32), version, volume.holeFloor);
        break;
      case 4:
        volume.sizeBlocks = Math.max(volume.sizeBlocks, count(entry, 32));
        break;
      case 5:
        this.volumes.delete(tree);
        break;
      case 16:
        this.#applyInstall(volume, entry, lba, version, verify);
        break;
      case 17:
        if ((entry.readUInt8(1) & 1) !== 0) volume.holeFloor = u64(entry, 32);
        break;
      case 32:
        this.#applySnapshot(tree, volume, entry);
        break;
      case 33:
        this.volumes.delete(tree);
        break;
      default:
        break; // Settings.
    }
  }

  /** Addresses of the blocks that the runs name, one each. */
  #addresses(entry: Buffer, packed: boolean): bigint[] {
    const addresses: bigint[] = [];
    for (let run = 0; run < entry.readUInt16LE(4); run += 1) {
      const at = ENTRY_HEADER + run * (packed ? 8 : 16);
      const word = u64(entry, at);
      const start = packed ? ((word >> 58n) << 48n) | (word & (2n ** 48n - 1n)) : word;
      const blocks = packed ? Number((word >> 48n) & 1023n) : entry.readUInt32LE(at + 8);
      for (let i = 0; i < blocks; i += 1) addresses.push(start + BigInt(i));
    }
    return addresses;
  }

  /** S7: data that no flush covered may be missing. */
  #isThere(addresses: readonly bigint[], crcs: readonly number[]): boolean {
    const there = addresses.every(
      (address, i) => this.#readGood(address, (block) => crcOf(block) === crcs[i]) !== null,
    );
    if (!there) this.dropped += 1;
    return there;
  }

  #applyWrite(
    volume: ReadVolume,
    entry: Buffer,
    packed: boolean,
    lba: number,
    version: bigint,
    verify: boolean,
  ): void {
    const addresses = this.#addresses(entry, packed);
    const at = ENTRY_HEADER + entry.readUInt16LE(4) * (packed ? 8 : 16);
    const crcs = addresses.map((_, i) => entry.readUInt32LE(at + i * 4));
    if (verify && !this.#isThere(addresses, crcs)) return;
    addresses.forEach((address, i) => {
      volume.blocks.write(lba + i, version, address, crcs[i]!);
    });
  }

  #applyInstall(
    volume: ReadVolume,
    entry: Buffer,
    lba: number,
    join: bigint,
    verify: boolean,
  ): void {
    const blocks = entry.readUInt16LE(6);
    const at = ENTRY_HEADER + entry.readUInt16LE(4) * 16;
    const addresses = this.#addresses(entry, false);
    const copies = Array.from({ length: blocks }, (_, i) => ({
      kind: entry.readUInt8(at + blocks * 12 + i),
      version: u64(entry, at + i * 8),
      crc: entry.readUInt32LE(at + blocks * 8 + i * 4),
      address: 0n,
    }));
    const data = copies.filter(({ kind }) => kind === 1);
    data.forEach((copy, i) => {
      copy.address = addresses[i]!;
    });
    const crcs = data.map(({ crc }) => crc);
    if (verify && !this.#isThere(addresses, crcs)) return;
    copies.forEach((copy, i) => {
      volume.blocks.install(lba + i, copy, entry.readUInt8(1), join, volume.holeFloor);
    });
  }

  #group: { tree: bigint; volume: ReadVolume; head: bigint; name: string; id: string }[] = [];

  /** A group of snapshots counts once its last entry is there. */
  #applySnapshot(head: bigint, volume: ReadVolume, entry: Buffer): void {
    const index = entry.readUInt32LE(ENTRY_HEADER + 32);
    if (index === 0) this.#group = [];
    this.#group.push({
      tree: u64(entry, ENTRY_HEADER),
      volume,
      head,
      name: text(entry, ENTRY_HEADER + 48, entry.readUInt32LE(ENTRY_HEADER + 40)),
      id: uuid(entry, ENTRY_HEADER + 16),
    });
    if (this.#group.length < entry.readUInt32LE(ENTRY_HEADER + 36)) return;
    for (const each of this.#group.splice(0)) {
      const blocks = new BlockMap();
      for (const [lba, state] of each.volume.blocks.entries) blocks.entries.set(lba, state);
      blocks.holes.push(...each.volume.blocks.holes);
      const { sizeBlocks, holeFloor } = each.volume;
      const { name, id } = each;
      this.volumes.set(each.tree, {
        kind: 2,
        name,
        id,
        sizeBlocks,
        blocks,
        headTree: each.head,
        holeFloor,
      });
    }
  }
}

function pointerAt(page: Buffer, at: number): Pointer {
  return {
    addresses: [u64(page, at), u64(page, at + 8)],
    crc: page.readUInt32LE(at + 16),
    born: u64(page, at + 24),
    maxVersion: u64(page, at + 32),
  };
}

function parseSuperblock(block: Buffer): Superblock | null {
  if (block.toString('latin1', 0, 8) !== 'ASHLARSB') return null;
  if (block.readUInt32LE(4092) !== crcOf(block.subarray(0, 4092))) return null;
  if (block.readUInt32LE(8) !== 2 || u64(block, 16) !== 0n) {
    throw new Error('a format that this reader does not know');
  }
  return {
    storeId: uuid(block, 32),
    generation: u64(block, 112),
    logStart: u64(block, 128),
    logBlocks: count(block, 136),
    logSequence: count(block, 160),
    logOpening: u64(block, 168),
    predecessorCrc: block.readUInt32LE(176),
    catalog: { root: pointerAt(block, 184), height: block.readUInt32LE(184 + 48) },
  };
}
