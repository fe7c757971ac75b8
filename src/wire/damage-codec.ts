// DamageFound as protobuf: to bytes, and back with every field checked.
import { MAX_ID_LENGTH } from './limits.ts';
import { type DamagedPlace, type DamageFound, MAX_DAMAGE_TOLD, MessageType } from './messages.ts';
import { codec } from './schema.ts';
import { MAX_EPOCH } from './version.ts';

interface WirePlace {
  lba: number;
  snapshotId: string;
}

const damageFoundCodec = codec<{ epoch: number; places: WirePlace[] }>('DamageFound');

export function encodeDamageFound({ epoch, places }: DamageFound): Uint8Array {
  const toWire = ({ lba, snapshotId }: DamagedPlace): WirePlace => ({
    lba,
    snapshotId: snapshotId ?? '',
  });
  return damageFoundCodec.encode({ epoch, places: places.map(toWire) });
}

/** Null: it says what cannot be. */
export function decodeDamageFound(b: Uint8Array, start: number, end: number): DamageFound | null {
  const said = damageFoundCodec.decode(b, start, end);
  if (said === null || said.epoch > MAX_EPOCH || said.places.length > MAX_DAMAGE_TOLD) return null;
  const places: DamagedPlace[] = [];
  for (const { lba, snapshotId } of said.places) {
    if (!Number.isSafeInteger(lba + 1) || snapshotId.length > MAX_ID_LENGTH) return null;
    places.push({ lba, snapshotId: snapshotId === '' ? null : snapshotId });
  }
  return { type: MessageType.DamageFound, epoch: said.epoch, places };
}
