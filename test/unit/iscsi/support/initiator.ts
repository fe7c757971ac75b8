// An initiator for tests: speaks PDUs over an array instead of a socket, and knows the ordinary case of each.
import assert from 'node:assert/strict';
import {
  type Log,
  ManualClock,
  SeededRandom,
  silentLog,
  Turn,
} from '../../../../src/base/index.ts';
import { DataBufferPool, type MemoryDevice } from '../../../../src/block/index.ts';
import {
  type IscsiLimits,
  IscsiServer,
  type TargetEntry,
  type Transport,
  type TransportHandler,
} from '../../../../src/iscsi/index.ts';
import {
  assemblePdu,
  BHS_BYTES,
  type Digests,
  dataOut,
  LoginStage,
  loginRequest,
  logoutRequest,
  NO_DIGESTS,
  nopOut,
  Opcode,
  opcodeOf,
  PduParser,
  RESERVED_TAG,
  scsiCommand,
  taskManagementRequest,
  textRequest,
} from '../../../../src/iscsi/pdu/index.ts';
import { ScsiTargetDevice, TaskAttribute } from '../../../../src/scsi/index.ts';
import { MemoryTarget } from './memory-target.ts';

export const TARGET_NAME = 'iqn.2026-11.io.ashlar:demo';

/** A stream that ends in an array. `stalled`: the peer takes nothing, what is written stays in our memory. */
export class FakeTransport implements Transport {
  readonly peerAddress: string;
  readonly peer: string;
  readonly local = '192.0.2.1:3260';
  readonly localAddress = '192.0.2.1';
  readonly localPort = 3260;
  handler!: TransportHandler;
  stalled = false;
  drained = true;
  paused = false;
  closed = false;
  writes = 0;
  written: Buffer[] = [];
  #pending: Buffer[] = [];

  constructor(peerAddress = '192.0.2.77') {
    this.peerAddress = peerAddress;
    this.peer = `${peerAddress}:50000`;
  }

  start(handler: TransportHandler): void {
    this.handler = handler;
  }

  write(b: Buffer): void {
    assert.equal(this.closed, false);
    this.writes += 1;
    if (this.stalled) {
      this.drained = false;
      this.#pending.push(b); // Not copied: reusing the memory too early must show.
    } else this.written.push(Buffer.from(b));
  }

  /** The peer reads again. */
  drain(): void {
    this.stalled = false;
    this.written.push(...this.#pending.map((b) => Buffer.from(b)));
    this.#pending = [];
    this.drained = true;
    this.handler.onDrained();
  }

  pauseReading(): void {
    this.paused = true;
  }

  resumeReading(): void {
    this.paused = false;
  }

  close(): void {
    this.closed = true;
  }

  destroy(): void {
    this.closed = true;
  }
}

/** A PDU that the target sent, a copy. */
export interface Answer {
  readonly opcode: number;
  readonly bhs: Buffer;
  readonly data: Buffer;
}

/** A server with one target in memory, on a clock that the test moves. */
export class World {
  readonly clock = new ManualClock();
  readonly turn = new Turn();
  readonly pool: DataBufferPool;
  readonly target: MemoryTarget;
  /** What the directory tells of the target; a test may change it. */
  entry: TargetEntry;
  readonly server: IscsiServer;

  /** `device`: the real device server over a disk in memory, in place of the test's own target. */
  constructor(
    options: {
      limits?: Partial<IscsiLimits>;
      arenaBytes?: number;
      device?: MemoryDevice;
      log?: Log;
    } = {},
  ) {
    this.pool = new DataBufferPool(new ArrayBuffer(options.arenaBytes ?? 16 * 1024 * 1024));
    this.target = new MemoryTarget(TARGET_NAME, this.pool);
    const auth = { chap: [], mutual: null };
    const entry: TargetEntry = {
      name: TARGET_NAME,
      alias: '',
      scsi: options.device === undefined ? this.target : this.#deviceServer(options.device),
      auth,
      initiators: null,
      state: 'online',
    };
    this.entry = entry;
    this.server = new IscsiServer({
      clock: this.clock,
      random: new SeededRandom(1),
      turn: this.turn,
      log: options.log ?? silentLog,
      buffers: this.pool,
      directory: {
        find: (name) => (name === TARGET_NAME ? this.entry : null),
        list: () => [this.entry],
        discoveryAuth: auth,
      },
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
  }

  #deviceServer(device: MemoryDevice): ScsiTargetDevice {
    const { pool: buffers, turn } = this;
    const scsi = new ScsiTargetDevice({ name: TARGET_NAME, buffers, turn, allowSanitize: false });
    scsi.addUnit(0, device, '00000000-0000-4000-8000-000000000001');
    return scsi;
  }

  run(action: () => void): void {
    this.turn.enter();
    action();
    this.turn.leave();
  }

  connect(peerAddress?: string): Initiator {
    const transport = new FakeTransport(peerAddress);
    this.run(() => this.server.accept(transport));
    return new Initiator(this, transport);
  }

  /** Connected and logged in. */
  login(keys: Record<string, string> = {}, isid = '000000000001'): Initiator {
    const initiator = this.connect();
    initiator.login(keys, { isid });
    assert.equal(initiator.loginStatus, 0);
    return initiator;
  }
}

export class Initiator {
  readonly transport: FakeTransport;
  readonly #world: World;
  readonly #answers: Answer[] = [];
  readonly #parser: PduParser;
  digests: Digests = NO_DIGESTS;
  cmdSn = 1;
  itt = 1;
  tsih = 0;
  loginStatus = -1;

