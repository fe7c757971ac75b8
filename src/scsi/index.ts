// The SCSI device server: decodes CDBs, keeps task sets, unit attentions, mode pages and reservations, and speaks to a
// BlockDevice. It has not heard of iSCSI: a transport hands it ScsiTasks and a Nexus.
export { LogicalUnit } from './logical-unit.ts';
export { decodeLun, encodeLun, MAX_LUN, NO_LUN, REPORT_LUNS_WELL_KNOWN_LUN } from './lun.ts';
export type { ProvisioningSpace } from './provisioning.ts';
export { Asc, SenseKey } from './sense.ts';
export { ScsiTargetDevice, type ScsiTargetOptions } from './target.ts';
export {
  type Nexus,
  ScsiStatus,
  type ScsiTarget,
  ScsiTask,
  TaskAttribute,
  TaskManagement,
  type TaskManagementRequest,
  TaskManagementResponse,
  type TaskOwner,
} from './task.ts';
