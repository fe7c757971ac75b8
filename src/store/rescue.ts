// What can be read of the volumes of a pool that cannot be opened to be written to, as raw images: the pool is opened for
// reading only, and not a byte of it is changed. What has no good copy is a hole in the image, and is told of.
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Turn } from '../base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type DataBuffer,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
  type MapExtent,
} from '../block/index.ts';
import { nativeArena } from './native.ts';
import { openPool } from './open.ts';
import { STORE_BLOCK_BYTES, StoreError, type StoreVolume } from './types.ts';

/** As much as one read takes. */
const READ_BLOCKS = 256;
/** Where nothing says what is mapped, it is found out by reading as far as one page of the map speaks of. */
const PAGE_BLOCKS = 128;
const EXTENTS = 1024;
/** It is read through once: little need be kept, also on a small machine. */
const CACHE_BYTES = 64 << 20;

export interface RescueOptions {
  readonly paths: readonly string[];
  /** Gets NAME.raw for each volume, with _ for each / of the name (replicas have them); none is overwritten. */
  readonly folder: string;
  /** Null: all of them. A snapshot is VOLUME@SNAPSHOT. */
  readonly volumes: readonly string[] | null;
  readonly onVolume: (rescued: RescuedVolume) => void;
  /** That volume has no image; the others are gone on with. */
  readonly onFailed: (name: string, error: Error) => void;
}

export interface RescuedVolume {
  readonly name: string;
  readonly image: string;
  readonly sizeBytes: number;
  readonly readBytes: number;
  /** By rising place: what could not be read, or what nobody knows whether it was ever written. */
  readonly lost: readonly { readonly byteOffset: number; readonly bytes: number }[];
}

/** Rejects with StoreError where the pool cannot be opened, or a volume that is named is not there. */
export async function rescueVolumes(options: RescueOptions): Promise<void> {
  const { paths, folder, volumes, onVolume, onFailed } = options;
  const buffers = new DataBufferPool(nativeArena(8 * MAX_BUFFER_BYTES));
  const pool = await openPool({
    paths,
    turn: new Turn(),
    buffers,
    cacheBytes: CACHE_BYTES,
    readOnly: true,
  });
  try {
    const names = volumes ?? pool.volumes().map(({ name }) => name);
    for (const name of names) {
      const volume = name.includes('@') ? pool.snapshot(name) : pool.volume(name);
      if (volume === null) {
        const known = pool.volumes().map((one) => one.name);
        throw new StoreError(
          'STORE_NOT_FOUND',
          `there is no ${name}; there are ${known.join(', ')}`,
        );
      }
      // A name that leads elsewhere would, too.
      const image = join(folder, `${name.replaceAll('/', '_')}.raw`);
      await rescue(volume, image, buffers).then(onVolume, (error: Error) => onFailed(name, error));
    }
  } finally {
    await pool.close();
  }
}

async function rescue(
  volume: StoreVolume,
  image: string,
  buffers: DataBufferPool,
): Promise<RescuedVolume> {
  const { sizeBlocks } = volume.info();
  const file = await open(image, 'wx', 0o600);
  const data = buffers.allocate(READ_BLOCKS * STORE_BLOCK_BYTES)!;
  const lost: { byteOffset: number; bytes: number }[] = [];
  let readBytes = 0;
  try {
    await file.truncate(sizeBlocks * STORE_BLOCK_BYTES);
    for (let lba = 0; lba < sizeBlocks; ) {
      const extents = await mapOf(volume, lba);
      // Not even what is mapped is known.
      const pageEnd = Math.min((Math.floor(lba / PAGE_BLOCKS) + 1) * PAGE_BLOCKS, sizeBlocks);
      const page: MapExtent = { lba, blocks: pageEnd - lba, mapped: true };
      for (const extent of extents ?? [page]) {
        lba = extent.lba + extent.blocks;
        if (extent.mapped) readBytes += await copy(volume, extent, { file, data, lost });
      }
    }
    await file.sync();
  } catch (error) {
    // It would be in the way of the next try.
    await unlink(image);
    throw error;
  } finally {
    data.release();
    await file.close();
  }
  return { name: volume.name, image, sizeBytes: sizeBlocks * STORE_BLOCK_BYTES, readBytes, lost };
}

interface Copying {
  readonly file: FileHandle;
  readonly data: DataBuffer;
  readonly lost: { byteOffset: number; bytes: number }[];
}

/** How many bytes of it could be read. */
async function copy(
  volume: StoreVolume,
  extent: MapExtent,
  { file, data, lost }: Copying,
): Promise<number> {
  let readBytes = 0;
  const end = extent.lba + extent.blocks;
  for (let lba = extent.lba; lba < end; ) {
    const wanted = Math.min(READ_BLOCKS, end - lba);
    const good = await read(volume, lba, wanted, data);
    // What comes before the first bad block is asked for once more, without it.
    if (good > 0 && good < wanted && (await read(volume, lba, good, data)) < good) continue;
    const bytes = good * STORE_BLOCK_BYTES;
    for (let at = 0; at < bytes; ) {
      const { bytesWritten } = await file.write(
        data.bytes,
        at,
        bytes - at,
        lba * STORE_BLOCK_BYTES + at,
      );
      at += bytesWritten;
    }
    readBytes += bytes;
    lba += good;
    if (good === wanted) continue;
    const last = lost.at(-1);
    const byteOffset = lba * STORE_BLOCK_BYTES;
    if (last !== undefined && last.byteOffset + last.bytes === byteOffset) {
      lost[lost.length - 1] = { ...last, bytes: last.bytes + STORE_BLOCK_BYTES };
    } else {
      lost.push({ byteOffset, bytes: STORE_BLOCK_BYTES });
    }
    lba += 1;
  }
  return readBytes;
}

/** The blocks before the first one without a good copy. */
function read(volume: StoreVolume, lba: number, blocks: number, data: DataBuffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const owner = {
      onBlockDone(op: BlockOp, status: IoStatus): void {
        if (status === IoStatus.Ok) resolve(blocks);
        else if (status === IoStatus.Damaged) resolve(Math.max(0, op.failedLba - lba));
        else reject(new StoreError('STORE_IO', `${volume.name} cannot be read (status ${status})`));
      },
    };
    const op = new BlockOp().begin(BlockOpKind.Read, lba, blocks, data, 0, false, owner);
    op.lower = owner;
    volume.submit(op, 0, 0);
  });
}

/** Null where a page of the map has no good copy. */
function mapOf(volume: StoreVolume, lba: number): Promise<readonly MapExtent[] | null> {
  return new Promise((resolve) => {
    volume.mapStatus(lba, EXTENTS, (status, extents) => {
      resolve(status === IoStatus.Ok && extents.length > 0 ? extents : null);
    });
  });
}
