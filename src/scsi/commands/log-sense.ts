// LOG SENSE, SPC-4 §6.8 and §7.3: which pages there are, and how much space a thin unit has (page 0Ch).
import { Access, type Command } from '../command.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { provisioningParameters } from '../provisioning.ts';
import { CONTROL } from './block-range.ts';

const SUPPORTED_PAGES = 0x00;
const ALL_SUBPAGES = 0xff;
const PROVISIONING = 0x0c;
const SP = 0x01;
/** Byte 0 of a page: nothing is saved; it has a subpage code. */
const DS = 0x80;
const SPF = 0x40;

function pageCodes(unit: LogicalUnit): number[] {
  return unit.space === null ? [SUPPORTED_PAGES] : [SUPPORTED_PAGES, PROVISIONING];
}

function page(byte0: number, subpage: number, parameters: Buffer): Buffer {
  const header = Buffer.from([byte0, subpage, 0, 0]);
  header.writeUInt16BE(parameters.length, 2);
  return Buffer.concat([header, parameters]);
}

export const logSense: Command = {
  opcode: 0x4d,
  serviceAction: null,
  name: 'LOG SENSE',
  usage: [0x4d, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, CONTROL],
  access: Access.Always,
  duringSanitize: true,
  execute(execution) {
    const { cdb, lu } = execution;
    if ((cdb[1]! & SP) !== 0) return execution.failField(1, 0); // Nothing is saved.
    const code = cdb[2]! & 0x3f;
    const subpage = cdb[3]!;
    const pointer = cdb.readUInt16BE(5);
    const allocation = cdb.readUInt16BE(7);
    if (!pageCodes(lu).includes(code)) return execution.failField(2, 5);
    if (code === SUPPORTED_PAGES) {
      if (subpage === 0) {
        return execution.reply(page(code, 0, Buffer.from(pageCodes(lu))), allocation);
      }
      if (subpage !== ALL_SUBPAGES) return execution.failField(3);
      const pairs = [[SUPPORTED_PAGES, ALL_SUBPAGES], ...pageCodes(lu).map((one) => [one, 0])];
      pairs.sort(([a = 0, x = 0], [b = 0, y = 0]) => a - b || x - y);
      return execution.reply(page(SPF | code, subpage, Buffer.from(pairs.flat())), allocation);
    }
    if (subpage !== 0) return execution.failField(3);
    const parameters = provisioningParameters(lu.space!(), pointer);
    if (parameters === null) return execution.failField(5);
    return execution.reply(page(DS | code, 0, parameters), allocation);
  },
};
