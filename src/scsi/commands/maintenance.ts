// MAINTENANCE IN of the primary commands, REPORT TARGET PORT GROUPS (SPC-4 §6.37) and REPORT SUPPORTED TASK MANAGEMENT
// FUNCTIONS (§6.36); and what hosts poll for health: SEND and RECEIVE DIAGNOSTIC (§6.42, §6.27).
import { Access, type Command } from '../command.ts';
import { CONTROL } from './block-range.ts';
import { logSense } from './log-sense.ts';

const reportTargetPortGroups: Command = {
  opcode: 0xa3,
  serviceAction: 0x0a,
  name: 'REPORT TARGET PORT GROUPS',
  usage: [0xa3, 0xea, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
  access: Access.Always,
  execute(execution) {
    const { cdb, nexus } = execution;
    const format = cdb[1]! >> 5;
    if (format > 1) return execution.failField(1, 7);
    // One group of one port, the one the question came through, always active/optimized.
    const headerBytes = format === 1 ? 8 : 4;
    const data = Buffer.alloc(headerBytes + 12);
    data.writeUInt32BE(data.length - 4, 0);
    if (format === 1) data[4] = 0x10; // Extended header; no implicit transition time given.
    const group = data.subarray(headerBytes);
    group[0] = 0x00; // Active/optimized.
    group[1] = 0x01; // AO_SUP: no other state is ever reported.
    group.writeUInt16BE(nexus.nexus.relativeTargetPort, 2);
    group[7] = 1;
    group.writeUInt16BE(nexus.nexus.relativeTargetPort, 10);
    return execution.reply(data, cdb.readUInt32BE(6));
  },
};

const reportTaskManagement: Command = {
  opcode: 0xa3,
  serviceAction: 0x0d,
  name: 'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
  usage: [0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
  access: Access.Write,
  duringSanitize: true,
  execute(execution) {
    const { cdb } = execution;
    const extended = (cdb[2]! & 0x80) !== 0;
    const data = Buffer.alloc(extended ? 16 : 4);
    data[0] = 0xde; // ATS, ATSS, CTSS, LURS, QTS, and TRS, which is what TARGET RESET was; no CACAS.
    data[1] = 0x07; // QAES, QTSS, ITNRS.
    if (extended) data[3] = data.length - 4;
    return execution.reply(data, cdb.readUInt32BE(6));
  },
};

const sendDiagnostic: Command = {
  opcode: 0x1d,
  serviceAction: null,
  name: 'SEND DIAGNOSTIC',
  usage: [0x1d, 0xf7, 0, 0xff, 0xff, CONTROL],
  access: Access.Write,
  prepare(execution) {
    const { cdb } = execution;
    // The default self-test is the one there is; no diagnostic page is taken.
    if (cdb[1]! >> 5 !== 0) return execution.failField(1, 7);
    return cdb.readUInt16BE(3) === 0 ? 0 : execution.failField(3);
  },
  execute: (execution) => execution.good(),
};

const receiveDiagnostic: Command = {
  opcode: 0x1c,
  serviceAction: null,
  name: 'RECEIVE DIAGNOSTIC RESULTS',
  usage: [0x1c, 0x01, 0xff, 0xff, 0xff, CONTROL],
  access: Access.Write,
  execute(execution) {
    const { cdb } = execution;
    // Page 00h lists the pages: itself.
    if ((cdb[1]! & 0x01) !== 0 && cdb[2] !== 0) return execution.failField(2);
    return execution.reply(Buffer.from([0, 0, 0, 1, 0]), cdb.readUInt16BE(3));
  },
};

export const maintenanceCommands: readonly Command[] = [
  reportTargetPortGroups,
  reportTaskManagement,
  logSense,
  sendDiagnostic,
  receiveDiagnostic,
];
