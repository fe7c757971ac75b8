// What is kept of persistent reservations over a power cycle (APTPL, SPC-4 §5.13.5): JSON, as there is little of it and
// an operator may have to read it. PRGENERATION is not kept: it starts at 0 with each power on.
import { METADATA_KEYS } from '../../block/index.ts';
import {
  isAllRegistrants,
  isReservationType,
  MAX_REGISTRATIONS,
  NO_RESERVATIONS,
  type PersistentState,
  type Registration,
} from './state.ts';

/** The key under which the device keeps it. */
export const SAVED_STATE_KEY = METADATA_KEYS.reservations;
/** `saveMetadata` takes 64 KiB. */
export const MAX_SAVED_BYTES = 64 * 1024;
const VERSION = 1;

/** Null when there is nothing to keep. */
export function encodeSavedState(state: PersistentState): Buffer | null {
  if (!state.aptpl || state.registrations.length === 0) return null;
  return Buffer.from(
    JSON.stringify({
      version: VERSION,
      type: state.type,
      registrations: state.registrations.map((registration) => ({
        key: registration.key.toString(16),
        initiatorPort: registration.initiatorPort,
        relativeTargetPort: registration.relativeTargetPort,
        holds: registration.holds,
      })),
    }),
  );
}

/** Throws on what `encodeSavedState` never wrote: to serve without the fences that were set is worse than not to (C1). */
export function decodeSavedState(bytes: Uint8Array | null): PersistentState {
  if (bytes === null) return NO_RESERVATIONS;
  const damaged = (cause?: unknown): Error =>
    Object.assign(new Error('the saved persistent reservations are damaged', { cause }), {
      code: 'SCSI_RESERVATIONS_DAMAGED',
    });
  let saved: unknown;
  try {
    saved = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    throw damaged(error);
  }
  if (!isRecord(saved) || saved['version'] !== VERSION) throw damaged();
  const { type, registrations: list } = saved;
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_REGISTRATIONS) throw damaged();
  const registrations = list.map((item: unknown) => {
    const registration = decodeRegistration(item);
    if (registration === null) throw damaged();
    return registration;
  });
  const heldType = type === null ? null : Number(type);
  if (heldType !== null && !isReservationType(heldType)) throw damaged();
  const holders = registrations.filter((registration) => registration.holds).length;
  if (holders !== (heldType === null || isAllRegistrants(heldType) ? 0 : 1)) throw damaged();
  return { generation: 0, aptpl: true, registrations, type: heldType };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function decodeRegistration(item: unknown): Registration | null {
  if (!isRecord(item)) return null;
  const { key, initiatorPort, relativeTargetPort, holds } = item;
  if (typeof key !== 'string' || !/^[1-9a-f][0-9a-f]{0,15}$/.test(key)) return null;
  if (typeof initiatorPort !== 'string' || typeof holds !== 'boolean') return null;
  if (typeof relativeTargetPort !== 'number') return null;
  if (!Number.isInteger(relativeTargetPort) || relativeTargetPort < 0) return null;
  return { key: BigInt(`0x${key}`), initiatorPort, relativeTargetPort, holds };
}
