// Bodies in Kubernetes' protobuf, which clients send for kinds that they were compiled with: `kubectl create namespace` and
// `kubectl create secret` since 1.31, and programs that keep a Lease. The envelope is "k8s\0" and a runtime.Unknown, around
// the message of the kind. Field numbers are those of the generated.proto files of Kubernetes' api and apimachinery;
// answers are JSON, which every such client accepts.
import { ApiError, clip } from './errors.ts';
import { DELETE_OPTIONS, KINDS, type Message, type Scalar } from './kube-protobuf-messages.ts';

export const KUBE_PROTOBUF = 'application/vnd.kubernetes.protobuf';

const MAGIC = Buffer.from('k8s\0');

const UNKNOWN: Message = {
  fields: {
    1: ['typeMeta', { fields: { 1: ['apiVersion', 'string'], 2: ['kind', 'string'] } }],
    2: ['raw', 'bytes'],
    3: ['contentEncoding', 'string'],
    4: ['contentType', 'string'],
  },
};

/** The object that the body holds, as JSON has it. Throws UnsupportedMediaType for a kind that is not listed here. */
export function decodeKubeProtobuf(body: Buffer): Record<string, unknown> {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed('it does not begin with k8s');
  const envelope = decode(body.subarray(MAGIC.length), UNKNOWN) as {
    typeMeta?: { apiVersion?: string; kind?: string };
    raw?: string;
  };
  const { apiVersion = '', kind = '' } = envelope.typeMeta ?? {};
  const message = kind === 'DeleteOptions' ? DELETE_OPTIONS : KINDS[`${apiVersion}/${kind}`];
  if (message === undefined) {
    throw new ApiError(
      'UnsupportedMediaType',
      `a ${clip(kind)} of ${clip(apiVersion)} is not read from protobuf; send application/json`,
    );
  }
  const raw = Buffer.from(envelope.raw ?? '', 'base64');
  return { apiVersion, kind, ...decode(raw, message) };
}

function decode(bytes: Buffer, { fields }: Message): Record<string, unknown> {
  const reader = new Reader(bytes);
  const made: Record<string, unknown> = {};
  while (!reader.atEnd) {
    const { number, wire } = reader.tag();
    const field = fields[number];
    if (field === undefined) {
      reader.skip(wire);
      continue;
    }
    const [name, type] = field;
    if (typeof type === 'object' && 'list' in type) {
      made[name] ??= [];
      (made[name] as unknown[]).push(value(reader, wire, type.list));
    } else if (typeof type === 'object' && 'map' in type) {
      made[name] ??= Object.create(null);
      const map = made[name] as Record<string, unknown>;
      const entry = decode(reader.lengthDelimited(wire), {
        fields: { 1: ['key', 'string'], 2: ['value', type.map] },
      });
      map[String(entry['key'] ?? '')] = entry['value'] ?? '';
    } else {
      const decoded = value(reader, wire, type);
      // A moment that is not set is sent as an empty message.
      if (decoded !== null) made[name] = decoded;
    }
  }
  // As JSON has it: generated code sends empty strings and zeros of optional fields, and null where a map has none.
  return Object.fromEntries(
    Object.entries(made)
      .filter(([, one]) => one !== '')
      .map(([name, one]) => [name, isMap(one) ? { ...one } : one]),
  );
}

function isMap(one: unknown): one is Record<string, unknown> {
  return typeof one === 'object' && one !== null && Object.getPrototypeOf(one) === null;
}

function value(reader: Reader, wire: number, type: Scalar | Message): unknown {
  if (type === 'int') return reader.integer(wire);
  if (type === 'bool') return reader.integer(wire) !== 0;
  const bytes = reader.lengthDelimited(wire);
  if (type === 'string') return bytes.toString('utf8');
  if (type === 'bytes') return bytes.toString('base64');
  if (type === 'quantity') return decode(bytes, { fields: { 1: ['string', 'string'] } })['string'];
  if (type === 'time' || type === 'microTime') {
    const { seconds, nanos = 0 } = decode(bytes, {
      fields: { 1: ['seconds', 'int'], 2: ['nanos', 'int'] },
    }) as { seconds?: number; nanos?: number };
    if (seconds === undefined) return null;
    if (Math.abs(seconds) >= 8.64e12 || nanos < 0 || nanos >= 1e9) {
      throw malformed('a time is out of range');
    }
    const iso = new Date(seconds * 1000 + Math.trunc(nanos / 1e6)).toISOString();
    return type === 'time'
      ? iso.replace(/\.\d+Z$/, 'Z')
      : iso.replace(/Z$/, `${String(Math.trunc(nanos / 1000) % 1000).padStart(3, '0')}Z`);
  }
  return decode(bytes, type);
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  tag(): { number: number; wire: number } {
    const tag = Number(this.#varint());
    return { number: Math.floor(tag / 8), wire: tag % 8 };
  }

  integer(wire: number): number {
    if (wire !== 0) throw malformed('a number has another wire type');
    const number = Number(BigInt.asIntN(64, this.#varint()));
    if (!Number.isSafeInteger(number)) throw malformed('a number is too large');
    return number;
  }

  lengthDelimited(wire: number): Buffer {
    if (wire !== 2) throw malformed('a field has another wire type');
    return this.#take(Number(this.#varint()));
  }

  skip(wire: number): void {
    if (wire === 0) this.#varint();
    else if (wire === 1) this.#take(8);
    else if (wire === 2) this.lengthDelimited(wire);
    else if (wire === 5) this.#take(4);
    else throw malformed(`there is no wire type ${wire}`);
  }

  #take(count: number): Buffer {
    if (count > this.#bytes.length - this.#at) throw malformed('it ends in the middle of a field');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  #varint(): bigint {
    let result = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw malformed('it ends in the middle of a field');
      this.#at += 1;
      result |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
    throw malformed('a number is too long');
  }
}

function malformed(why: string): ApiError {
  return new ApiError('BadRequest', `the body is not Kubernetes' protobuf: ${why}`);
}
