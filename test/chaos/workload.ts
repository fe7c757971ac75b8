// Hosts that never stop: they write, read, unmap and flush, log in again whenever they are thrown out, and check every answer
// against the model.
import { BLOCK_BYTES, CheckCondition, IscsiDisk, Lost } from './iscsi-disk.ts';
import { type BlockModel, blockOf } from './model.ts';

export class Workload {
  readonly #port: number;
  readonly #iqn: string;
  readonly #model: BlockModel;
  readonly #random: () => number;
  #disk: IscsiDisk | null = null;
  #login: Promise<IscsiDisk> | null = null;
  #running = true;
  #workers: Promise<void>[] = [];
  #failure: Error | null = null;
  /** Operations that were answered, and the longest time between two answers, in ms. */
  answered = 0;
  longestGapMs = 0;
  logins = 0;
  errors = new Map<string, number>();
  #lastMs = performance.now();

  constructor(port: number, iqn: string, model: BlockModel, random: () => number) {
    this.#port = port;
    this.#iqn = iqn;
    this.#model = model;
    this.#random = random;
  }

  start(depth: number): void {
    this.#workers = Array.from({ length: depth }, () => this.#work());
  }

  /** Rejects with what a host found wrong. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#workers);
    this.#disk?.close();
    this.throwFailure();
  }

  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Reads and checks every block, while no worker runs. */
  async readAll(): Promise<void> {
    const step = 32;
    for (let lba = 0; lba < this.#model.blocks; ) {
      try {
        const disk = await this.#session();
        const count = Math.min(step, this.#model.blocks - lba);
        this.#model.check(lba, await disk.read(lba, count));
        lba += count;
      } catch (error) {
        if (!this.#isPassing(error)) throw error;
        await pause(100);
      }
    }
  }

  async #work(): Promise<void> {
    while (this.#running && this.#failure === null) {
      try {
        await this.#once();
      } catch (error) {
        if (!this.#isPassing(error)) {
          this.#failure ??= error as Error;
          return;
        }
        await pause(50);
      }
    }
  }

  async #once(): Promise<void> {
    const disk = await this.#session();
    const model = this.#model;
    const chance = this.#random();
    const count = this.#random() < 0.7 ? 1 : 1 + Math.floor(this.#random() * 8);
    const lba = Math.floor(this.#random() * (model.blocks - count));
    if (chance < 0.03) {
      await disk.flush();
      this.#note();
      return;
    }
    if (!model.claim(lba, count)) return;
    try {
      if (chance < 0.4) {
        model.check(lba, await disk.read(lba, count));
        this.#note();
        return;
      }
      const unmaps = chance < 0.45;
      const id = unmaps ? 0 : model.nextId();
      model.issued(lba, count, id);
      try {
        if (unmaps) await disk.unmap(lba, count);
        else {
          const data = Buffer.alloc(count * BLOCK_BYTES);
          for (let index = 0; index < count; index += 1) {
            blockOf(lba + index, id, data, index * BLOCK_BYTES);
          }
          await disk.write(lba, data, chance < 0.5);
        }
      } catch (error) {
        model.lost(lba, count, id);
        throw error;
      }
      model.acked(lba, count, id);
      this.#note();
    } finally {
      model.free(lba, count);
    }
  }

  #note(): void {
    this.answered += 1;
    const now = performance.now();
    this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastMs);
    this.#lastMs = now;
  }

  async #session(): Promise<IscsiDisk> {
    if (this.#disk !== null && !this.#disk.lost) return this.#disk;
    this.#login ??= IscsiDisk.login(this.#port, this.#iqn, 'iqn.2026-11.test:chaos').finally(() => {
      this.#login = null;
    });
    this.#disk = await this.#login;
    this.logins += 1;
    return this.#disk;
  }

  /** What happens to hosts of a cluster in trouble; anything else is a finding. */
  #isPassing(error: unknown): boolean {
    const message = error instanceof Error ? error.message : String(error);
    const passing =
      error instanceof Lost ||
      (error instanceof CheckCondition && error.key === 6) ||
      /login refused 0301h|ECONNREFUSED|ECONNRESET|EPIPE/.test(message);
    if (passing) this.errors.set(message, (this.errors.get(message) ?? 0) + 1);
    return passing;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
