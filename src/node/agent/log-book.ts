// What the parts of this node have logged lately, for `kubectl logs`: the JSON lines as they were written, some thousands
// of them, by the part that wrote them.

export interface LogLine {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly component: string;
  readonly pool: string;
  readonly volume: string;
  readonly text: string;
}

export interface LogFilter {
  readonly component: string;
  /** Of the parts of that name, the one that is for this pool, or volume; empty: all. */
  readonly pool: string;
  readonly volume: string;
}

export interface LogRequest {
  readonly tailLines: number | null;
  readonly sinceMs: number | null;
  readonly limitBytes: number | null;
  readonly timestamps: boolean;
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

const MAX_LINES = 10_000;
/** A reader that is so far behind is let go. */
const MAX_WAITING = 10_000;

export class LogBook {
  readonly #lines: LogLine[] = [];
  readonly #followers = new Set<(line: LogLine) => void>();

  /** One line of JSON, as the logger wrote it. */
  write(text: string): void {
    const line = parse(text.trimEnd());
    if (line === null) return;
    this.#lines.push(line);
    if (this.#lines.length > MAX_LINES * 1.1) this.#lines.splice(0, this.#lines.length - MAX_LINES);
    for (const follower of this.#followers) follower(line);
  }

  async *read(filter: LogFilter, request: LogRequest): AsyncGenerator<string> {
    const waiting: LogLine[] = [];
    let wake: () => void = () => {};
    let isBehind = false;
    const follower = (line: LogLine): void => {
      if (!matches(line, filter)) return;
      if (waiting.length >= MAX_WAITING) isBehind = true;
      else waiting.push(line);
      wake();
    };
    if (request.follow) this.#followers.add(follower);
    try {
      let leftBytes = request.limitBytes ?? Number.POSITIVE_INFINITY;
      for (const line of this.#past(filter, request)) {
        const text = show(line, request.timestamps);
        leftBytes -= Buffer.byteLength(text);
        if (leftBytes < 0) return;
        yield text;
      }
      if (!request.follow) return;
      request.signal.addEventListener('abort', () => wake(), { once: true });
      while (!request.signal.aborted && !isBehind) {
        const line = waiting.shift();
        if (line !== undefined) {
          yield show(line, request.timestamps);
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      this.#followers.delete(follower);
    }
  }

  #past(filter: LogFilter, { tailLines, sinceMs }: LogRequest): LogLine[] {
    const lines = this.#lines.filter(
      (line) => matches(line, filter) && (sinceMs === null || line.timeMs >= sinceMs),
    );
    if (tailLines === null) return lines;
    return tailLines === 0 ? [] : lines.slice(-tailLines);
  }
}

function parse(text: string): LogLine | null {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null; // Not a line of the logger's.
  }
  const word = (key: string): string => {
    const value = fields[key];
    return typeof value === 'string' ? value : '';
  };
  const component = word('component');
  if (component === '') return null;
  const time = Date.parse(word('time'));
  return {
    timeMs: Number.isNaN(time) ? Date.now() : time,
    component,
    pool: word('pool'),
    volume: word('volume'),
    text,
  };
}

function matches(line: LogLine, { component, pool, volume }: LogFilter): boolean {
  if (line.component !== component) return false;
  return (pool === '' || line.pool === pool) && (volume === '' || line.volume === volume);
}

function show({ text, timeMs }: LogLine, timestamps: boolean): string {
  return timestamps ? `${new Date(timeMs).toISOString()} ${text}\n` : `${text}\n`;
}
