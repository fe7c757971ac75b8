// The API's client: all that the command line knows of ashlar.
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { Readable } from 'node:stream';

export const STANDARD_API = '127.0.0.1:9808';
/** Creation and deletion answer when done; this is for a server that never answers. */
const TIMEOUT_MS = 120_000;
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** What a table is asked for by. */
export const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

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

export interface ClientOptions {
  /** host:port, or an http or https URL. */
  readonly address: string;
  /** A bearer token; with TLS only. */
  readonly token: string | null;
  /** A file with the certificate that the server's is signed by (or is); null: the system's. */
  readonly caFile: string | null;
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly accept: string;
  readonly body: unknown;
  readonly contentType: string;
  readonly timeoutMs: number;
}

export class Client {
  readonly #base: URL;
  readonly #token: string | null;
  #ca: Buffer | null;

  /** Throws Unreachable where the address is none. */
  constructor({ address, token, caFile }: ClientOptions) {
    const url = /^https?:\/\//.test(address) ? address : `http://${address}`;
    if (!URL.canParse(url)) {
      throw new Unreachable(`'${address}' is not an address; write it like ${STANDARD_API}`);
    }
    this.#base = new URL(url);
    if (token !== null && this.#base.protocol !== 'https:') {
      throw new Unreachable(
        `a token is sent over TLS only: write the address like https://${this.#base.host}`,
      );
    }
    this.#token = token;
    try {
      this.#ca = caFile === null ? null : readFileSync(caFile);
    } catch (error) {
      throw new Unreachable(`${caFile}: cannot be read: ${(error as Error).message}`);
    }
  }

  /** The same, of another server of the same cluster. */
  at(host: string): Client {
    const { protocol } = this.#base;
    const other = new Client({ address: `${protocol}//${host}`, token: this.#token, caFile: null });
    other.#ca = this.#ca;
    return other;
  }

  get address(): string {
    return this.#base.host;
  }

  get url(): string {
    return this.#base.origin;
  }

  get token(): string | null {
    return this.#token;
  }

  get ca(): Buffer | null {
    return this.#ca;
  }

  async get(path: string, accept = 'application/json'): Promise<unknown> {
    return await this.#json({ ...GET, path, accept });
  }

  async create(path: string, body: unknown): Promise<unknown> {
    return await this.#json({ ...GET, method: 'POST', path, body });
  }

  async patch(
    path: string,
    body: unknown,
    contentType = 'application/merge-patch+json',
  ): Promise<unknown> {
    return await this.#json({ ...GET, method: 'PATCH', path, body, contentType });
  }

  async delete(path: string, body: unknown): Promise<unknown> {
    return await this.#json({ ...GET, method: 'DELETE', path, body });
  }

  /** The answer as it is; rejects for one that is no success, with what it says. */
  async text(path: string, timeoutMs = 10_000): Promise<string> {
    const answer = await this.#send({ ...GET, path, accept: '*/*', timeoutMs });
    const text = await this.#text(answer);
    const code = answer.statusCode ?? 0;
    if (code < 200 || code >= 300) throw new ServerError('Unknown', text.trim(), code);
    return text;
  }

  /** The answer as it comes. */
  async *stream(path: string, accept = 'application/json'): AsyncGenerator<string> {
    const answer = await this.#send({ ...GET, path, accept, timeoutMs: 0 });
    answer.setEncoding('utf8');
    if ((answer.statusCode ?? 0) >= 300) throw await this.#refusal(answer);
    for await (const chunk of answer) yield chunk as string;
  }

  /** The answer's bytes, as they come. */
  async download(path: string): Promise<IncomingMessage> {
    const answer = await this.#send({ ...GET, path, accept: '*/*', timeoutMs: 0 });
    if ((answer.statusCode ?? 0) >= 300) throw await this.#refusal(answer);
    return answer;
  }

  /** Sends bytes as they come. Rejects as the server says, which may be before all were sent. */
  async upload(path: string, contentType: string, body: Readable): Promise<unknown> {
    return await this.#json({ ...GET, method: 'POST', path, contentType, body, timeoutMs: 0 });
  }

  /** What the server says of a long piece of work: JSON, a line a step. */
  async *steps(path: string, body: unknown): AsyncGenerator<unknown> {
    const answer = await this.#send({ ...GET, method: 'POST', path, body, timeoutMs: 0 });
    if ((answer.statusCode ?? 0) >= 300) throw await this.#refusal(answer);
    answer.setEncoding('utf8');
    let rest = '';
    for await (const chunk of answer) {
      const lines = (rest + (chunk as string)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as unknown;
    }
  }

  /** A watch: an event a line. */
  async *watch(path: string, accept: string): AsyncGenerator<{ type: string; object: unknown }> {
    let rest = '';
    for await (const chunk of this.stream(path, accept)) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line !== '') yield JSON.parse(line) as { type: string; object: unknown };
      }
    }
  }

