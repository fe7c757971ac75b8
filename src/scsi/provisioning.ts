// The space that a thin unit takes its blocks from, as hosts see it (SBC-4 r22 §4.7): how much is used and left (log page
// 0Ch), and the soft threshold at which they are told (mode page 1Ch/02h, 06h/38h/07h). All counted in threshold sets of
// one size, which VPD page B2h says. A unit of which this is not known offers none of them.

/** Of the pool that the unit lives in, and shares with others; in bytes. */
export interface ProvisioningSpace {
  readonly usedBytes: number;
  readonly availableBytes: number;
  /** Hosts are told when no more than so much is available; null: never. */
  readonly tellAtBytes: number | null;
}

/** Null: not known just now. */
export type SpaceSource = () => ProvisioningSpace | null;

/** One threshold set: counts of 32 bits reach 4 PiB of them. */
const SET_BYTES = 1024 * 1024;

/** Parameter codes of log page 0Ch, and THRESHOLD RESOURCE of mode page 1Ch/02h. */
export const ProvisioningResource = { Available: 0x01, Used: 0x02 } as const;

/** THRESHOLD EXPONENT: a set has two to the power of it logical blocks. */
export function thresholdExponent(logicalBlockBytes: number): number {
  return Math.log2(SET_BYTES / logicalBlockBytes);
}

function sets(bytes: number): number {
  return Math.min(Math.floor(bytes / SET_BYTES), 0xffff_ffff);
}

/** SCOPE 10b: not dedicated to this unit. */
const SCOPE_SHARED = 0x02;
const RESOURCE_PARAMETER_BYTES = 12;

/**
 * The parameters of log page 0Ch, SBC-4 r22 §6.4.5, from `pointer` on; null when there are none from there on:
 *
 *    0-1 PARAMETER CODE    2 control: 03h, a binary list    3 PARAMETER LENGTH 8
 *    4-7 RESOURCE COUNT, in sets    8 SCOPE (bits 1-0)    9-11 reserved
 */
export function provisioningParameters(
  space: ProvisioningSpace | null,
  pointer: number,
): Buffer | null {
  const counts = [
    [ProvisioningResource.Available, space?.availableBytes ?? 0],
    [ProvisioningResource.Used, space?.usedBytes ?? 0],
  ] as const;
  const wanted = counts.filter(([code]) => code >= pointer);
  if (wanted.length === 0) return null;
  const data = Buffer.alloc(wanted.length * RESOURCE_PARAMETER_BYTES);
  for (const [index, [code, bytes]] of wanted.entries()) {
    const at = index * RESOURCE_PARAMETER_BYTES;
    data.writeUInt16BE(code, at);
    data[at + 2] = 0x03;
    data[at + 3] = RESOURCE_PARAMETER_BYTES - 4;
    data.writeUInt32BE(sets(bytes), at + 4);
    data[at + 8] = SCOPE_SHARED;
  }
  return data;
}

/** Where the one threshold descriptor is in mode page 1Ch/02h. */
const DESCRIPTOR_AT = 16;
const ENABLED = 0x80;

/**
 * Logical Block Provisioning mode page, SBC-4 r22 §6.5.9, with one threshold descriptor. SITUA 0: every nexus is told.
 *
 *   16 ENABLED (bit 7), THRESHOLD TYPE 000b soft (bits 5-3), THRESHOLD ARMING 000b decreasing (bits 2-0)
 *   17 THRESHOLD RESOURCE    20-23 THRESHOLD COUNT, in sets
 */
export const PROVISIONING_PAGE: readonly number[] = [
  0xdc,
  0x02,
  0x00,
  0x14,
  ...new Array(20).fill(0),
];

/** Writes the threshold into the page's values. */
export function writeThreshold(page: Buffer, space: ProvisioningSpace | null): void {
  const tellAtBytes = space?.tellAtBytes ?? null;
  page[DESCRIPTOR_AT] = tellAtBytes === null ? 0 : ENABLED;
  page[DESCRIPTOR_AT + 1] = ProvisioningResource.Available;
  page.writeUInt32BE(sets(tellAtBytes ?? 0), DESCRIPTOR_AT + 4);
}
