// The API's client: all that the command line knows of ashlar.
import { request } from 'node:http';

export const STANDARD_API = '127.0.0.1:9808';
/** Creation and deletion answer when done; this is for a server that never answers. */
const TIMEOUT_MS = 120_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

interface StatusAnswer {
  readonly kind?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
}

/** The server refused; the message is the server's. */
export class ServerError extends Error {
  override readonly name = 'ServerError';
  readonly reason: string;
  readonly code: number;

  constructor(reason: string, message: string, code: number) {
    super(message);
    this.reason = reason;
    this.code = code;
  }
}

/** No answer came. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

export class Client {
  readonly #base: URL;

  /** `address`: host:port, or an http URL. Throws Unreachable where it is neither. */
  constructor(address: string) {
    const url = /^https?:\/\//.test(address) ? address : `http://${address}`;
    if (!URL.canParse(url) || !url.startsWith('http://')) {
      throw new Unreachable(`'${address}' is not an address; write it like ${STANDARD_API}`);
    }
    this.#base = new URL(url);
  }

  get address(): string {
    return this.#base.host;
  }

  async get(path: string): Promise<unknown> {
    return await this.#send('GET', path, null, '');
  }

  async create(path: string, body: unknown): Promise<unknown> {
    return await this.#send('POST', path, body, 'application/json');
  }

  async patch(path: string, body: unknown): Promise<unknown> {
    return await this.#send('PATCH', path, body, 'application/merge-patch+json');
  }

  async delete(path: string, body: unknown): Promise<unknown> {
    return await this.#send('DELETE', path, body, 'application/json');
  }

  #send(method: string, path: string, body: unknown, contentType: string): Promise<unknown> {
    const payload = body === null ? '' : JSON.stringify(body);
    const headers: Record<string, string> = { accept: 'application/json' };
    if (payload !== '') {
      headers['content-type'] = contentType;
      headers['content-length'] = String(Buffer.byteLength(payload));
    }
    return new Promise((resolve, reject) => {
      const call = request(
        new URL(path, this.#base),
        { method, headers, timeout: TIMEOUT_MS },
        (answer) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          answer.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes > MAX_ANSWER_BYTES) call.destroy(new Error('the answer is too long'));
            else chunks.push(chunk);
          });
          answer.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            const code = answer.statusCode ?? 0;
            try {
              const parsed: unknown = JSON.parse(text);
              if (code >= 200 && code < 300) resolve(parsed);
              else reject(toServerError(parsed as StatusAnswer, code));
            } catch {
              reject(new Unreachable(`${this.address} does not answer like ashlar (HTTP ${code})`));
            }
          });
          answer.on('error', (cause) => reject(this.#unreachable(cause)));
        },
      );
      call.on('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
      call.on('error', (cause) => reject(this.#unreachable(cause)));
      call.end(payload);
    });
  }

  #unreachable(cause: Error & { code?: string }): Unreachable {
    const why = cause.code === 'ECONNREFUSED' ? 'nothing listens there' : cause.message;
    return new Unreachable(
      `cannot reach the API at ${this.address}: ${why}. Is 'ashlar serve' running? Another address: --api or ASHLAR_API`,
      { cause },
    );
  }
}

function toServerError(answer: StatusAnswer, code: number): ServerError {
  const message = answer.message ?? `the server answered with HTTP ${code}`;
  return new ServerError(answer.reason ?? 'Unknown', message, code);
}
