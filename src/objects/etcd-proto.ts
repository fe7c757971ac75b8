// The part of etcd's gRPC interface (rpc.proto, kv.proto of etcd 3) that the object store uses, and its codecs.
import protobuf from 'protobufjs';

const PROTO = `
syntax = "proto3";
package etcdserverpb;
message ResponseHeader { uint64 cluster_id = 1; uint64 member_id = 2; int64 revision = 3; uint64 raft_term = 4; }
message KeyValue { bytes key = 1; int64 create_revision = 2; int64 mod_revision = 3; int64 version = 4; bytes value = 5; int64 lease = 6; }
message RangeRequest { bytes key = 1; bytes range_end = 2; int64 limit = 3; int64 revision = 4; }
message RangeResponse { ResponseHeader header = 1; repeated KeyValue kvs = 2; bool more = 3; int64 count = 4; }
message PutRequest { bytes key = 1; bytes value = 2; }
message DeleteRangeRequest { bytes key = 1; bytes range_end = 2; }
message Compare { int32 result = 1; int32 target = 2; bytes key = 3; oneof target_union { int64 mod_revision = 6; } }
message RequestOp { oneof request { RangeRequest request_range = 1; PutRequest request_put = 2; DeleteRangeRequest request_delete_range = 3; } }
message TxnRequest { repeated Compare compare = 1; repeated RequestOp success = 2; repeated RequestOp failure = 3; }
message DeleteRangeResponse { ResponseHeader header = 1; int64 deleted = 2; }
message ResponseOp { oneof response { RangeResponse response_range = 1; DeleteRangeResponse response_delete_range = 3; } }
message TxnResponse { ResponseHeader header = 1; bool succeeded = 2; repeated ResponseOp responses = 3; }
message CompactionRequest { int64 revision = 1; bool physical = 2; }
message CompactionResponse { ResponseHeader header = 1; }
message WatchCreateRequest { bytes key = 1; bytes range_end = 2; int64 start_revision = 3; bool progress_notify = 4; bool prev_kv = 6; }
message WatchRequest { oneof request_union { WatchCreateRequest create_request = 1; } }
message Event { int32 type = 1; KeyValue kv = 2; KeyValue prev_kv = 3; }
message WatchResponse { ResponseHeader header = 1; int64 watch_id = 2; bool created = 3; bool canceled = 4; int64 compact_revision = 5; string cancel_reason = 6; repeated Event events = 11; }
`;

const root = protobuf.parse(PROTO, { keepCase: false }).root;
// Revisions are counters far below 2^53.
const PLAIN: protobuf.IConversionOptions = { longs: Number, defaults: true, arrays: true };

export interface KeyValue {
  readonly key: Uint8Array;
  readonly modRevision: number;
  /** How often it was written since it was made: 1 for a new one. */
  readonly version: number;
  readonly value: Uint8Array;
}
export interface Header {
  readonly revision: number;
}
export interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  /** Of the keys in the range, however many of them are here. */
  readonly count: number;
}
export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly {
    readonly responseRange?: RangeResponse;
    readonly responseDeleteRange?: { readonly deleted: number };
  }[];
}
export interface WatchResponse {
  readonly header: Header | null;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly events: readonly {
    readonly type: number;
    readonly kv: KeyValue;
    readonly prevKv: KeyValue | null;
  }[];
}

/** A call of etcd: where it goes, how its messages become bytes and back. */
export interface Method {
  readonly path: string;
  readonly encode: (message: object) => Buffer;
  readonly decode: (bytes: Buffer) => object;
}

function method(service: string, name: string, request: string, response: string): Method {
  const asked = root.lookupType(`etcdserverpb.${request}`);
  const answered = root.lookupType(`etcdserverpb.${response}`);
  return {
    path: `/etcdserverpb.${service}/${name}`,
    encode: (message) => Buffer.from(asked.encode(asked.fromObject(message)).finish()),
    decode: (bytes) => answered.toObject(answered.decode(bytes), PLAIN),
  };
}

export const RANGE = method('KV', 'Range', 'RangeRequest', 'RangeResponse');
export const TXN = method('KV', 'Txn', 'TxnRequest', 'TxnResponse');
export const COMPACT = method('KV', 'Compact', 'CompactionRequest', 'CompactionResponse');
export const WATCH = method('Watch', 'Watch', 'WatchRequest', 'WatchResponse');

export const COMPARE_EQUAL = 0;
export const TARGET_MOD = 2;
export const EVENT_DELETE = 1;
