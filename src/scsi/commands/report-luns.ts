// REPORT LUNS, SPC-4 §6.33.
import { Access, type Command } from '../command.ts';
import { encodeLun, REPORT_LUNS_WELL_KNOWN_LUN } from '../lun.ts';
import { Asc } from '../sense.ts';

/** The parameter data for a SELECT REPORT, or null where there is none such. */
export function reportLunsData(luns: readonly number[], select: number): Buffer | null {
  let listed: readonly number[];
  if (select === 0x00) listed = luns;
  else if (select === 0x01) listed = [REPORT_LUNS_WELL_KNOWN_LUN];
  else if (select === 0x02) listed = [...luns, REPORT_LUNS_WELL_KNOWN_LUN];
  else return null;
  const data = Buffer.alloc(8 + 8 * listed.length);
  data.writeUInt32BE(8 * listed.length, 0);
  for (const [index, lun] of listed.entries()) encodeLun(lun, data, 8 + 8 * index);
  return data;
}

const reportLuns: Command = {
  opcode: 0xa0,
  serviceAction: null,
  name: 'REPORT LUNS',
  usage: [0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0x04],
  access: Access.Always,
  duringReserve: true,
  duringUnitAttention: true,
  duringSanitize: true,
  execute(execution) {
    const { cdb, lu, nexus } = execution;
    const data = reportLunsData(lu.target.luns(), cdb[2]!);
    if (data === null) return execution.failField(2);
    // Reported by being asked for (SPC-4 §6.33.1).
    nexus.attentions.remove(Asc.ReportedLunsDataHasChanged);
    return execution.reply(data, cdb.readUInt32BE(6));
  },
};

export const reportLunsCommands: readonly Command[] = [reportLuns];
