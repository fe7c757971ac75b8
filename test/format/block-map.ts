// What a volume's blocks are, while the log is applied: data, holes with versions, nothing. Rules of the section "The
// intent log" of docs/on-disk-format.md.

export interface Entry {
  /** 0 empty, 1 data, 2 a hole with a version. */
  readonly kind: number;
  readonly version: bigint;
  readonly address: bigint;
  readonly crc: number;
}

const EMPTY: Entry = { kind: 0, version: 0n, address: 0n, crc: 0 };

export class BlockMap {
  readonly entries = new Map<number, Entry>();
  /** Null pointers with a version, and unmaps of what has no entry: [first, end), version. */
  readonly holes: { first: number; end: number; version: bigint }[] = [];

  at(lba: number): Entry {
    const entry = this.entries.get(lba);
    if (entry !== undefined) return entry;
    let version = 0n;
    for (const hole of this.holes) {
      if (lba >= hole.first && lba < hole.end && hole.version > version) version = hole.version;
    }
    return version === 0n ? EMPTY : { ...EMPTY, kind: 2, version };
  }

  /** W2. */
  write(lba: number, version: bigint, address: bigint, crc: number): void {
    if (this.at(lba).version <= version) this.entries.set(lba, { kind: 1, version, address, crc });
  }

  unmap(lba: number, blocks: number, version: bigint, floor: bigint): void {
    const left: Entry = version > floor ? { ...EMPTY, kind: 2, version } : EMPTY;
    for (const [at, entry] of this.entries) {
      if (at >= lba && at < lba + blocks && entry.version <= version) this.entries.set(at, left);
    }
    if (version > floor) this.holes.push({ first: lba, end: lba + blocks, version });
  }

  /** B4 with a guard of 1, H3 with 2, a block that was moved with 3. */
  install(lba: number, copy: Entry, guard: number, join: bigint, floor: bigint): void {
    const has = this.at(lba);
    const take =
      guard !== 1
        ? has.kind === 1 && has.version === copy.version && (guard === 2 || has.crc === copy.crc)
        : has.version !== copy.version && (has.version < join || has.version < copy.version);
    if (!take) return;
    const hole = copy.version > floor ? { ...EMPTY, kind: 2, version: copy.version } : EMPTY;
    this.entries.set(lba, copy.kind === 1 ? copy : hole);
  }
}
