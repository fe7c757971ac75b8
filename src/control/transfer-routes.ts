// Streams and backups over HTTP, beside the kinds: their bodies are data, not objects.
//
//   GET  …/snapshots/V@NAME/stream?from=NAME&resume=LBA    the stream
//   GET  …/volumes/V/stream                                where an interrupted one goes on
//   POST …/volumes/V/stream?replicaNode=A&…                receives one; the nodes are a new volume's
//   POST …/snapshots/V@NAME/backup, …/volumes/V/restore    to and from a place: a line of JSON for each step, the last
//                                                          one says how it ended
//   POST …/backups                                         what a place holds
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { type Access, STREAM_TYPE } from '../apiserver/index.ts';
import { type BackupStore, listBackups, openPlace } from '../backup/index.ts';
import { ApiError } from './errors.ts';
import { GROUP_VERSION } from './schemas.ts';
import { type ReceivePlace, type Transfers, transferFailure } from './transfers.ts';

const BASE = `/apis/${GROUP_VERSION}`;
const ShortText = Type.String({ minLength: 1, maxLength: 1024 });
const Place = {
  place: ShortText,
  endpoint: Type.Optional(ShortText),
  region: Type.Optional(ShortText),
  accessKeyId: Type.Optional(ShortText),
  secretAccessKey: Type.Optional(ShortText),
};
const strict = { additionalProperties: false } as const;
const PlaceRequest = Type.Object(Place, strict);
const BackupRequest = Type.Object({ ...Place, from: Type.Optional(ShortText) }, strict);
const RestoreRequest = Type.Object(
  {
    ...Place,
    volume: ShortText,
    snapshot: ShortText,
    replicaNodes: Type.Optional(Type.Array(ShortText, { maxItems: 5 })),
    witnessNode: Type.Optional(ShortText),
  },
  strict,
);

/** Two of one stream into one volume would mix; more than a few at once starve hosts. */
const MAX_TRANSFERS = 8;

export function addTransfers(
  app: FastifyInstance,
  transfers: Transfers,
  access: Access | null,
): void {
  let running = 0;
  const receiving = new Set<string>();
  const counted = async <Answer>(work: () => Promise<Answer>): Promise<Answer> => {
    if (running >= MAX_TRANSFERS) {
      throw new ApiError('TooManyRequests', `${MAX_TRANSFERS} transfers are under way; try later`);
    }
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
    }
  };
  const alone = async <Answer>(name: string, work: () => Promise<Answer>): Promise<Answer> => {
    if (receiving.has(name)) {
      throw new ApiError('Conflict', `volumes "${name}" is receiving a stream already`);
    }
    receiving.add(name);
    try {
      return await counted(work);
    } finally {
      receiving.delete(name);
    }
  };
  // Data is what tokens protect: who may only look at objects may not read it.
  app.addHook('onRequest', async (request) => {
    const identity = access?.identify(request.headers.authorization) ?? null;
    if (access !== null && identity?.role === 'read') {
      throw new ApiError('Forbidden', 'streams and backups need the role operate or admin');
    }
  });
  app.addContentTypeParser(STREAM_TYPE, (_request, payload, done) => done(null, payload));

  app.get(`${BASE}/snapshots/:name/stream`, (request, reply) => {
    const { from, resume } = request.query as { from?: string; resume?: string };
    if (running >= MAX_TRANSFERS) {
      throw new ApiError('TooManyRequests', `${MAX_TRANSFERS} transfers are under way; try later`);
    }
    const { pieces } = transfers.send({
      snapshot: nameOf(request),
      from: from ?? null,
      resumeLba: toLba(resume),
    });
    running += 1;
    const body = Readable.from(pieces, { objectMode: false, highWaterMark: 2 ** 20 });
    body.once('close', () => {
      running -= 1;
    });
    return reply.type(STREAM_TYPE).send(body);
  });
  app.get(`${BASE}/volumes/:name/stream`, (request) => {
    const point = transfers.resumePoint(nameOf(request));
    if (point === null) {
      throw new ApiError('NotFound', `volumes "${nameOf(request)}" is not receiving a stream`);
    }
    return point;
  });
  app.post(`${BASE}/volumes/:name/stream`, async (request) => {
    if (request.headers['content-type'] !== STREAM_TYPE) {
      throw new ApiError('BadRequest', `send the stream with Content-Type: ${STREAM_TYPE}`);
    }
    const name = nameOf(request);
    try {
      const pieces = request.body as AsyncIterable<Uint8Array>;
      return await alone(name, () => transfers.receive(name, pieces, receivePlaceOf(request)));
    } catch (error) {
      throw transferFailure(error);
    }
  });
  app.post(`${BASE}/snapshots/:name/backup`, (request, reply) => {
    const body = bodyOf(BackupRequest, request);
    const store = placeOf(body);
    return steps(reply, (step) =>
      counted(async () => {
        const wanted = { snapshot: nameOf(request), from: body.from ?? null, resumeLba: 0 };
        const { parts, ...manifest } = await transfers.backUp(wanted, store, (streamBytes) =>
          step({ streamBytes }),
        );
        return { ...manifest, parts: parts.length };
      }),
    );
  });
  app.post(`${BASE}/volumes/:name/restore`, (request, reply) => {
    const body = bodyOf(RestoreRequest, request);
    const name = nameOf(request);
    const store = placeOf(body);
    return steps(reply, (step) =>
      alone(name, async () => {
        const { replicaNodes = [], witnessNode = null } = body;
        const at = { replicaNodes, witnessNode };
        await transfers.restore(name, store, body, (snapshot) => step({ snapshot }), at);
        return { volume: name };
      }),
    );
  });
  app.post(`${BASE}/backups`, async (request) => {
    try {
      const manifests = await listBackups(placeOf(bodyOf(PlaceRequest, request)));
      return { items: manifests.map(({ parts, ...one }) => ({ ...one, parts: parts.length })) };
    } catch (error) {
      throw transferFailure(error);
    }
  });
}

