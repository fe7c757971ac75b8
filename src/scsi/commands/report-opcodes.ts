// REPORT SUPPORTED OPERATION CODES, SPC-4 §6.35: what the command table says about itself.
import { Access, type Command } from '../command.ts';
import type { LogicalUnit } from '../logical-unit.ts';

const SANITIZE = 0x48;
const TIMEOUTS_BYTES = 12;
/** RECOMMENDED COMMAND TIMEOUT, in seconds: what hosts give a disk anyway. */
const RECOMMENDED_TIMEOUT_SECONDS = 30;
/** EXTENDED COPY and SANITIZE take as long as there is to do: no timeout is recommended. */
const UNBOUNDED = new Set([0x83, SANITIZE]);

function isSupported(unit: LogicalUnit, command: Command): boolean {
  return command.opcode !== SANITIZE || unit.allowSanitize;
}

/** Command timeouts descriptor, SPC-4 §6.35.4. */
function timeouts(command: Command): Buffer {
  const bytes = Buffer.alloc(TIMEOUTS_BYTES);
  bytes.writeUInt16BE(TIMEOUTS_BYTES - 2, 0);
  if (!UNBOUNDED.has(command.opcode)) bytes.writeUInt32BE(RECOMMENDED_TIMEOUT_SECONDS, 8);
  return bytes;
}

/** All commands, SPC-4 §6.35.2. */
function allCommands(unit: LogicalUnit, withTimeouts: boolean): Buffer {
  const parts: Buffer[] = [Buffer.alloc(4)];
  let bytes = 0;
  for (const command of unit.commands.all) {
    if (!isSupported(unit, command)) continue;
    const descriptor = Buffer.alloc(8);
    descriptor[0] = command.opcode;
    descriptor.writeUInt16BE(command.serviceAction ?? 0, 2);
    descriptor[5] = (withTimeouts ? 0x02 : 0) | (command.serviceAction === null ? 0 : 0x01);
    descriptor.writeUInt16BE(command.usage.length, 6);
    parts.push(descriptor);
    bytes += descriptor.length;
    if (withTimeouts) {
      parts.push(timeouts(command));
      bytes += TIMEOUTS_BYTES;
    }
  }
  parts[0]!.writeUInt32BE(bytes, 0);
  return Buffer.concat(parts);
}

/** One command, SPC-4 §6.35.3. */
function oneCommand(command: Command | null, withTimeouts: boolean): Buffer {
  const header = Buffer.alloc(4);
  if (command === null) {
    header[1] = 0x01; // SUPPORT: not supported; nothing follows.
    return header;
  }
  header[1] = (withTimeouts ? 0x80 : 0) | 0x03; // CTDP; SUPPORT: in conformance with a standard.
  header.writeUInt16BE(command.usage.length, 2);
  const usage = Buffer.from(command.usage);
  return Buffer.concat(withTimeouts ? [header, usage, timeouts(command)] : [header, usage]);
}

const reportSupportedOpcodes: Command = {
  opcode: 0xa3,
  serviceAction: 0x0c,
  name: 'REPORT SUPPORTED OPERATION CODES',
  usage: [0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x04],
  access: Access.Always,
  duringSanitize: true,
  execute(execution) {
    const { cdb, lu } = execution;
    const withTimeouts = (cdb[2]! & 0x80) !== 0;
    const reportingOptions = cdb[2]! & 0x07;
    const opcode = cdb[3]!;
    const serviceAction = cdb.readUInt16BE(4);
    const allocationBytes = cdb.readUInt32BE(6);
    if (reportingOptions === 0) {
      return execution.reply(allCommands(lu, withTimeouts), allocationBytes);
    }
    // 001b: by opcode alone; 010b: by opcode and service action; 011b: as the opcode needs it.
    const hasActions = lu.commands.hasServiceActions(opcode);
    if (reportingOptions > 3) return execution.failField(2, 2);
    if (reportingOptions === 1 && hasActions) return execution.failField(2, 2);
    if (reportingOptions === 2 && lu.commands.knows(opcode) && !hasActions) {
      return execution.failField(2, 2);
    }
    let found: Command | null = null;
    if (hasActions) {
      if (serviceAction <= 0x1f) found = lu.commands.find(opcode, serviceAction);
    } else if (reportingOptions !== 3 || serviceAction === 0) {
      found = lu.commands.find(opcode, 0);
    }
    if (found !== null && !isSupported(lu, found)) found = null;
    return execution.reply(oneCommand(found, withTimeouts), allocationBytes);
  },
};

export const reportOpcodesCommands: readonly Command[] = [reportSupportedOpcodes];
