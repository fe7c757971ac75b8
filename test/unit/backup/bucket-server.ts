// A server on loopback that speaks as much of S3's protocol as backups need: objects in a Map, listings in pages of two.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export class BucketServer {
  readonly objects = new Map<string, Buffer>();
  /** The next so many requests are answered 503, as an overloaded server does. */
  failures = 0;
  requests = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        this.requests += 1;
        const answer = this.#answer(
          request.method ?? '',
          new URL(request.url ?? '', 'http://bucket'),
          request.headers.authorization ?? '',
          Buffer.concat(pieces),
        );
        response.writeHead(answer.status, { 'content-type': 'application/xml' });
        response.end(answer.body);
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(
    method: string,
    url: URL,
    authorization: string,
    body: Buffer,
  ): { status: number; body: Buffer | string } {
    if (!authorization.startsWith('AWS4-HMAC-SHA256 Credential=key-id/')) {
      return { status: 403, body: error('AccessDenied') };
    }
    if (this.failures > 0) {
      this.failures -= 1;
      return { status: 503, body: error('SlowDown') };
    }
    const [, bucket, ...words] = url.pathname.split('/');
    if (bucket !== 'backups') return { status: 404, body: error('NoSuchBucket') };
    const key = decodeURIComponent(words.join('/'));
    if (method === 'GET' && key === '') return { status: 200, body: this.#list(url) };
    if (method === 'PUT') {
      this.objects.set(key, body);
      return { status: 200, body: '' };
    }
    if (method === 'DELETE') {
      this.objects.delete(key);
      return { status: 204, body: '' };
    }
    const object = this.objects.get(key);
    return object === undefined
      ? { status: 404, body: error('NoSuchKey') }
      : { status: 200, body: object };
  }

  #list(url: URL): string {
    const prefix = url.searchParams.get('prefix') ?? '';
    const after = url.searchParams.get('continuation-token') ?? '';
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    const left = keys.filter((key) => key > after);
    const page = left.slice(0, 2);
    const more = left.length > page.length;
    const contents = page.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('');
    const token = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    return `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${token}${contents}</ListBucketResult>`;
  }
}

function error(code: string): string {
  return `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
}
