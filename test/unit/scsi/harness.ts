// A target with one memory disk and a transport that is not there: commands go in as CDB bytes, outcomes come out.
import assert from 'node:assert/strict';
import { Turn } from '../../../src/base/index.ts';
import {
  DataBufferPool,
  MemoryDevice,
  type MemoryDeviceOptions,
} from '../../../src/block/index.ts';
import {
  type Nexus,
  ScsiStatus,
  ScsiTargetDevice,
  type ScsiTargetOptions,
  ScsiTask,
  TaskAttribute,
  TaskManagement,
  type TaskManagementResponse,
} from '../../../src/scsi/index.ts';

export const MIB = 1024 * 1024;
export const UUID = '0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0';

/** How a task ended, and what it carried. */
export interface Outcome {
  readonly status: ScsiStatus;
  readonly aborted: boolean;
  readonly data: Buffer;
  readonly sense: Buffer;
  /** Of sense data in either format. */
  readonly key: number;
  readonly code: number;
}

export interface CommandOptions {
  readonly data?: Buffer;
  /** EDTL; default: what the command wants, or room for all that it returns. */
  readonly expectedBytes?: number;
  readonly attribute?: TaskAttribute;
  readonly lun?: number;
  readonly tag?: number;
  /** The transport's W bit; default: set. */
  readonly writes?: boolean;
}

export function aNexus(name: string): Nexus {
  return {
    initiatorName: `iqn.1993-08.org.debian:${name}`,
    initiatorPort: `iqn.1993-08.org.debian:${name},i,0x00023d000001`,
    targetPort: 'iqn.2026-11.io.ashlar:demo,t,0x0001',
    relativeTargetPort: 1,
  };
}

/** A CDB of 16 bytes from the ones that matter. */
export function cdb(...bytes: number[]): Buffer {
  const all = Buffer.alloc(16);
  Buffer.from(bytes).copy(all);
  return all;
}

/** A 10-byte block command. */
export function cdb10(opcode: number, lba: number, blocks: number, byte1 = 0): Buffer {
  const all = cdb(opcode, byte1);
  all.writeUInt32BE(lba, 2);
  all.writeUInt16BE(blocks, 7);
  return all;
}

/** A 16-byte block command. */
export function cdb16(opcode: number, lba: number | bigint, blocks: number, byte1 = 0): Buffer {
  const all = cdb(opcode, byte1);
  all.writeBigUInt64BE(BigInt(lba), 2);
  all.writeUInt32BE(blocks, 10);
  return all;
}

export class Pending {
  readonly task = new ScsiTask();
  outcome: Outcome | null = null;
}

export class Harness {
  readonly device: MemoryDevice;
  readonly pool: DataBufferPool;
  readonly turn = new Turn();
  readonly target: ScsiTargetDevice;
  readonly nexus = aNexus('host-a');
  readonly other = aNexus('host-b');
  #tag = 1;

  constructor(
    device: Partial<MemoryDeviceOptions> = {},
    options: Partial<ScsiTargetOptions> & { arenaBytes?: number; uuid?: string } = {},
  ) {
    this.device = new MemoryDevice({ bytes: 8 * MIB, logicalBlockBytes: 512, ...device });
    this.pool = new DataBufferPool(new ArrayBuffer(options.arenaBytes ?? 32 * MIB));
    const name = 'iqn.2026-11.io.ashlar:demo';
    const { arenaBytes: _, uuid = UUID, ...rest } = options;
    this.target = new ScsiTargetDevice({ name, buffers: this.pool, turn: this.turn, ...rest });
    this.target.addUnit(0, this.device, uuid);
    for (const nexus of [this.nexus, this.other]) {
      this.target.attachNexus(nexus);
      assert.equal(this.run(cdb(0), { nexus }).code, 0x2900);
    }
  }

  /** Begins a task; its outcome comes when it ends. With `fetch: false` it stays without its data. */
  start(bytes: Buffer, options: CommandOptions & { nexus?: Nexus; fetch?: boolean } = {}): Pending {
    const pending = new Pending();
    const { task } = pending;
    const owner = {
      onTaskDone: (ended: ScsiTask): void => {
        assert.equal(pending.outcome, null, 'a task ended twice');
        pending.outcome = outcomeOf(ended);
        ended.releaseBuffers();
      },
    };
    const tag = options.tag ?? this.#tag++;
    task.begin(options.nexus ?? this.nexus, owner, options.lun ?? 0, tag, bytes);
    task.attribute = options.attribute ?? TaskAttribute.Simple;
    task.writes = options.writes ?? true;
    task.expectedBytes = options.expectedBytes ?? options.data?.length ?? 0;
    if (!this.target.prepare(task)) return pending;
    if (options.fetch === false) return pending;
    this.fetch(pending, options.data);
    return pending;
  }

