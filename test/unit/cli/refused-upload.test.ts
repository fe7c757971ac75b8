import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fastify from 'fastify';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
/** More than sockets and pipes hold: most of it is not sent when the answer comes. */
const STREAM_BYTES = 16 * 2 ** 20;
const LIMIT_MS = 30_000;

test('receive ends with what the server says of a stream that it did not take to its end', async () => {
  const app = fastify({ forceCloseConnections: true });
  app.addContentTypeParser('application/vnd.ashlar.stream', (_request, payload, done) =>
    done(null, payload),
  );
  app.post('/apis/ashlar.io/v1/volumes/:name/stream', async (request, reply) => {
    // Reads no further: the body is of no use to anybody from here on.
    for await (const _piece of request.body as AsyncIterable<Uint8Array>) break;
    const status = { kind: 'Status', code: 409, reason: 'Conflict', message: 'it does not fit' };
    return reply.code(409).send(status);
  });
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-upload-'));
  try {
    const api = await app.listen({ host: '127.0.0.1', port: 0 });
    const file = join(folder, 'stream');
    writeFileSync(file, Buffer.alloc(STREAM_BYTES));
    const { killed, stderr } = await new Promise<{ killed: boolean; stderr: string }>((resolve) => {
      const args = [MAIN, '--api', api, 'receive', 'db', file];
      const child = execFile(process.execPath, args, { timeout: LIMIT_MS }, (_error, _out, err) =>
        resolve({ killed: child.killed, stderr: err }),
      );
    });
    assert.equal(killed, false, 'it waits for ever');
    assert.match(stderr, /it does not fit/);
  } finally {
    await app.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