/** A line of JSON a step, so that who waits sees that it goes on; the last has `done` or `error`. */
function steps(
  reply: FastifyReply,
  work: (step: (about: object) => void) => Promise<object>,
): FastifyReply {
  const body = new Readable({ read: () => undefined });
  const line = (about: object): void => {
    body.push(`${JSON.stringify(about)}\n`);
  };
  void work(line)
    .then(
      (done) => line({ done }),
      (error: unknown) => line({ error: transferFailure(error).toStatus() }),
    )
    .then(() => body.push(null));
  return reply.type('application/x-ndjson').send(body);
}

function nameOf(request: FastifyRequest): string {
  return (request.params as { name: string }).name;
}

/** Of a volume that is yet to be made: ?replicaNode=A&replicaNode=B&witnessNode=C */
function receivePlaceOf(request: FastifyRequest): ReceivePlace {
  const { replicaNode = [], witnessNode } = request.query as {
    replicaNode?: string | string[];
    witnessNode?: string | string[];
  };
  if (Array.isArray(witnessNode)) throw new ApiError('BadRequest', 'witnessNode: is one node');
  return { replicaNodes: [replicaNode].flat(), witnessNode: witnessNode ?? null };
}

function toLba(text: string | undefined): number {
  if (text === undefined) return 0;
  if (!/^\d{1,15}$/.test(text)) throw new ApiError('BadRequest', 'resume: is a block number');
  return Number(text);
}

function bodyOf<Schema extends Type.TSchema>(
  schema: Schema,
  request: FastifyRequest,
): Static<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(String(request.body));
  } catch (error) {
    throw new ApiError('BadRequest', 'the request is no JSON', {}, { cause: error });
  }
  if (!Value.Check(schema, value)) {
    const [first] = Value.Errors(schema, value);
    const field = first?.instancePath.slice(1).replaceAll('/', '.') ?? '';
    throw new ApiError('BadRequest', `${field === '' ? 'the request' : field}: ${first?.message}`);
  }
  return value;
}

function placeOf(body: Static<typeof PlaceRequest>): BackupStore {
  const { place, endpoint, region, accessKeyId, secretAccessKey } = body;
  try {
    return openPlace(place, {
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(region === undefined ? {} : { region }),
      ...(accessKeyId === undefined || secretAccessKey === undefined
        ? {}
        : { credentials: { accessKeyId, secretAccessKey } }),
    });
  } catch (error) {
    throw transferFailure(error);
  }
}
