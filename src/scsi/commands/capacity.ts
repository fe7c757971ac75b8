// READ CAPACITY (10) and (16), SBC-4 §5.20 and §5.21; GET LBA STATUS, §5.5; READ DEFECT DATA, §5.22.
import { IoStatus } from '../../block/index.ts';
import { Access, type Command } from '../command.ts';
import { MAX_LBA_STATUS_DESCRIPTORS } from '../limits.ts';
import { Asc, SenseKey } from '../sense.ts';
import { CONTROL, lbaOf } from './block-range.ts';

const readCapacity10: Command = {
  opcode: 0x25,
  serviceAction: null,
  name: 'READ CAPACITY(10)',
  usage: [0x25, 0, 0, 0, 0, 0, 0, 0, 0, CONTROL],
  access: Access.Always,
  execute(execution) {
    const { blocks, logicalBlockBytes } = execution.lu.device.geometry;
    const data = Buffer.alloc(8);
    data.writeUInt32BE(Math.min(blocks - 1, 0xffff_ffff), 0);
    data.writeUInt32BE(logicalBlockBytes, 4);
    return execution.reply(data, data.length);
  },
};

const readCapacity16: Command = {
  opcode: 0x9e,
  serviceAction: 0x10,
  name: 'READ CAPACITY(16)',
  usage: [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
  access: Access.Always,
  execute(execution) {
    const { blocks, logicalBlockBytes, physicalBlockBytes } = execution.lu.device.geometry;
    const data = Buffer.alloc(32);
    data.writeBigUInt64BE(BigInt(blocks - 1), 0);
    data.writeUInt32BE(logicalBlockBytes, 8);
    data[13] = Math.log2(physicalBlockBytes / logicalBlockBytes);
    // LBPME and LBPRZ; the lowest aligned LBA is 0.
    data.writeUInt16BE(0xc000, 14);
    return execution.reply(data, execution.cdb.readUInt32BE(10));
  },
};

const MAPPED = 0;
const DEALLOCATED = 1;

const getLbaStatus: Command = {
  opcode: 0x9e,
  serviceAction: 0x12,
  name: 'GET LBA STATUS(16)',
  usage: [0x9e, 0x12, ...new Array<number>(12).fill(0xff), 0xff, CONTROL],
  access: Access.Read,
  execute(execution) {
    const { cdb, lu } = execution;
    const lba = lbaOf(cdb, 16);
    if (lba >= lu.device.geometry.blocks) {
      return execution.failWith(SenseKey.IllegalRequest, Asc.LbaOutOfRange);
    }
    // REPORT TYPE 00h is all LBAs; the others ask for what a thin disk has none of.
    if (cdb[14] !== 0) return execution.failField(14);
    const allocationBytes = cdb.readUInt32BE(10);
    const fit = Math.floor((allocationBytes - 8) / 16);
    const most = Math.max(1, Math.min(fit, MAX_LBA_STATUS_DESCRIPTORS));
    return lu.device.mapStatus(lba, most, (status, extents) => {
      if (status !== IoStatus.Ok) return execution.failIo(status);
      const data = Buffer.alloc(8 + 16 * extents.length);
      data.writeUInt32BE(data.length - 4, 0);
      for (const [index, extent] of extents.entries()) {
        const at = 8 + 16 * index;
        data.writeBigUInt64BE(BigInt(extent.lba), at);
        data.writeUInt32BE(Math.min(extent.blocks, 0xffff_ffff), at + 8);
        data[at + 12] = extent.mapped ? MAPPED : DEALLOCATED;
        // A run too long for its field would leave a gap before the next: it is the last reported.
        if (extent.blocks > 0xffff_ffff) {
          data.writeUInt32BE(at + 16 - 4, 0);
          return execution.reply(data.subarray(0, at + 16), allocationBytes);
        }
      }
      return execution.reply(data, allocationBytes);
    });
  },
};

// Defects are the engine's affair: both lists are empty, in whatever format is asked for.

const readDefectData10: Command = {
  opcode: 0x37,
  serviceAction: null,
  name: 'READ DEFECT DATA(10)',
  usage: [0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
  access: Access.Read,
  execute(execution) {
    const data = Buffer.alloc(4);
    data[1] = execution.cdb[2]! & 0x1f;
    return execution.reply(data, execution.cdb.readUInt16BE(7));
  },
};

const readDefectData12: Command = {
  opcode: 0xb7,
  serviceAction: null,
  name: 'READ DEFECT DATA(12)',
  usage: [0xb7, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
  access: Access.Read,
  execute(execution) {
    const data = Buffer.alloc(8);
    data[1] = execution.cdb[1]! & 0x1f;
    return execution.reply(data, execution.cdb.readUInt32BE(6));
  },
};

export const capacityCommands: readonly Command[] = [
  readCapacity10,
  readCapacity16,
  getLbaStatus,
  readDefectData10,
  readDefectData12,
];
