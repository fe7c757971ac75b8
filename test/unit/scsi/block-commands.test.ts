// READ, WRITE and their kin against a memory disk: what is written is read, and what is refused says why.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import { cdb, cdb10, cdb16, Harness, MIB, ScsiStatus } from './harness.ts';

const BLOCKS = (8 * MIB) / 512;

function pattern(bytes: number, seed: number): Buffer {
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 1) data[at] = (at * 31 + seed * 7 + (at >> 8)) & 0xff;
  return data;
}

function cdb12(opcode: number, lba: number, blocks: number, byte1 = 0): Buffer {
  const all = cdb(opcode, byte1);
  all.writeUInt32BE(lba, 2);
  all.writeUInt32BE(blocks, 6);
  return all;
}

describe('READ and WRITE', () => {
  it('move the same bytes in every CDB form', () => {
    const harness = new Harness();
    const data = pattern(4 * 512, 1);
    harness.good(cdb(0x0a, 0, 0, 8, 4), { data });
    assert.deepEqual(harness.good(cdb(0x08, 0, 0, 8, 4)), data);
    harness.good(cdb10(0x2a, 100, 4), { data });
    assert.deepEqual(harness.good(cdb10(0x28, 100, 4)), data);
    harness.good(cdb12(0xaa, 200, 4), { data });
    assert.deepEqual(harness.good(cdb12(0xa8, 200, 4)), data);
    harness.good(cdb16(0x8a, 300, 4), { data });
    assert.deepEqual(harness.good(cdb16(0x88, 300, 4)), data);
  });

  it('take 256 blocks for a zero length in the 6-byte form, and nothing in the others', () => {
    const harness = new Harness();
    assert.equal(harness.good(cdb(0x08, 0, 0, 0, 0)).length, 256 * 512);
    assert.equal(harness.good(cdb10(0x28, 0, 0)).length, 0);
    assert.equal(harness.good(cdb16(0x88, BLOCKS - 1, 0)).length, 0);
  });

  it('refuse any range that leaves the medium, up to 2^64', () => {
    const harness = new Harness();
    for (const lba of [BLOCKS, 2 ** 32, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      harness.refused(cdb16(0x88, lba, 0), 5, 0x2100);
      harness.refused(cdb16(0x8a, lba, 1), 5, 0x2100, { data: Buffer.alloc(512) });
    }
    harness.refused(cdb10(0x28, BLOCKS - 1, 2), 5, 0x2100);
    harness.refused(cdb16(0x88, 0, 0xffff_ffff), 5, 0x2100);
    harness.good(cdb10(0x28, BLOCKS - 1, 1));
  });

  it('refuse more than the maximum transfer length, pointing at it', () => {
    const harness = new Harness({ bytes: 16 * MIB });
    const blocks = (4 * MIB) / 512;
    assert.equal(harness.good(cdb16(0x88, 0, blocks)).length, 4 * MIB);
    harness.refused(cdb16(0x88, 0, blocks + 1), 5, 0x2400, { field: [10, null] });
    harness.refused(cdb10(0x28, 0, blocks + 1), 5, 0x2400, { field: [7, null] });
    harness.refused(cdb12(0xaa, 0, blocks + 1), 5, 0x2400, {
      field: [6, null],
      data: Buffer.alloc(1),
    });
  });

  it('refuse protection information and NACA', () => {
    const harness = new Harness();
    harness.refused(cdb10(0x28, 0, 1, 0x20), 5, 0x2400, { field: [1, 7] });
    const naca = cdb10(0x28, 0, 1);
    naca[9] = 0x04;
    harness.refused(naca, 5, 0x2400, { field: [9, 2] });
  });

  it('make FUA durable, and let a FUA read see what is cached', () => {
    const harness = new Harness();
    harness.good(cdb10(0x2a, 0, 1), { data: pattern(512, 1) });
    assert.equal(harness.device.flushes, 0);
    harness.good(cdb10(0x2a, 0, 1, 0x08), { data: pattern(512, 2) });
    assert.equal(harness.device.flushes, 1);
    assert.deepEqual(harness.good(cdb10(0x28, 0, 1, 0x18)), pattern(512, 2));
    assert.equal(harness.device.flushes, 2);
  });

  it('write the whole blocks that a short transport brought, and no part of one', () => {
    const harness = new Harness();
    harness.write(0, Buffer.alloc(1024, 0x61));
    harness.good(cdb10(0x2a, 0, 2), { data: Buffer.alloc(512, 0x62) });
    assert.deepEqual(
      harness.read(0, 2),
      Buffer.concat([Buffer.alloc(512, 0x62), Buffer.alloc(512, 0x61)]),
    );
    harness.refused(cdb10(0x2a, 0, 1), 5, 0x0e03, { data: Buffer.alloc(200) });
    harness.good(cdb10(0x2a, 0, 1));
    harness.refused(cdb10(0x2a, 0, 1), 5, 0x0e03, { writes: false });
    assert.equal(harness.read(0, 1)[0], 0x62);
  });

  it('translate how the device failed', () => {
    const harness = new Harness();
    const fail = (status: IoStatus, kind: BlockOpKind, lba: number | null = null): void => {
      harness.device.failures.push({ status, kind, lba });
    };
    fail(IoStatus.Damaged, BlockOpKind.Read, 0x1234);
    const damaged = harness.refused(cdb10(0x28, 0x1230, 8), 3, 0x1100);
    assert.equal(damaged.sense[0], 0xf0);
    assert.equal(damaged.sense.readUInt32BE(3), 0x1234);
    fail(IoStatus.NoSpace, BlockOpKind.Write);
    harness.refused(cdb10(0x2a, 0, 1), 7, 0x2707, { data: Buffer.alloc(512) });
    fail(IoStatus.IoError, BlockOpKind.Write);
    harness.refused(cdb10(0x2a, 0, 1), 4, 0x4400, { data: Buffer.alloc(512) });
    fail(IoStatus.ReadOnly, BlockOpKind.Unmap);
    harness.refused(cdb16(0x93, 0, 1, 0x09), 7, 0x2700);
    fail(IoStatus.Busy, BlockOpKind.Read);
    assert.equal(harness.run(cdb10(0x28, 0, 1)).status, ScsiStatus.TaskSetFull);
    fail(IoStatus.IoError, BlockOpKind.Flush);
    harness.refused(cdb10(0x35, 0, 0), 4, 0x4400);
  });

  it('refuse to write on a read-only medium before asking for data', () => {
    const harness = new Harness({ readOnly: true });
    for (const bytes of [
      cdb10(0x2a, 0, 1),
      cdb16(0x8b, 0, 1),
      cdb(0x42, 0, 0, 0, 0, 0, 0, 0, 24),
    ]) {
      const pending = harness.start(bytes, { data: Buffer.alloc(512) });
      assert.equal(pending.task.dataOutWantedBytes, 0);
      assert.equal(pending.outcome?.code, 0x2700);
    }
    harness.good(cdb10(0x28, 0, 1));
  });

  it('wait for a data buffer rather than fail, in order of arrival', async () => {
    const harness = new Harness({ bytes: 16 * MIB }, { arenaBytes: 4 * MIB });
    const big = harness.pool.allocate(4 * MIB);
    assert(big !== null);
    const first = harness.start(cdb10(0x28, 0, 8192));
    const second = harness.start(cdb10(0x28, 0, 1));
    assert.equal(first.outcome, null);
    assert.equal(second.outcome, null);
    const doomed = harness.start(cdb10(0x28, 0, 1), { tag: 77 });
    harness.manage(1, { tag: 77 });
    assert.equal(doomed.outcome!.aborted, true);
    big.release();
    for (let turns = 0; turns < 8; turns += 1) await Promise.resolve();
    assert.equal(first.outcome!.data.length, 4 * MIB);
    assert.equal(second.outcome!.data.length, 512);
    assert.equal(harness.pool.freeBytes, 4 * MIB);
  });
});

describe('VERIFY and WRITE AND VERIFY', () => {
  it('compare all, one, or nothing', () => {
    const harness = new Harness();
    const data = pattern(1024, 3);
    harness.write(10, data);
    for (const [opcode, form] of [
      [0x2f, cdb10],
      [0xaf, cdb12],
      [0x8f, cdb16],
    ] as const) {
      harness.good(form(opcode, 10, 2));
      harness.good(form(opcode, 10, 2, 0x02), { data });
      const wrong = Buffer.from(data);
      wrong[700]! ^= 1;
      harness.refused(form(opcode, 10, 2, 0x02), 0xe, 0x1d00, { data: wrong });
      harness.refused(form(opcode, 10, 2, 0x04), 5, 0x2400, { data, field: [1, 2] });
      harness.refused(form(opcode, 10, 2, 0x06), 0xe, 0x1d00, { data: data.subarray(0, 512) });
      harness.good(form(opcode, 5000, 200, 0x06), { data: Buffer.alloc(512) });
      harness.good(form(opcode, 10, 0, 0x02));
    }
  });

  it('write, then read back', () => {
    const harness = new Harness();
    const data = pattern(1024, 4);
    harness.good(cdb10(0x2e, 0, 2), { data });
    harness.good(cdb12(0xae, 10, 2, 0x02), { data });
    harness.good(cdb16(0x8e, 20, 2, 0x02), { data });
    for (const lba of [0, 10, 20]) assert.deepEqual(harness.read(lba, 2), data);
    harness.refused(cdb10(0x2e, 0, 2, 0x04), 5, 0x2400, { data, field: [1, 2] });
    harness.device.failures.push({ status: IoStatus.Damaged, kind: BlockOpKind.Verify, lba: 1 });
    const damaged = harness.refused(cdb10(0x2e, 0, 2), 3, 0x1100, { data });
    assert.equal(damaged.sense.readUInt32BE(3), 1);
  });
});

describe('COMPARE AND WRITE and ORWRITE', () => {
  const caw = (lba: number, blocks: number): Buffer => {
    const bytes = cdb16(0x89, lba, 0);
    bytes[13] = blocks;
    return bytes;
  };

  it('replaces what is equal', () => {
    const harness = new Harness();
    const before = pattern(1024, 1);
    const after = pattern(1024, 2);
    harness.write(3, before);
    harness.good(caw(3, 2), { data: Buffer.concat([before, after]) });
    assert.deepEqual(harness.read(3, 2), after);
  });

  it('says at which byte it differs, and writes nothing', () => {
    const harness = new Harness();
    harness.write(3, Buffer.alloc(1024, 0x41));
    const compare = Buffer.alloc(1024, 0x41);
    compare[997] = 0x43;
    const data = Buffer.concat([compare, Buffer.alloc(1024, 0x42)]);
    const { sense } = harness.refused(caw(3, 2), 0xe, 0x1d00, { data });
    assert.equal(sense[0], 0xf0);
    assert.equal(sense.readUInt32BE(3), 997);
    assert.deepEqual(harness.read(3, 2), Buffer.alloc(1024, 0x41));
  });

  it('is limited to a physical block, and wants exactly its data', () => {
    const harness = new Harness();
    harness.refused(caw(0, 9), 5, 0x2400, { field: [13, null], data: Buffer.alloc(18 * 512) });
    harness.refused(caw(0, 1), 5, 0x2400, { field: [13, null], data: Buffer.alloc(4 * 512) });
    harness.refused(caw(0, 3), 5, 0x2400, { field: [13, null], data: Buffer.alloc(4 * 512) });
    harness.refused(caw(0, 0), 5, 0x2400, { field: [13, null], data: Buffer.alloc(4 * 512) });
    harness.good(caw(0, 0));
    harness.refused(caw(BLOCKS, 1), 5, 0x2100, { data: Buffer.alloc(1024) });
  });

  it('ORs', () => {
    const harness = new Harness();
    harness.write(0, Buffer.alloc(512, 0xa0));
    harness.good(cdb16(0x8b, 0, 1), { data: Buffer.alloc(512, 0x05) });
    assert.deepEqual(harness.read(0, 1), Buffer.alloc(512, 0xa5));
  });
});

describe('WRITE ATOMIC(16)', () => {
  const atomic = (lba: number, blocks: number, boundary = 0): Buffer => {
    const bytes = cdb16(0x9c, lba, 0);
    bytes.writeUInt16BE(boundary, 10);
    bytes.writeUInt16BE(blocks, 12);
    return bytes;
  };

  it('writes one aligned physical block', () => {
    const harness = new Harness();
    const data = pattern(4096, 1);
    harness.good(atomic(16, 8), { data });
    assert.deepEqual(harness.read(16, 8), data);
    harness.good(atomic(16, 0));
  });

  it('goes down as one operation that is marked, up to what the block limits page says', () => {
    const harness = new Harness();
    const seen: [blocks: number, atomic: boolean][] = [];
    const submit = harness.device.submit.bind(harness.device);
    harness.device.submit = (op) => {
      seen.push([op.blocks, op.atomic]);
      submit(op);
    };
    const limits = harness.good(cdb(0x12, 1, 0xb0, 0, 64), { expectedBytes: 64 });
    const blocks = limits.readUInt32BE(44);
    assert.equal(blocks, MIB / 512);
    const data = pattern(blocks * 512, 2);
    harness.good(atomic(8, blocks), { data });
    harness.good(cdb16(0x8a, 0, 8), { data: pattern(4096, 3) });
    assert.deepEqual(seen, [
      [blocks, true],
      [8, false],
    ]);
    assert.deepEqual(harness.read(8, blocks), data);
  });

  it('refuses what it could tear', () => {
    const harness = new Harness();
    harness.refused(atomic(1, 8), 5, 0x2400, { field: [2, null], data: Buffer.alloc(4096) });
    harness.refused(atomic(0, 1), 5, 0x2400, { field: [12, null], data: Buffer.alloc(512) });
    harness.refused(atomic(0, 4096), 5, 0x2400, { field: [12, null], data: Buffer.alloc(2 * MIB) });
    harness.refused(atomic(0, 8, 8), 5, 0x2400, { field: [10, null], data: Buffer.alloc(4096) });
  });
});

describe('WRITE SAME', () => {
  it('fills a range with one block, across chunks', () => {
    const harness = new Harness();
    const block = pattern(512, 9);
    harness.good(cdb16(0x93, 5, 5000), { data: block });
    for (const lba of [5, 2052, 2053, 5004]) assert.deepEqual(harness.read(lba, 1), block);
    assert.deepEqual(harness.read(4, 1), Buffer.alloc(512));
    assert.deepEqual(harness.read(5005, 1), Buffer.alloc(512));
    harness.good(cdb10(0x41, 0, 3), { data: block });
    assert.deepEqual(harness.read(2, 1), block);
  });

  it('unmaps where that reads as asked, else writes', () => {
    const harness = new Harness();
    harness.write(0, pattern(8192, 1));
    harness.good(cdb16(0x93, 0, 8, 0x08), { data: Buffer.alloc(512) });
    assert.deepEqual(harness.read(0, 8), Buffer.alloc(4096));
    harness.good(cdb10(0x41, 8, 8, 0x08), { data: pattern(512, 5) });
    assert.deepEqual(harness.read(15, 1), pattern(512, 5));
    const extents = harness.good(cdb16(0x9e, 0, 64, 0x12));
    assert.equal(extents[8 + 12], 1);
    assert.equal(extents[8 + 16 + 12], 0);
  });

  it('writes zeros without a data-out buffer', () => {
    const harness = new Harness();
    harness.write(0, pattern(1024, 1));
    harness.good(cdb16(0x93, 0, 1, 0x01));
    assert.deepEqual(harness.read(0, 1), Buffer.alloc(512));
    assert.notDeepEqual(harness.read(1, 1), Buffer.alloc(512));
    harness.refused(cdb10(0x41, 0, 1, 0x01), 5, 0x2400, { field: [1, 0] });
  });

  it('refuses zero blocks, too many, anchors, and the wrong amount of data', () => {
    const harness = new Harness({ bytes: 32 * MIB });
    const data = Buffer.alloc(512);
    harness.refused(cdb16(0x93, 0, 0), 5, 0x2400, { field: [10, null], data });
    harness.refused(cdb10(0x41, 0, 0), 5, 0x2400, { field: [7, null], data });
    harness.refused(cdb16(0x93, 0, 32769), 5, 0x2400, { field: [10, null], data });
    harness.refused(cdb16(0x93, 0, 1, 0x18), 5, 0x2400, { field: [1, 4], data });
    harness.refused(cdb16(0x93, 0, 1), 5, 0x0e03, { data: Buffer.alloc(256) });
    harness.refused(cdb16(0x93, 0, 1), 5, 0x0e03, { data: Buffer.alloc(1024) });
  });
});

describe('UNMAP and GET LBA STATUS', () => {
  const list = (...runs: [number | bigint, number][]): Buffer => {
    const bytes = Buffer.alloc(8 + 16 * runs.length);
    bytes.writeUInt16BE(bytes.length - 2, 0);
    bytes.writeUInt16BE(bytes.length - 8, 2);
    for (const [index, [lba, blocks]] of runs.entries()) {
      bytes.writeBigUInt64BE(BigInt(lba), 8 + 16 * index);
      bytes.writeUInt32BE(blocks, 16 + 16 * index);
    }
    return bytes;
  };
  const unmap = (bytes: number): Buffer => {
    const all = cdb(0x42);
    all.writeUInt16BE(bytes, 7);
    return all;
  };

  it('unmaps what the list names, and tells of it', () => {
    const harness = new Harness();
    harness.write(0, pattern(64 * 512, 1));
    const data = list([8, 8], [3, 0], [32, 16]);
    harness.good(unmap(data.length), { data });
    const status = harness.good(cdb16(0x9e, 0, 4096, 0x12));
    const runs: number[][] = [];
    for (let at = 8; at < status.length; at += 16) {
      runs.push([
        Number(status.readBigUInt64BE(at)),
        status.readUInt32BE(at + 8),
        status[at + 12]!,
      ]);
    }
    assert.equal(status.readUInt32BE(0), status.length - 4);
    assert.deepEqual(runs.slice(0, 5), [
      [0, 8, 0],
      [8, 8, 1],
      [16, 16, 0],
      [32, 16, 1],
      [48, 16, 0],
    ]);
    assert.deepEqual(harness.read(8, 8), Buffer.alloc(4096));
    assert.equal(harness.good(cdb16(0x9e, 20, 24, 0x12)).length, 24);
  });

  it('does nothing when any descriptor is wrong', () => {
    const harness = new Harness();
    harness.write(0, pattern(4096, 1));
    for (const data of [list([0, 8], [BLOCKS, 1]), list([0, 8], [2n ** 64n - 1n, 1])]) {
      harness.refused(unmap(data.length), 5, 0x2100, { data });
    }
    assert.deepEqual(harness.read(0, 8), pattern(4096, 1));
    const many = list(...Array.from({ length: 257 }, (): [number, number] => [0, 0]));
    harness.refused(unmap(many.length), 5, 0x2600, { data: many, field: [2, null] });
  });

  it('limits the sum of blocks, and points at the descriptor', () => {
    const harness = new Harness({ bytes: 520 * MIB });
    const data = list([0, 1024 * 1024], [0, 1]);
    harness.refused(unmap(data.length), 5, 0x2600, { data, field: [32, null] });
  });

  it('takes an empty list, ignores a part of a descriptor, and refuses a part of a header', () => {
    const harness = new Harness();
    harness.good(unmap(0));
    harness.good(unmap(8), { data: list() });
    harness.good(unmap(20), { data: list([0, 1]).subarray(0, 20) });
    harness.refused(unmap(7), 5, 0x1a00, { data: Buffer.alloc(7) });
    harness.good(unmap(24), { data: list([BLOCKS, 0]) });
    const anchored = unmap(24);
    anchored[1] = 1;
    harness.refused(anchored, 5, 0x2400, { field: [1, 0], data: list([0, 1]) });
  });

  it('refuses a status beyond the end', () => {
    const harness = new Harness();
    harness.refused(cdb16(0x9e, BLOCKS, 24, 0x12), 5, 0x2100);
    harness.refused(cdb16(0x9e, 2n ** 64n - 1n, 24, 0x12), 5, 0x2100);
  });
});

describe('capacity and cache', () => {
  it('reports 512-byte blocks on 4096-byte ones, and plain 4096-byte ones', () => {
    const small = new Harness().good(cdb16(0x9e, 0, 32, 0x10));
    assert.equal(small.readBigUInt64BE(0), BigInt(BLOCKS - 1));
    assert.equal(small.readUInt32BE(8), 512);
    assert.equal(small[13], 3);
    assert.equal(small.readUInt16BE(14), 0xc000);
    const large = new Harness({ logicalBlockBytes: 4096 });
    assert.equal(large.good(cdb16(0x9e, 0, 32, 0x10))[13], 0);
    assert.equal(large.good(cdb(0x25)).readUInt32BE(0), 2047);
    assert.equal(large.good(cdb(0x25)).readUInt32BE(4), 4096);
    assert.equal(large.good(cdb16(0x9e, 0, 12, 0x10)).length, 12);
  });

  it('tells every nexus of growth', () => {
    const harness = new Harness();
    harness.device.grow(16 * MIB);
    for (const nexus of [harness.nexus, harness.other]) {
      harness.refused(cdb(0), 6, 0x2a09, { nexus });
      harness.good(cdb(0), { nexus });
    }
    harness.good(cdb10(0x28, BLOCKS, 1));
  });

  it('synchronizes and pre-fetches within the medium only', () => {
    const harness = new Harness();
    harness.good(cdb10(0x35, 0, 0));
    harness.good(cdb16(0x91, 5, 10, 0x02));
    assert.equal(harness.device.flushes, 2);
    harness.refused(cdb10(0x35, BLOCKS, 1), 5, 0x2100);
    harness.good(cdb10(0x34, 0, 16));
    harness.refused(cdb16(0x90, BLOCKS - 1, 2), 5, 0x2100);
  });

  it('lists no defects', () => {
    const harness = new Harness();
    assert.deepEqual([...harness.good(cdb(0x37, 0, 0x0d, 0, 0, 0, 0, 0, 32))], [0, 0x0d, 0, 0]);
    const twelve = cdb(0xb7, 0x0d);
    twelve.writeUInt32BE(32, 6);
    assert.equal(harness.good(twelve).length, 8);
  });
});
