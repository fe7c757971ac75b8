// A small iSCSI initiator over a real socket: logs in, reads, writes, flushes, several commands at a time. When its connection
// is lost every command without an answer ends as Lost: it may have happened or not.
import { connect, type Socket } from 'node:net';
import {
  assemblePdu,
  BHS_BYTES,
  LoginStage,
  loginRequest,
  NO_DIGESTS,
  nopOut,
  Opcode,
  opcodeOf,
  PduParser,
  RESERVED_TAG,
  scsiCommand,
} from '../../src/iscsi/pdu/index.ts';
import { TaskAttribute } from '../../src/scsi/index.ts';

export const BLOCK_BYTES = 4096;

/** No answer came: the command may take effect, or have taken it, or not. */
export class Lost extends Error {
  override readonly name = 'Lost';
}

/** An answer, and not a good one. */
export class CheckCondition extends Error {
  override readonly name = 'CheckCondition';
  readonly key: number;
  readonly asc: number;

  constructor(status: number, sense: Buffer) {
    const key = (sense[2] ?? 0) & 15;
    const asc = ((sense[12] ?? 0) << 8) | (sense[13] ?? 0);
    super(`status ${status}, sense ${key.toString(16)}h/${asc.toString(16).padStart(4, '0')}h`);
    this.key = key;
    this.asc = asc;
  }
}

