// Protobuf messages as plain objects. The schema is wire.proto; protobufjs compiles its codecs from it at the first use.
import protobuf from 'protobufjs';
import { WIRE_PROTO } from './schema-text.ts';

const root = protobuf.parse(WIRE_PROTO, { keepCase: false }).root;
// Every 64-bit field here is a count or a version half, far below 2^53: a number, never a Long.
const PLAIN: protobuf.IConversionOptions = { longs: Number, defaults: true, arrays: true };

/** A message type: how `T` becomes bytes, and bytes `T`. */
export interface Codec<T extends object> {
  readonly name: string;
  encode(message: T): Uint8Array;
  /** Null: these bytes are no such message. Fields that are missing have proto3's defaults. */
  decode(b: Uint8Array, start: number, end: number): T | null;
}

/** The codec of the message `name` of wire.proto. `T` is that message as protobufjs's toObject shows it. */
export function codec<T extends object>(name: string): Codec<T> {
  const type = root.lookupType(`ashlar.wire.v1.${name}`);
  return {
    name,
    encode: (message) => type.encode(type.fromObject(message)).finish(),
    decode: (b, start, end) => {
      try {
        return type.toObject(type.decode(b.subarray(start, end)), PLAIN) as T;
      } catch {
        return null; // Truncated, or wire types that do not fit.
      }
    },
  };
}

export interface Hello {
  protocolMin: number;
  protocolMax: number;
  features: number;
  required: number;
  node: string;
  software: string;
  nonce: Uint8Array;
  connectionWindow: number;
  streamWindow: number;
  secret: boolean;
}

export interface Welcome {
  protocol: number;
  features: number;
  node: string;
  software: string;
  nonce: Uint8Array;
  connectionWindow: number;
  streamWindow: number;
  secret: boolean;
}

export const helloCodec = codec<Hello>('Hello');
export const welcomeCodec = codec<Welcome>('Welcome');
export const proofCodec = codec<{ hmac: Uint8Array }>('Proof');
export const readyCodec = codec<{ hmac: Uint8Array }>('Ready');
export const goAwayCodec = codec<{ status: number; reason: string }>('GoAway');
export const failureCodec = codec<{ reason: string }>('Failure');