  /** Brings a prepared task its data, and executes it. */
  fetch(pending: Pending, data: Buffer = Buffer.alloc(0)): void {
    const { task } = pending;
    const bytes = Math.min(task.dataOutWantedBytes, data.length);
    if (bytes > 0) {
      task.dataOut = this.pool.allocate(bytes);
      assert(task.dataOut !== null);
      data.copy(task.dataOut.bytes, 0, 0, bytes);
      task.dataOutBytes = bytes;
    }
    this.target.execute(task);
  }

  /** Runs a task that ends at once. */
  run(bytes: Buffer, options: CommandOptions & { nexus?: Nexus } = {}): Outcome {
    const { outcome } = this.start(bytes, options);
    assert(outcome !== null, 'the task has not ended');
    return outcome;
  }

  /** As `run`, and GOOD. */
  good(bytes: Buffer, options: CommandOptions & { nexus?: Nexus } = {}): Buffer {
    const outcome = this.run(bytes, options);
    assert.equal(
      outcome.status,
      ScsiStatus.Good,
      `sense ${outcome.key} ${outcome.code.toString(16)}`,
    );
    return outcome.data;
  }

  /** As `run`, CHECK CONDITION with this key and code, and the field pointer if one is given. */
  refused(
    bytes: Buffer,
    key: number,
    code: number,
    options: CommandOptions & { nexus?: Nexus; field?: readonly [number, number | null] } = {},
  ): Outcome {
    const outcome = this.run(bytes, options);
    assert.equal(outcome.status, ScsiStatus.CheckCondition);
    assert.equal(outcome.key, key);
    assert.equal(outcome.code.toString(16), code.toString(16));
    if (options.field !== undefined) {
      const [byte, bit] = options.field;
      const inCdb = code === 0x2400;
      const flags = 0x80 | (inCdb ? 0x40 : 0) | (bit === null ? 0 : 0x08 | bit);
      assert.deepEqual([...outcome.sense.subarray(15, 18)], [flags, byte >> 8, byte & 0xff]);
    }
    return outcome;
  }

  write(lba: number, data: Buffer): void {
    const blocks = data.length / this.device.geometry.logicalBlockBytes;
    this.good(cdb10(0x2a, lba, blocks), { data });
  }

  read(lba: number, blocks: number): Buffer {
    return this.good(cdb10(0x28, lba, blocks));
  }

  manage(
    kind: TaskManagement,
    options: { nexus?: Nexus; lun?: number; tag?: number } = {},
  ): { response: TaskManagementResponse | null } {
    const answer: { response: TaskManagementResponse | null } = { response: null };
    const nexus = options.nexus ?? this.nexus;
    this.target.manage(
      { nexus, kind, lun: options.lun ?? 0, referencedTag: options.tag ?? 0 },
      (response) => {
        answer.response = response;
      },
    );
    return answer;
  }

  /** Sets bits of the control mode page, by MODE SELECT(6). */
  setControl(at: number, bits: number): void {
    const page = this.good(cdb(0x1a, 0x08, 0x0a, 0, 255)).subarray(4);
    page[at]! |= bits;
    page[0]! &= 0x3f;
    const data = Buffer.concat([Buffer.alloc(4), page]);
    this.good(cdb(0x15, 0x10, 0, 0, data.length), { data });
    this.run(cdb(0), { nexus: this.other });
  }
}

function outcomeOf(task: ScsiTask): Outcome {
  const source = task.dataIn?.bytes ?? task.dataInSmall;
  const data = Buffer.from(source.subarray(0, task.dataInBytes));
  const sense = Buffer.from(task.sense);
  const descriptor = sense.length > 0 && (sense[0]! & 0x7e) === 0x72;
  const key = sense.length === 0 ? 0 : (descriptor ? sense[1]! : sense[2]!) & 0x0f;
  const code = sense.length === 0 ? 0 : sense.readUInt16BE(descriptor ? 2 : 12);
  return { status: task.status, aborted: task.aborted, data, sense, key, code };
}

export { ScsiStatus, TaskAttribute, TaskManagement };
