// Long answers are compressed for whoever takes gzip, as Kubernetes' API server does it: a list of a thousand objects is
// mostly the same words. Short ones gain nothing, and streams are sent as they come.
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyInstance } from 'fastify';

/** From this length on. */
export const MIN_COMPRESSED_BYTES = 128 * 1024;

const gzipOnce = promisify(gzip);

/** The work is done on libuv's threads: the event loop has disks to serve. */
export function addCompression(app: FastifyInstance): void {
  app.addHook('onSend', async (request, reply, payload) => {
    const isText = typeof payload === 'string';
    if (!isText && !Buffer.isBuffer(payload)) return payload;
    if (payload.length < MIN_COMPRESSED_BYTES) return payload;
    if (reply.hasHeader('content-encoding')) return payload;
    // Caches between keep the two apart.
    const vary = reply.getHeader('vary');
    reply.header('vary', vary === undefined ? 'Accept-Encoding' : `${vary}, Accept-Encoding`);
    if (!takesGzip(request.headers['accept-encoding'] ?? '')) return payload;
    const packed = await gzipOnce(payload, { level: constants.Z_BEST_SPEED });
    reply.header('content-encoding', 'gzip');
    reply.header('content-length', packed.length);
    return packed;
  });
}

/** RFC 9110 §12.5.3: `gzip;q=0` refuses it. */
export function takesGzip(accepted: string): boolean {
  let others = false;
  for (const wish of accepted.toLowerCase().split(',')) {
    const [coding = '', ...parameters] = wish.split(';').map((part) => part.trim());
    const isRefused = parameters.some((one) => /^q=0(\.0{1,3})?$/.test(one));
    if (coding === 'gzip') return !isRefused;
    if (coding === '*') others = !isRefused;
  }
  return others;
}