  constructor(world: World, transport: FakeTransport) {
    this.#world = world;
    this.transport = transport;
    const take = (head: Buffer, at: number, data: Buffer, dataAt: number, bytes: number): void => {
      this.#answers.push({
        opcode: opcodeOf(head, at),
        bhs: Buffer.from(head.subarray(at, at + BHS_BYTES)),
        data: Buffer.from(data.subarray(dataAt, dataAt + bytes)),
      });
      // Digests begin after the last login response.
      if (opcodeOf(head, at) === Opcode.LoginResponse && (head[at + 1]! & 0x83) === 0x83) {
        this.#parser.setDigests(this.digests);
      }
    };
    this.#parser = new PduParser({
      placeData() {},
      onPdu: take,
      onDataDigestError: () => assert.fail('a data digest of the target is wrong'),
      onStreamError: (error) => assert.fail(`the target's stream is bad: ${error}`),
    });
    this.#parser.setLimits({ maxAhsBytes: 0, maxDataSegmentBytes: 0xffffff });
  }

  /** Raw bytes, in pieces of `chunkBytes`. */
  send(bytes: Buffer, chunkBytes = bytes.length): void {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      const piece = Buffer.from(bytes.subarray(at, at + chunkBytes));
      this.#world.run(() => this.transport.handler.onBytes(piece, 0, piece.length));
      piece.fill(0xee); // Lent for the call only.
    }
  }

  /** What came since the last call. */
  take(): Answer[] {
    for (const bytes of this.transport.written.splice(0)) {
      assert.equal(this.#parser.feed(bytes, 0, bytes.length), bytes.length);
    }
    return this.#answers.splice(0);
  }

  /** The only PDU that came. */
  one(opcode: number): Answer {
    const answers = this.take();
    assert.deepEqual(
      answers.map((answer) => answer.opcode),
      [opcode],
    );
    return answers[0]!;
  }

  login(
    keys: Record<string, string> = {},
    options: { isid?: string; tsih?: number; discovery?: boolean } = {},
  ): void {
    const all: Record<string, string> = {
      InitiatorName: 'iqn.2026-11.test:host',
      ...(options.discovery ? { SessionType: 'Discovery' } : { TargetName: TARGET_NAME }),
      ...keys,
    };
    const text = Object.entries(all).map(([key, value]) => `${key}=${value}\0`);
    const data = Buffer.from(text.join(''));
    this.digests = {
      header: keys['HeaderDigest'] === 'CRC32C',
      data: keys['DataDigest'] === 'CRC32C',
    };
    const pdu: loginRequest.LoginRequest = {
      immediate: true,
      transit: true,
      continues: false,
      csg: LoginStage.Operational,
      nsg: LoginStage.FullFeature,
      versionMax: 0,
      versionMin: 0,
      ahsBytes: 0,
      dataBytes: data.length,
      isid: options.isid ?? '000000000001',
      tsih: options.tsih ?? 0,
      itt: 0,
      cid: 0,
      cmdSn: this.cmdSn,
      expStatSn: 1,
    };
    this.send(assemblePdu((b, at) => loginRequest.encode(b, at, pdu), { data }));
    this.checkLogin();
  }

  /** Takes the login response, if it has come. */
  checkLogin(): void {
    const [answer] = this.take();
    if (answer === undefined) return;
    assert.equal(answer.opcode, Opcode.LoginResponse);
    this.loginStatus = answer.bhs.readUInt16BE(36);
    this.tsih = answer.bhs.readUInt16BE(14);
  }

  /** A SCSI Command PDU; WRITE(10) and READ(10) have makers of their own. Returns its ITT. */
  command(
    special: Partial<scsiCommand.ScsiCommand> & { data?: Buffer; ahs?: Buffer; chunk?: number },
  ): number {
    const { data = Buffer.alloc(0), ahs = Buffer.alloc(0), chunk, ...fields } = special;
    const itt = fields.itt ?? this.itt++;
    const pdu: scsiCommand.ScsiCommand = {
      immediate: false,
      final: true,
      reads: false,
      writes: false,
      attribute: TaskAttribute.Simple,
      lun: 0,
      itt,
      edtlBytes: 0,
      cmdSn: fields.cmdSn ?? this.cmdSn,
      expStatSn: 0,
      cdb: Buffer.alloc(16),
      ...fields,
      ahsBytes: ahs.length,
      dataBytes: data.length,
    };
    if (!pdu.immediate && fields.cmdSn === undefined) this.cmdSn += 1;
    const encode = (b: Buffer, at: number): void => scsiCommand.encode(b, at, pdu);
    this.send(assemblePdu(encode, { data, ahs }, this.digests), chunk);
    return itt;
  }

  read(lba: number, blocks: number, special: Partial<scsiCommand.ScsiCommand> = {}): number {
    const edtlBytes = blocks * 512;
    return this.command({ reads: true, edtlBytes, cdb: cdb10(0x28, lba, blocks), ...special });
  }

  write(
    lba: number,
    blocks: number,
    special: Partial<scsiCommand.ScsiCommand> & { data?: Buffer; chunk?: number } = {},
  ): number {
    const edtlBytes = blocks * 512;
    return this.command({ writes: true, edtlBytes, cdb: cdb10(0x2a, lba, blocks), ...special });
  }

  dataOut(
    data: Buffer,
    fields: Pick<dataOut.DataOut, 'itt' | 'bufferOffset'> & Partial<dataOut.DataOut>,
    chunk?: number,
  ): void {
    const pdu: dataOut.DataOut = {
      final: true,
      lun: 0,
      ttt: RESERVED_TAG,
      expStatSn: 0,
      dataSn: 0,
      dataBytes: data.length,
      ...fields,
    };
    const bytes = assemblePdu((b, at) => dataOut.encode(b, at, pdu), { data }, this.digests);
    this.send(bytes, chunk);
  }

  ping(data = Buffer.alloc(0), special: Partial<nopOut.NopOut> = {}): void {
    const pdu: nopOut.NopOut = {
      immediate: true,
      lun: 0,
      itt: this.itt++,
      ttt: RESERVED_TAG,
      cmdSn: this.cmdSn,
      expStatSn: 0,
      ...special,
      dataBytes: data.length,
    };
    this.send(assemblePdu((b, at) => nopOut.encode(b, at, pdu), { data }, this.digests));
  }

  manage(special: Partial<taskManagementRequest.TaskManagementPdu> & { function: number }): void {
    const pdu: taskManagementRequest.TaskManagementPdu = {
      immediate: true,
      lun: 0,
      itt: this.itt++,
      referencedTag: RESERVED_TAG,
      cmdSn: this.cmdSn,
      expStatSn: 0,
      refCmdSn: 0,
      expDataSn: 0,
      ...special,
    };
    this.send(assemblePdu((b, at) => taskManagementRequest.encode(b, at, pdu), {}, this.digests));
  }

  logout(reason: number, cid = 0): void {
    const pdu = {
      immediate: true,
      reason,
      itt: this.itt++,
      cid,
      cmdSn: this.cmdSn,
      expStatSn: 0,
    };
    this.send(assemblePdu((b, at) => logoutRequest.encode(b, at, pdu), {}, this.digests));
  }

  text(value: string, special: Partial<textRequest.TextRequest> = {}): void {
    const data = Buffer.from(value);
    const pdu: textRequest.TextRequest = {
      immediate: true,
      final: true,
      continues: false,
      dataBytes: data.length,
      itt: this.itt++,
      ttt: RESERVED_TAG,
      cmdSn: this.cmdSn,
      expStatSn: 0,
      ...special,
    };
    this.send(assemblePdu((b, at) => textRequest.encode(b, at, pdu), { data }, this.digests));
  }

  /** The TCP connection breaks. */
  cut(): void {
    this.transport.closed = true;
    this.#world.run(() => this.transport.handler.onClosed());
  }
}

export function cdb10(opcode: number, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb.writeUInt32BE(lba, 2);
  cdb.writeUInt16BE(blocks, 7);
  return cdb;
}

/** Bytes that differ from place to place. */
export function pattern(bytes: number, seed = 1): Buffer {
  const data = Buffer.allocUnsafe(bytes);
  for (let at = 0; at < bytes; at += 1) data[at] = (at * 31 + (at >> 8) * 17 + seed * 101) & 0xff;
  return data;
}
