import assert from 'node:assert/strict';
import { type ChildProcess, execFile } from 'node:child_process';
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

/** What `receive` says of a server that reads a piece and refuses; `refusing` and `refused`: before it answers, and after. */
async function refusal(
  refusing: (child: ChildProcess) => void,
  refused: (child: ChildProcess) => void,
): Promise<string> {
  let child: ChildProcess | null = null;
  const app = fastify({ forceCloseConnections: true });
  app.addContentTypeParser('application/vnd.ashlar.stream', (_request, payload, done) =>
    done(null, payload),
  );
  app.post('/apis/ashlar.io/v1/volumes/:name/stream', async (request, reply) => {
    // Reads no further: the body is of no use to anybody from here on.
    for await (const _piece of request.body as AsyncIterable<Uint8Array>) break;
    const status = { kind: 'Status', code: 409, reason: 'Conflict', message: 'it does not fit' };
    refusing(child!);
    reply.raw.once('finish', () => setTimeout(() => refused(child!), 300));
    return reply.code(409).send(status);
  });
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-upload-'));
  try {
    const api = await app.listen({ host: '127.0.0.1', port: 0 });
    const file = join(folder, 'stream');
    writeFileSync(file, Buffer.alloc(STREAM_BYTES));
    const { killed, stderr } = await new Promise<{ killed: boolean; stderr: string }>((resolve) => {
      const args = [MAIN, '--api', api, 'receive', 'db', file];
      const sending = execFile(process.execPath, args, { timeout: LIMIT_MS }, (error, _out, err) =>
        resolve({ killed: error?.killed === true, stderr: err }),
      );
      child = sending;
    });
    assert.equal(killed, false, 'it waits for ever');
    return stderr;
  } finally {
    await app.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const nothing = (): void => {};

test('receive ends with what the server says of a stream that it did not take to its end', async () => {
  assert.match(await refusal(nothing, nothing), /it does not fit/);
});

test('also where it comes to reading the answer late: the server has not closed the connection by then', async () => {
  const said = await refusal(
    (child) => process.kill(child.pid!, 'SIGSTOP'),
    (child) => process.kill(child.pid!, 'SIGCONT'),
  );
  assert.match(said, /it does not fit/);
});