  async #json(call: Call): Promise<unknown> {
    const answer = await this.#send(call);
    const code = answer.statusCode ?? 0;
    if (code < 200 || code >= 300) throw await this.#refusal(answer);
    for (const warning of warningsOf(answer)) process.stderr.write(`Warning: ${warning}\n`);
    return this.#parse(await this.#text(answer), code);
  }

  async #refusal(answer: IncomingMessage): Promise<Error> {
    const code = answer.statusCode ?? 0;
    const { message, reason } = this.#parse(await this.#text(answer), code) as StatusAnswer;
    return new ServerError(
      reason ?? 'Unknown',
      message ?? `the server answered with HTTP ${code}`,
      code,
    );
  }

  #parse(text: string, code: number): unknown {
    try {
      return JSON.parse(text);
    } catch {
      throw new Unreachable(`${this.address} does not answer like ashlar (HTTP ${code})`);
    }
  }

  async #text(answer: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of answer) {
        const part = Buffer.from(chunk as Uint8Array);
        bytes += part.length;
        if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
        chunks.push(part);
      }
    } catch (error) {
      throw this.#unreachable(error as Error);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  #send({ method, path, accept, body, contentType, timeoutMs }: Call): Promise<IncomingMessage> {
    const stream = body instanceof Readable ? body : null;
    const payload = body === null || stream !== null ? '' : JSON.stringify(body);
    const headers: Record<string, string> = { accept, 'user-agent': 'ashlar' };
    if (this.#token !== null) headers['authorization'] = `Bearer ${this.#token}`;
    if (stream !== null) headers['content-type'] = contentType;
    if (payload !== '') {
      headers['content-type'] = contentType;
      headers['content-length'] = String(Buffer.byteLength(payload));
    }
    const isTls = this.#base.protocol === 'https:';
    const send = isTls ? requestHttps : requestHttp;
    const tls = isTls && this.#ca !== null ? { ca: this.#ca } : {};
    return new Promise((resolve, reject) => {
      const call = send(
        new URL(path, this.#base),
        {
          method,
          headers,
          ...tls,
          ...(timeoutMs === 0 ? {} : { timeout: timeoutMs }),
          ...(stream === null ? {} : { agent: ownConnection(isTls) }),
        },
        resolve,
      );
      call.on('timeout', () => call.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
      call.on('error', (cause) => reject(this.#unreachable(cause)));
      if (stream === null) {
        call.end(payload);
        return;
      }
      // The answer to what was refused comes while we still send; what cannot be read is nobody's answer. Nobody takes the
      // rest either: a connection with that in it would hold up this process, and whatever else was asked over it.
      call.on('response', (answer) => {
        stream.unpipe(call);
        answer.once('end', () => call.destroy());
      });
      stream.on('error', (cause) => {
        call.destroy(cause);
      });
      stream.pipe(call);
    });
  }

  #unreachable(cause: Error & { code?: string }): Unreachable {
    const why = cause.code === 'ECONNREFUSED' ? 'nothing listens there' : cause.message;
    const hint = /CERT|certificate|SELF_SIGNED/i.test(`${cause.code} ${cause.message}`)
      ? 'Name its certificate with --ca-file or ASHLAR_CA_FILE'
      : "Is 'ashlar serve' running? Another address: --api or ASHLAR_API";
    return new Unreachable(`cannot reach the API at ${this.address}: ${why}. ${hint}`, { cause });
  }
}

/**
 * For a stream: a connection of its own, which this side ends. With `Connection: close` the server would end it behind an
 * early answer, with the rest of the stream unread; that is a reset, and takes the answer along if it has not been read.
 */
function ownConnection(isTls: boolean): HttpAgent {
  return isTls ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
}

const GET: Call = {
  method: 'GET',
  path: '/',
  accept: 'application/json',
  body: null,
  contentType: 'application/json',
  timeoutMs: TIMEOUT_MS,
};

function warningsOf(answer: IncomingMessage): string[] {
  const header = answer.headers['warning'];
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '');
  return [...text.matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)].map(([, quoted = '']) =>
    quoted.replaceAll(/\\(.)/g, '$1'),
  );
}