interface Command {
  readonly data: Buffer;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const GOOD = 0;
const LOGIN_TIMEOUT_MS = 5000;

export class IscsiDisk {
  readonly #socket: Socket;
  readonly #parser: PduParser;
  readonly #commands = new Map<number, Command>();
  #itt = 1;
  #cmdSn = 1;
  #expStatSn = 1;
  #lost: Error | null = null;
  #onLogin: ((status: number) => void) | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#parser = new PduParser({
      placeData() {},
      onPdu: (head, at, data, dataAt, bytes) =>
        this.#onPdu(head.subarray(at, at + BHS_BYTES), data.subarray(dataAt, dataAt + bytes)),
      onDataDigestError: () => this.#end('a bad digest'),
      onStreamError: (error) => this.#end(`a bad stream: ${error}`),
    });
    this.#parser.setLimits({ maxAhsBytes: 0, maxDataSegmentBytes: 0xffffff });
    socket.setNoDelay(true);
    socket.on('data', (b: Buffer) => {
      this.#parser.feed(b, 0, b.length);
    });
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('the connection was closed'));
  }

  /** Logs in. Rejects with why not: `login refused 0301h` while the volume is not served. */
  static async login(port: number, iqn: string, initiator: string): Promise<IscsiDisk> {
    const socket = connect({ host: '127.0.0.1', port });
    const disk = new IscsiDisk(socket);
    const timer = setTimeout(() => disk.#end('the login was not answered'), LOGIN_TIMEOUT_MS);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('close', () => reject(disk.#lost ?? new Lost('closed')));
      });
      const status = await disk.#login(iqn, initiator);
      if (status !== 0) {
        socket.destroy();
        throw new Error(`login refused ${status.toString(16).padStart(4, '0')}h`);
      }
      // A new nexus begins with a unit attention; TEST UNIT READY takes it.
      for (let times = 0; times < 4; times += 1) {
        try {
          await disk.#command(Buffer.from([0, 0, 0, 0, 0, 0]), null, 0);
          break;
        } catch (error) {
          if (!(error instanceof CheckCondition) || error.key !== 6) throw error;
        }
      }
      return disk;
    } finally {
      clearTimeout(timer);
    }
  }

  get lost(): boolean {
    return this.#lost !== null;
  }

  write(lba: number, data: Buffer, fua = false): Promise<unknown> {
    return this.#command(cdb16(0x8a, lba, data.length / BLOCK_BYTES, fua ? 8 : 0), data, 0);
  }

  read(lba: number, blocks: number): Promise<Buffer> {
    return this.#command(cdb16(0x88, lba, blocks, 0), null, blocks * BLOCK_BYTES);
  }

  unmap(lba: number, blocks: number): Promise<unknown> {
    const list = Buffer.alloc(24);
    list.writeUInt16BE(22, 0);
    list.writeUInt16BE(16, 2);
    list.writeBigUInt64BE(BigInt(lba), 8);
    list.writeUInt32BE(blocks, 16);
    return this.#command(Buffer.from([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]), list, 0);
  }

  flush(): Promise<unknown> {
    return this.#command(Buffer.from([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]), null, 0);
  }

  close(): void {
    this.#end('closed by us');
  }

  #login(iqn: string, initiator: string): Promise<number> {
    const keys = [
      `InitiatorName=${initiator}`,
      `TargetName=${iqn}`,
      'InitialR2T=No',
      'ImmediateData=Yes',
      'FirstBurstLength=262144',
      'MaxBurstLength=1048576',
      'MaxRecvDataSegmentLength=262144',
    ];
    const data = Buffer.from(keys.map((key) => `${key}\0`).join(''));
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
      isid: '000000000001',
      tsih: 0,
      itt: 0,
      cid: 0,
      cmdSn: 1,
      expStatSn: 0,
    };
    this.#socket.write(assemblePdu((b, at) => loginRequest.encode(b, at, pdu), { data }));
    return new Promise((resolve, reject) => {
      this.#onLogin = resolve;
      this.#socket.once('close', () => reject(this.#lost ?? new Lost('closed')));
    });
  }

  #command(cdb: Buffer, out: Buffer | null, inBytes: number): Promise<Buffer> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    const itt = this.#itt;
    this.#itt += 1;
    const pdu: scsiCommand.ScsiCommand = {
      immediate: false,
      final: true,
      reads: inBytes > 0,
      writes: out !== null,
      attribute: TaskAttribute.Simple,
      ahsBytes: 0,
      dataBytes: out?.length ?? 0,
      lun: 0,
      itt,
      edtlBytes: out?.length ?? inBytes,
      cmdSn: this.#cmdSn,
      expStatSn: this.#expStatSn,
      cdb,
    };
    this.#cmdSn += 1;
    return new Promise((resolve, reject) => {
      this.#commands.set(itt, { data: Buffer.alloc(inBytes), resolve, reject });
      const data = out === null ? {} : { data: out };
      this.#socket.write(assemblePdu((b, at) => scsiCommand.encode(b, at, pdu), data));
    });
  }

  #onPdu(bhs: Buffer, data: Buffer): void {
    switch (opcodeOf(bhs, 0)) {
      case Opcode.LoginResponse:
        this.#expStatSn = bhs.readUInt32BE(24) + 1;
        this.#onLogin?.(bhs.readUInt16BE(36));
        return;
      case Opcode.DataIn: {
        const command = this.#commands.get(bhs.readUInt32BE(16));
        if (command === undefined) return;
        data.copy(command.data, bhs.readUInt32BE(40));
        if ((bhs[1]! & 1) !== 0) this.#answered(bhs, bhs[3]!, Buffer.alloc(0));
        return;
      }
      case Opcode.ScsiResponse:
        this.#answered(bhs, bhs[2] === 0 ? bhs[3]! : 0xff, data.subarray(2));
        return;
      case Opcode.NopIn: {
        const ttt = bhs.readUInt32BE(20);
        if (ttt === RESERVED_TAG) return;
        const pdu: nopOut.NopOut = {
          immediate: true,
          lun: 0,
          itt: RESERVED_TAG,
          ttt,
          cmdSn: this.#cmdSn,
          expStatSn: this.#expStatSn,
          dataBytes: 0,
        };
        this.#socket.write(assemblePdu((b, at) => nopOut.encode(b, at, pdu), {}, NO_DIGESTS));
        return;
      }
      default:
        // An asynchronous message that asks for a logout: the session goes, and so do we.
        this.#end(`a PDU of opcode ${opcodeOf(bhs, 0)}`);
    }
  }

  #answered(bhs: Buffer, status: number, sense: Buffer): void {
    this.#expStatSn = bhs.readUInt32BE(24) + 1;
    const itt = bhs.readUInt32BE(16);
    const command = this.#commands.get(itt);
    if (command === undefined) return;
    this.#commands.delete(itt);
    if (status === GOOD) command.resolve(command.data);
    else command.reject(new CheckCondition(status, sense));
  }

  #end(why: string): void {
    if (this.#lost !== null) return;
    this.#lost = new Lost(why);
    this.#socket.destroy();
    for (const command of this.#commands.values()) command.reject(this.#lost);
    this.#commands.clear();
  }
}

function cdb16(opcode: number, lba: number, blocks: number, flags: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb[1] = flags;
  cdb.writeBigUInt64BE(BigInt(lba), 2);
  cdb.writeUInt32BE(blocks, 10);
  return cdb;
}
