// Mode pages (SPC-4 §7.5, SBC-4 §6.4): current, changeable, default and saved values, and what of them the device server
// acts upon. WCE lives in the device, durably; the rest of what can be saved is kept with the device as a small blob.
import { type BlockDevice, IoStatus, METADATA_KEYS } from '../block/index.ts';
import { PROVISIONING_PAGE, type SpaceSource, writeThreshold } from './provisioning.ts';

export const ModePage = {
  ReadWriteErrorRecovery: 0x01,
  Caching: 0x08,
  Control: 0x0a,
  InformationalExceptions: 0x1c,
} as const;
export const ALL_PAGES = 0x3f;
export const ALL_SUBPAGES = 0xff;

/** MODE SENSE's PC field. */
export const PageControl = { Current: 0, Changeable: 1, Default: 2, Saved: 3 } as const;
export type PageControl = (typeof PageControl)[keyof typeof PageControl];

/** `saveMetadata` key of the saved values: a version byte, then the control page without its two header bytes. */
const METADATA_KEY = METADATA_KEYS.modePages;
const METADATA_VERSION = 1;

const WCE = 0x04; // Caching page, byte 2.
const D_SENSE = 0x04; // Control page, byte 2.
const QERR = 0x06; // Control page, byte 3.
const SWP = 0x08; // Control page, byte 4.
const TAS = 0x40; // Control page, byte 5.

interface Page {
  readonly code: number;
  readonly subpage: number;
  readonly current: Buffer;
  readonly saved: Buffer;
  readonly defaults: Buffer;
  readonly changeable: Buffer;
}

/** A page as MODE SENSE shows it, header included; PS set, as each of ours can be saved. */
function page(defaults: number[], changes: Readonly<Record<number, number>> = {}): Page {
  const bytes = Buffer.from(defaults);
  const changeable = Buffer.alloc(bytes.length);
  const spf = (bytes[0]! & 0x40) !== 0;
  bytes.copy(changeable, 0, 0, spf ? 4 : 2);
  for (const [at, mask] of Object.entries(changes)) changeable[Number(at)] = mask;
  return {
    code: bytes[0]! & 0x3f,
    subpage: spf ? bytes[1]! : 0,
    current: Buffer.from(bytes),
    saved: Buffer.from(bytes),
    defaults: bytes,
    changeable,
  };
}

function zeros(count: number): number[] {
  return new Array(count).fill(0);
}

interface Pages {
  readonly caching: Page;
  readonly control: Page;
  /** Where thresholds are offered. */
  readonly provisioning: Page | null;
  readonly all: readonly Page[];
}

function makePages(space: SpaceSource | null): Pages {
  // AWRE and ARRE: bad blocks are repaired as they are met, by the layers below.
  // LBPERE: thin provisioning thresholds are reported, by 38h/07h, where there are any.
  const lbpere = space === null ? 0 : 0x80;
  const errorRecovery = page([0x81, 0x0a, 0xc0, 0, 0, 0, 0, lbpere, ...zeros(4)]);
  const caching = page([0x88, 0x12, WCE, ...zeros(17)], { 2: WCE });
  // GLTSD: log parameters are not saved. QUEUE ALGORITHM MODIFIER 1: SIMPLE tasks are reordered freely.
  const control = page([0x8a, 0x0a, 0x02, 0x10, ...zeros(8)], {
    2: D_SENSE,
    3: QERR,
    4: SWP,
    5: TAS,
  });
  const controlExtension = page([0xca, 0x01, 0x00, 0x1c, ...zeros(28)]);
  const exceptions = page([0x9c, 0x0a, 0x08, ...zeros(9)]);
  const provisioning = space === null ? null : page([...PROVISIONING_PAGE]);
  const all = [errorRecovery, caching, control, controlExtension, exceptions];
  if (provisioning !== null) all.push(provisioning);
  return { caching, control, provisioning, all };
}

/** Why a page of a MODE SELECT was refused: where in the page, and at which bit. */
export interface PageFault {
  readonly byte: number;
  readonly bit: number | null;
}

export class ModePages {
  readonly #device: BlockDevice;
  readonly #space: SpaceSource | null;
  readonly #pages: Pages;
  // What the hot path asks, decoded once.
  descriptorSense = false;
  softwareWriteProtect = false;
  taskAbortedStatus = false;
  /** QERR: 0, 1 or 3. */
  queueErrorManagement = 0;

  /** `space`: of a unit that tells hosts how much it has. */
  constructor(device: BlockDevice, space: SpaceSource | null) {
    this.#device = device;
    this.#space = space;
    this.#pages = makePages(space);
    const kept = device.loadMetadata(METADATA_KEY);
    const { saved, changeable } = this.#pages.control;
    if (kept !== null && kept.length === saved.length - 1 && kept[0] === METADATA_VERSION) {
      for (let at = 2; at < saved.length; at += 1) {
        saved[at] = (saved[at]! & ~changeable[at]!) | (kept[at - 1]! & changeable[at]!);
      }
    }
    this.reset();
  }

