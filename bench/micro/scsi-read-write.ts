// prepare + execute of READ(10) and WRITE(10) over a device that completes inline and moves nothing: what the device
// server itself costs a command. Run: node dist/bench/micro/scsi-read-write.js
import { Turn } from '../../src/base/index.ts';
import {
  type BlockDevice,
  type BlockOp,
  DataBufferPool,
  type Geometry,
  IoStatus,
} from '../../src/block/index.ts';
import { type Nexus, ScsiTargetDevice, ScsiTask, type TaskOwner } from '../../src/scsi/index.ts';

class NullDevice implements BlockDevice {
  readonly geometry: Geometry = {
    logicalBlockBytes: 512,
    physicalBlockBytes: 4096,
    blocks: 2 ** 31,
  };
  readonly readOnly = false;
  readonly writeCache = true;
  submit(op: BlockOp): void {
    op.owner.onBlockDone(op, IoStatus.Ok);
  }
  setWriteCache(_enabled: boolean, done: (status: IoStatus) => void): void {
    done(IoStatus.Ok);
  }
  confirmServed(done: (status: IoStatus) => void): void {
    done(IoStatus.Ok);
  }
  mapStatus(_lba: number, _most: number, done: (status: IoStatus, extents: []) => void): void {
    done(IoStatus.Ok, []);
  }
  saveMetadata(_key: string, _value: Uint8Array | null, done: (status: IoStatus) => void): void {
    done(IoStatus.Ok);
  }
  loadMetadata(): null {
    return null;
  }
  listen(): void {}
}

const COMMANDS = 2_000_000;
const pool = new DataBufferPool(new ArrayBuffer(64 * 1024 * 1024));
const target = new ScsiTargetDevice({
  name: 'iqn.2026-11.io.ashlar:bench',
  buffers: pool,
  turn: new Turn(),
});
target.addUnit(0, new NullDevice(), '00000000-0000-4000-8000-000000000001');
const nexus: Nexus = {
  initiatorName: 'iqn.2026-11.io.ashlar:host',
  initiatorPort: 'iqn.2026-11.io.ashlar:host,i,0x000000000001',
  targetPort: 'iqn.2026-11.io.ashlar:bench,t,0x0001',
  relativeTargetPort: 1,
};
target.attachNexus(nexus);
const owner: TaskOwner = { onTaskDone: (task) => task.releaseBuffers() };
const task = new ScsiTask();
const cdb = Buffer.alloc(16);

function run(opcode: number, bytes: number): number {
  cdb[0] = opcode;
  cdb.writeUInt16BE(bytes / 512, 7);
  const start = process.hrtime.bigint();
  for (let count = 0; count < COMMANDS; count += 1) {
    cdb.writeUInt32BE((count * 8) & 0xfffffff, 2);
    task.begin(nexus, owner, 0, count, cdb);
    task.writes = opcode === 0x2a;
    task.expectedBytes = bytes;
    if (!target.prepare(task)) continue;
    if (task.dataOutWantedBytes > 0) {
      task.dataOut = pool.allocate(task.dataOutWantedBytes);
      task.dataOutBytes = task.dataOutWantedBytes;
    }
    target.execute(task);
  }
  return Number(process.hrtime.bigint() - start) / COMMANDS;
}

cdb.fill(0);
target.prepare(task.begin(nexus, owner, 0, 0, cdb)); // The power-on unit attention.
for (let round = 0; round < 3; round += 1) {
  const read = run(0x28, 4096);
  const write = run(0x2a, 4096);
  console.log(`READ(10) 4 KiB ${read.toFixed(0)} ns   WRITE(10) 4 KiB ${write.toFixed(0)} ns`);
}
