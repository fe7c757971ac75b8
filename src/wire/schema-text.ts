// Made from wire.proto by scripts/wire-proto.mjs. Change that file, not this one.
export const WIRE_PROTO = `// Messages of the wire protocol: everything that is not on the per-I/O path. docs/wire-protocol.md tells how they are
// framed and when they are sent. Fields are only ever added; a number once used is never used for anything else.
syntax = "proto3";
package ashlar.wire.v1;

// The first frame, by whoever made the connection.
message Hello {
  uint32 protocol_min = 1;
  uint32 protocol_max = 2;
  // Bits, see feature.ts. Those in "required" must be understood, or the connection is of no use to the sender.
  uint32 features = 3;
  uint32 required = 4;
  // Who is there, for logs and tables.
  string node = 5;
  string software = 6;
  // 32 random bytes.
  bytes nonce = 7;
  // Bytes of data payload that may be under way to the sender: on the connection, on each stream.
  uint32 connection_window = 8;
  uint32 stream_window = 9;
  // The sender has a shared secret and means to prove it, and to see it proved.
  bool secret = 10;
}

message Welcome {
  // The one both speak.
  uint32 protocol = 1;
  // Those both understand.
  uint32 features = 2;
  string node = 3;
  string software = 4;
  bytes nonce = 5;
  uint32 connection_window = 6;
  uint32 stream_window = 7;
  // A Proof is wanted.
  bool secret = 8;
}

// Of the maker of the connection, then (in Ready) of the other side: HMAC-SHA-256 under the shared secret of a label and
// both messages above.
message Proof {
  bytes hmac = 1;
}

message Ready {
  bytes hmac = 1;
}

message GoAway {
  uint32 status = 1;
  string reason = 2;
}

// The message of a Response or a Reset with a status other than Ok.
message Failure {
  string reason = 1;
}
`;
