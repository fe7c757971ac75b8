// Memory for Data-Out and for reads when there is little: whoever waits gets on in the end, whatever the others hold.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextLoop } from 'node:timers/promises';
import { type DataBuffer, MAX_BUFFER_BYTES, MemoryDevice } from '../../../src/block/index.ts';
import { Opcode, r2t, scsiResponse } from '../../../src/iscsi/pdu/index.ts';
import { TaskAttribute, TaskManagement } from '../../../src/scsi/index.ts';
import { type Answer, type Initiator, pattern, World } from './support/initiator.ts';

const MIB = 1024 * 1024;
const ARENA_BYTES = 8 * MAX_BUFFER_BYTES;
const BLOCKS = MAX_BUFFER_BYTES / 512;

/** A world with the real device server, whose arena has a reserve; its hosts have heard their unit attentions. */
function aWorld(): World {
  const device = new MemoryDevice({ bytes: 64 * MIB, logicalBlockBytes: 512 });
  return new World({ device, arenaBytes: ARENA_BYTES });
}

function aHost(world: World, isid = '000000000001'): Initiator {
  const host = world.login({ FirstBurstLength: '65536', MaxBurstLength: '1048576' }, isid);
  host.command({ cdb: Buffer.alloc(16) });
  host.take();
  return host;
}

/** All of the arena but its reserve, in the smallest pieces or the largest. */
function takeAll(world: World, pieceBytes: number): DataBuffer[] {
  const taken: DataBuffer[] = [];
  for (;;) {
    const buffer = world.pool.allocate(pieceBytes);
    if (buffer === null) return taken;
    taken.push(buffer);
  }
}

/** Answers all R2Ts until there are none, and returns what else came. */
async function feed(host: Initiator): Promise<Answer[]> {
  const others: Answer[] = [];
  for (let idle = 0; idle < 5; ) {
    await nextLoop();
    const answers = host.take();
    idle = answers.length > 0 ? 0 : idle + 1;
    for (const { opcode, bhs, data } of answers) {
      if (opcode !== Opcode.R2t) {
        others.push({ opcode, bhs, data });
        continue;
      }
      const bytes = bhs.readUInt32BE(44);
      const itt = bhs.readUInt32BE(16);
      const bufferOffset = bhs.readUInt32BE(40);
      for (let at = 0; at < bytes; at += 65536) {
        const part = pattern(Math.min(65536, bytes - at));
        const final = at + part.length === bytes;
        const place = { itt, ttt: r2t.ttt(bhs, 0), bufferOffset: bufferOffset + at };
        host.dataOut(part, { ...place, dataSn: at / 65536, final });
      }
    }
  }
  return others;
}

function statuses(answers: readonly Answer[]): number[] {
  return answers.map(({ bhs }) => scsiResponse.status(bhs, 0));
}

test('a write that is the first of its task set gets on when those behind it hold the whole arena', async () => {
  const world = aWorld();
  const host = aHost(world);
  const taken = takeAll(world, MAX_BUFFER_BYTES);
  const first = taken.pop()!;
  first.release();
  // What follows an ORDERED write cannot begin before it, however complete its data are.
  host.write(0, BLOCKS, { attribute: TaskAttribute.Ordered });
  const [answer] = host.take();
  assert.equal(answer?.opcode, Opcode.R2t);
  // Another one: there is no memory for it but the reserve, and nothing will come free.
  const other = aHost(world, '000000000002');
  const itt = other.write(8192, BLOCKS, { attribute: TaskAttribute.Ordered });
  const done = await feed(other);
  assert.deepEqual(statuses(done), [0]);
  assert.equal(done[0]!.bhs.readUInt32BE(16), itt);
  for (const buffer of taken) buffer.release();
  host.cut();
  other.cut();
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});

test('the writes of a session that wait behind an ORDERED one never keep it from its memory', async () => {
  const world = aWorld();
  const host = aHost(world);
  const keep = takeAll(world, MAX_BUFFER_BYTES);
  // The ORDERED write finds nothing; what comes after it finds all of the session's share, and more.
  host.write(0, BLOCKS, { attribute: TaskAttribute.Ordered });
  for (let index = 0; index < 100; index += 1) host.write((index % 60) * 2048, 2048);
  for (const buffer of keep) buffer.release();
  const done = await feed(host);
  assert.deepEqual(statuses(done), new Array(101).fill(0));
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});

