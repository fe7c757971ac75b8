// The API on a socket of its own, and a client that is as plain as they come.
import type { FastifyInstance } from 'fastify';
import { buildHttp } from '../../../src/apiserver/index.ts';
import { aServer, type ServerUnderTest } from './builders.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: it is what the test says it is.
  readonly body: any;
}

export interface Asked {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface WatchedLine {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: it is what the test says it is.
  readonly object: any;
}

export class ApiUnderTest {
  readonly server: ServerUnderTest['server'];
  readonly store: ServerUnderTest['store'];
  readonly url: string;
  readonly #app: FastifyInstance;

  private constructor(under: ServerUnderTest, app: FastifyInstance, url: string) {
    this.server = under.server;
    this.store = under.store;
    this.#app = app;
    this.url = url;
  }

  static async start(): Promise<ApiUnderTest> {
    const under = await aServer();
    const app = await buildHttp({
      server: under.server,
      version: '0.1.0',
      loopbackOnly: true,
      access: null,
    });
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    return new ApiUnderTest(under, app, url);
  }

  async stop(): Promise<void> {
    await this.#app.close();
  }

  async call(method: string, path: string, { body, headers = {} }: Asked = {}): Promise<Answer> {
    const isText = typeof body === 'string';
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        ...(body === undefined || isText ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    const isJson = (answer.headers.get('content-type') ?? '').includes('json');
    return {
      status: answer.status,
      headers: answer.headers,
      text,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  /** The lines of a watch that ends by itself. */
  async watch(
    path: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<WatchedLine[]> {
    const answer = await fetch(`${this.url}${path}`, { headers });
    return (await answer.text())
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as WatchedLine);
  }
}

/** The next line of a watch that goes on. */
export async function* linesOf(answer: Response): AsyncGenerator<WatchedLine> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of answer.body!) {
    rest += decoder.decode(chunk as Uint8Array, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop()!;
    for (const line of lines) yield JSON.parse(line) as WatchedLine;
  }
}
