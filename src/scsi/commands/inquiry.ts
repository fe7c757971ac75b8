// INQUIRY, SPC-4 §6.6: the standard data, and the vital product data pages of vpd.ts.
import { Access, type Command } from '../command.ts';
import { asciiField, PRODUCT, REVISION, VENDOR } from '../identity.ts';
import { vpdPage } from './vpd.ts';

/** SAM-5, SPC-4, SBC-4, SBC-3, iSCSI: each without a version claimed (SPC-4 annex D.6). */
const VERSION_DESCRIPTORS = [0x00a0, 0x0460, 0x0600, 0x04c0, 0x0960];
const STANDARD_BYTES = 96;

/** Standard INQUIRY data; `peripheral`: qualifier and device type. */
export function standardInquiry(peripheral: number): Buffer {
  const data = Buffer.alloc(STANDARD_BYTES);
  data[0] = peripheral;
  data[2] = 0x06; // VERSION: SPC-4.
  data[3] = 0x12; // HISUP; response data format 2.
  data[4] = STANDARD_BYTES - 5;
  data[5] = 0x18; // TPGS 01b: implicit asymmetric access; 3PC: EXTENDED COPY.
  data[6] = 0x10; // MULTIP.
  data[7] = 0x02; // CMDQUE.
  asciiField(VENDOR, 8).copy(data, 8);
  asciiField(PRODUCT, 16).copy(data, 16);
  asciiField(REVISION, 4).copy(data, 32);
  for (const [index, descriptor] of VERSION_DESCRIPTORS.entries()) {
    data.writeUInt16BE(descriptor, 58 + 2 * index);
  }
  return data;
}

const inquiry: Command = {
  opcode: 0x12,
  serviceAction: null,
  name: 'INQUIRY',
  usage: [0x12, 0x01, 0xff, 0xff, 0xff, 0x04],
  access: Access.Always,
  duringReserve: true,
  duringUnitAttention: true,
  duringSanitize: true,
  execute(execution) {
    const { cdb } = execution;
    const allocationBytes = cdb.readUInt16BE(3);
    if ((cdb[1]! & 0x02) !== 0) return execution.failField(1, 1); // CMDDT is obsolete.
    if ((cdb[1]! & 0x01) === 0) {
      if (cdb[2] !== 0) return execution.failField(2);
      return execution.reply(standardInquiry(0x00), allocationBytes);
    }
    const page = vpdPage(cdb[2]!, execution.lu, execution.nexus.nexus);
    if (page === null) return execution.failField(2);
    return execution.reply(page, allocationBytes);
  },
};

export const inquiryCommands: readonly Command[] = [inquiry];