test('HEAD OF QUEUE does not get before a write that has the reserve', async () => {
  const world = aWorld();
  const host = aHost(world);
  const taken = takeAll(world, MAX_BUFFER_BYTES);
  const write = host.write(0, BLOCKS);
  const [asked] = host.take();
  assert.equal(asked?.opcode, Opcode.R2t, 'it has the reserve');
  // It would hold up the write, and wait for what the write has.
  host.write(0, BLOCKS, { attribute: TaskAttribute.HeadOfQueue });
  assert.deepEqual(host.take(), []);
  for (let at = 0; at < MIB; at += 65536) {
    const place = { itt: write, ttt: r2t.ttt(asked.bhs, 0), bufferOffset: at };
    host.dataOut(pattern(65536), { ...place, dataSn: at / 65536, final: at + 65536 === MIB });
  }
  assert.deepEqual(statuses(await feed(host)), [0, 0]);
  for (const buffer of taken) buffer.release();
});

test('a large read gets on though small buffers keep the arena in pieces', async () => {
  const world = aWorld();
  const host = aHost(world);
  const pieces = takeAll(world, 4096);
  // Every second one comes back: plenty of memory, no two pages of it together.
  const kept = pieces.filter((buffer, index) => {
    if (index % 2 === 0) buffer.release();
    return index % 2 !== 0;
  });
  host.read(0, BLOCKS);
  host.read(0, BLOCKS);
  await nextLoop();
  const answers = host.take();
  assert.equal(
    answers.reduce((sum, { data }) => sum + data.length, 0),
    2 * MAX_BUFFER_BYTES,
  );
  for (const buffer of kept) buffer.release();
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});

test('a host that takes nothing of what it reads leaves the arena to the others', async () => {
  const world = aWorld();
  const stuck = aHost(world);
  const other = aHost(world, '000000000002');
  stuck.transport.stalled = true;
  world.turn.enter();
  for (let index = 0; index < 64; index += 1) stuck.read(0, 2048);
  world.turn.leave();
  for (let index = 0; index < 8; index += 1) {
    other.read(index * 2048, 2048);
    await nextLoop();
    assert.equal(other.take().at(-1)?.opcode, Opcode.DataIn, `read ${index} gets on`);
  }
  other.write(0, 2048);
  assert.deepEqual(statuses(await feed(other)), [0]);
  // It misses nothing when it reads again.
  let bytes = 0;
  for (let turns = 0; turns < 500 && bytes < 64 * MIB; turns += 1) {
    world.run(() => stuck.transport.drain());
    for (const { data } of stuck.take()) bytes += data.length;
    await nextLoop();
  }
  assert.equal(bytes, 64 * MIB);
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});

test('READs that wait for the answers before them are aborted as others are', async () => {
  const world = aWorld();
  const host = aHost(world);
  host.transport.stalled = true;
  world.turn.enter();
  for (let index = 0; index < 64; index += 1) host.read(0, 2048);
  world.turn.leave();
  const other = aHost(world, '000000000002');
  other.manage({ function: TaskManagement.LogicalUnitReset });
  other.one(Opcode.TaskManagementResponse);
  for (let turns = 0; turns < 100; turns += 1) {
    world.run(() => host.transport.drain());
    host.take();
    await nextLoop();
  }
  assert.equal(world.server.sessions()[0]!.outstanding, 0);
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});

test('a write whose data stop coming is given up, and others are not', async () => {
  const world = aWorld();
  const host = aHost(world);
  const stuck = host.write(0, 2048);
  const slow = host.write(4096, 2048);
  const asked = host.take();
  const slowTtt = r2t.ttt(asked[1]!.bhs, 0);
  for (let minute = 0; minute < 4; minute += 1) {
    for (let second = 0; second < 30; second += 1) {
      host.ping();
      world.clock.advance(1000);
    }
    const at = minute * 65536;
    host.dataOut(pattern(65536), {
      ...{ itt: slow, ttt: slowTtt, bufferOffset: at, dataSn: minute, final: false },
    });
  }
  const failed = host.take().filter(({ opcode }) => opcode === Opcode.ScsiResponse);
  assert.deepEqual(
    failed.map(({ bhs, data }) => [bhs.readUInt32BE(16), data[4]! & 15, data[14], data[15]]),
    [[stuck, 0xb, 0x4b, 0x06]],
  );
  // Late data of it change nothing; the other is still waited for.
  const stuckTtt = r2t.ttt(asked[0]!.bhs, 0);
  host.dataOut(pattern(65536), { itt: stuck, ttt: stuckTtt, bufferOffset: 0, final: false });
  host.manage({ function: TaskManagement.QueryTask, referencedTag: slow });
  const [answer] = host.take();
  assert.equal(answer!.bhs[2], 7, 'the other write is in the task set');
  host.cut();
  assert.equal(world.pool.freeBytes, ARENA_BYTES);
});
