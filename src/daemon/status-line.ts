// What goes on, in one line: redrawn in place each second on a terminal, printed once a minute elsewhere.
import { formatBytes } from '../base/index.ts';
import type { Activity } from './daemon.ts';

const TERMINAL_PERIOD_MS = 1000;
const PLAIN_PERIOD_MS = 60_000;

export interface StatusOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export function renderActivity(before: Activity, now: Activity, seconds: number): string {
  const operations = Math.max(0, now.operations - before.operations) / seconds;
  const megabytes = Math.max(0, now.bytes - before.bytes) / seconds / 1e6;
  const used = `${formatBytes(now.dataBytes)} of ${formatBytes(now.usableBytes)} used`;
  const sessions = `${now.sessions} ${now.sessions === 1 ? 'session' : 'sessions'}`;
  const state = now.fault === '' ? '' : `POOL FAULTED: ${now.fault} | `;
  return `${state}${sessions} | ${Math.round(operations)} IOPS | ${megabytes.toFixed(1)} MB/s | ${used}`;
}

export class StatusLine {
  readonly #output: StatusOutput;
  readonly #read: () => Activity;
  readonly #timer: NodeJS.Timeout;
  readonly #terminal: boolean;
  #before: Activity;
  #beforeMs = performance.now();
  #shown = '';

  /** `observe` hears each line, for systemd's STATUS=. */
  constructor(output: StatusOutput, read: () => Activity, observe: (line: string) => void) {
    this.#output = output;
    this.#read = read;
    this.#before = read();
    this.#terminal = output.isTTY === true;
    const periodMs = this.#terminal ? TERMINAL_PERIOD_MS : PLAIN_PERIOD_MS;
    this.#timer = setInterval(() => observe(this.#tick()), periodMs);
    this.#timer.unref();
  }

  /** Prints a line above the status line. */
  print(line: string): void {
    this.#erase();
    this.#output.write(`${line}\n`);
    this.#draw();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#erase();
    this.#shown = '';
  }

  #tick(): string {
    const now = this.#read();
    const nowMs = performance.now();
    const line = renderActivity(this.#before, now, (nowMs - this.#beforeMs) / 1000);
    this.#before = now;
    this.#beforeMs = nowMs;
    if (this.#terminal) {
      this.#erase();
      // Wider than the terminal it would wrap, and could not be erased again.
      this.#shown = line.slice(0, Math.max(20, (this.#output.columns ?? 80) - 1));
      this.#draw();
    } else {
      this.#output.write(`${new Date().toISOString()} ${line}\n`);
    }
    return line;
  }

  #erase(): void {
    if (this.#shown !== '') this.#output.write('\r\u001b[K');
  }

  #draw(): void {
    if (this.#shown !== '') this.#output.write(this.#shown);
  }
}