  /** Back to the saved values: a hard reset, a logical unit reset. */
  reset(): void {
    for (const { current, saved } of this.#pages.all) saved.copy(current);
    this.#decode();
  }

  /** The pages that `code` and `subpage` select, in order; empty when there is none such. */
  sense(code: number, subpage: number, control: PageControl): Buffer[] {
    this.#refreshWriteCache();
    this.#refreshThreshold();
    return this.#pages.all
      .filter((one) => code === ALL_PAGES || one.code === code)
      .filter((one) => subpage === ALL_SUBPAGES || one.subpage === subpage)
      .map((one) => {
        if (control === PageControl.Changeable) return one.changeable;
        if (control === PageControl.Default) return one.defaults;
        return control === PageControl.Saved ? one.saved : one.current;
      });
  }

  /** True when some page has this code. */
  knows(code: number): boolean {
    return code === ALL_PAGES || this.#pages.all.some((one) => one.code === code);
  }

  /** Checks one page of a MODE SELECT parameter list; null when it can be applied. */
  check(bytes: Buffer): PageFault | null {
    this.#refreshWriteCache();
    const target = this.#find(bytes);
    if (target === null) return { byte: 0, bit: 5 };
    const header = (bytes[0]! & 0x40) !== 0 ? 4 : 2;
    if (bytes.length !== target.current.length) return { byte: header === 4 ? 2 : 1, bit: null };
    for (let at = header; at < bytes.length; at += 1) {
      const wrong = (bytes[at]! ^ target.current[at]!) & ~target.changeable[at]!;
      if (wrong !== 0) return { byte: at, bit: 31 - Math.clz32(wrong) };
    }
    // QERR 10b is reserved (SPC-4 table 395).
    if (target === this.#pages.control && (bytes[3]! & QERR) === 0x04) return { byte: 3, bit: 2 };
    return null;
  }

  /** Applies a page that `check` passed. Returns true when a value changed. WCE is the caller's to set in the device. */
  apply(bytes: Buffer): boolean {
    const target = this.#find(bytes);
    if (target === null || bytes.length !== target.current.length) return false;
    let changed = false;
    for (let at = 2; at < bytes.length; at += 1) {
      const mask = target.changeable[at]!;
      const header = target.subpage !== 0 && at < 4;
      if (header || mask === 0 || ((bytes[at]! ^ target.current[at]!) & mask) === 0) continue;
      target.current[at] = (target.current[at]! & ~mask) | (bytes[at]! & mask);
      changed = true;
    }
    this.#decode();
    return changed;
  }

  /** WCE as a caching page wants it; null for any other page. */
  wantsWriteCache(bytes: Buffer): boolean | null {
    return this.#find(bytes) === this.#pages.caching ? (bytes[2]! & WCE) !== 0 : null;
  }

  /** Back to the default values, of all that can be changed (MODE SELECT with RTD). */
  defaults(): readonly Buffer[] {
    return this.#pages.all.map((one) => one.defaults);
  }

  /** Saves the current values durably. */
  save(done: (status: IoStatus) => void): void {
    const { current } = this.#pages.control;
    const kept = Buffer.from(current.subarray(1));
    kept[0] = METADATA_VERSION;
    const values = this.#pages.all.map((one) => Buffer.from(one.current));
    this.#device.saveMetadata(METADATA_KEY, kept, (status) => {
      if (status === IoStatus.Ok) {
        for (const [index, value] of values.entries()) value.copy(this.#pages.all[index]!.saved);
      }
      done(status);
    });
  }

  #find(bytes: Buffer): Page | null {
    const subpage = (bytes[0]! & 0x40) !== 0 ? bytes[1]! : 0;
    const code = bytes[0]! & 0x3f;
    return this.#pages.all.find((one) => one.code === code && one.subpage === subpage) ?? null;
  }

  #refreshWriteCache(): void {
    const { current, saved } = this.#pages.caching;
    const bit = this.#device.writeCache ? WCE : 0;
    current[2] = (current[2]! & ~WCE) | bit;
    saved[2] = (saved[2]! & ~WCE) | bit;
  }

  /** The pool grows, and its threshold with it. */
  #refreshThreshold(): void {
    const { provisioning } = this.#pages;
    if (provisioning === null || this.#space === null) return;
    const space = this.#space();
    for (const values of [provisioning.current, provisioning.saved, provisioning.defaults]) {
      writeThreshold(values, space);
    }
  }

  #decode(): void {
    const { current } = this.#pages.control;
    this.descriptorSense = (current[2]! & D_SENSE) !== 0;
    this.queueErrorManagement = (current[3]! & QERR) >> 1;
    this.softwareWriteProtect = (current[4]! & SWP) !== 0;
    this.taskAbortedStatus = (current[5]! & TAS) !== 0;
  }
}
