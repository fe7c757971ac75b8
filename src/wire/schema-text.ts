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

// ------------------------------------------------------------------------------------------------ opening a stream

// Request "open": a session of a coordinator with one replica is two streams of one connection, ops and copies.
message OpenStream {
  string volume_id = 1;
  string replica_id = 2;
  // 0: the ops stream opens. Else: this is the copies stream of the session whose ops stream has this number.
  uint32 copies_of = 3;
}

// ------------------------------------------------------------------------------------------------------ the record

message Version {
  uint32 epoch = 1;
  uint64 op = 2;
}

message MemberEntry {
  string replica_id = 1;
  string store_id = 2;
  string open_id = 3;
  string boot_id = 4;
  bool witness = 5;
  // 1 in sync, 2 joining, 3 stale.
  uint32 state = 6;
  Version join = 7;
  Version since = 8;
}

message OldMember {
  string replica_id = 1;
  string store_id = 2;
}

message SnapshotEntry {
  string id = 1;
  string name = 2;
  Version version = 3;
  uint64 created_ms = 4;
  repeated string holders = 5;
  // Of the volume, at the cut.
  uint64 size_blocks = 6;
}

message Blob {
  string key = 1;
  bytes value = 2;
}

message VolumeRecord {
  string volume_id = 1;
  uint32 epoch = 2;
  uint32 n = 3;
  string coordinator_id = 4;
  repeated MemberEntry members = 5;
  repeated OldMember old_members = 6;
  Version all_applied = 7;
  bool loss_pending = 8;
  repeated SnapshotEntry snapshots = 9;
  uint64 size_blocks = 10;
  repeated Blob blobs = 11;
  Version hole_floor = 12;
}

// ----------------------------------------------------------------------------- Events from the coordinator, by method

// 1
message SessionHello {
  string volume_id = 1;
  string replica_id = 2;
  string coordinator_id = 3;
}

// 2
message Prepare {
  uint32 epoch = 1;
  string coordinator_id = 2;
}

// 3
message StoreRecord {
  uint32 epoch = 1;
  uint64 op = 2;
  VolumeRecord record = 3;
}

// 4
message Heartbeat {
  uint32 epoch = 1;
  double sent_ms = 2;
  Version all_applied = 3;
}

// 6
message TakeSnapshot {
  uint32 epoch = 1;
  uint64 op = 2;
  string snapshot_id = 3;
  string name = 4;
}

// 9
message ListChanged {
  uint32 epoch = 1;
  uint64 id = 2;
  Version since = 3;
  uint64 from_lba = 4;
  uint64 to_lba = 5;
  uint32 max_entries = 6;
  // Of the branch of this snapshot; empty: of the volume.
  string branch_of = 7;
}

// 10
message CopyRead {
  uint32 epoch = 1;
  uint64 id = 2;
  uint64 lba = 3;
  uint32 blocks = 4;
  // Empty: of the volume.
  string snapshot_id = 5;
}

// Blocks lba, lba + 1, ...: entry i of each array belongs to block lba + i. Those of kind 1 follow in a CopyBlocks frame.
message Copies {
  uint64 lba = 1;
  // 0 empty, 1 data, 2 hole, 3 damaged: one byte a block.
  bytes kinds = 2;
  repeated uint32 epochs = 3;
  repeated uint64 ops = 4;
  // Feature bit 2, in place of the three above: runs of blocks of one kind and version, one after the other, 20 bytes each,
  // little-endian: how many blocks (4), kind (4), epoch (4), op (8).
  bytes runs = 5;
}

// 11
message Install {
  uint32 epoch = 1;
  uint64 id = 2;
  // 1 reconcile, 2 rebuild, 3 repair.
  uint32 mode = 3;
  Version join = 4;
  Copies copy = 5;
  // Into the branch of this snapshot; empty: into the volume.
  string branch_of = 6;
}

// 12
message Digest {
  uint32 epoch = 1;
  uint64 id = 2;
  uint64 lba = 3;
  uint64 blocks = 4;
}

// 13
message ReleaseLease {
  uint32 epoch = 1;
}

// 14, only to a member that says "branches".
message BranchSnapshot {
  uint32 epoch = 1;
  uint64 id = 2;
  string snapshot_id = 3;
  // Its cut.
  Version version = 4;
}

// 15
message SealSnapshot {
  uint32 epoch = 1;
  uint64 id = 2;
  string snapshot_id = 3;
  Version version = 4;
}

// ---------------------------------------------------------------------------------- Events from the member, by method

message Identity {
  string store_id = 1;
  string open_id = 2;
  repeated string open_ids = 3;
  string boot_id = 4;
}

// 33
message SessionHelloReply {
  Identity identity = 1;
  uint32 promised = 2;
  // Absent: a blank store.
  VolumeRecord record = 3;
  Version contig = 4;
  Version hint = 5;
  bool witness = 6;
  uint64 credit = 7;
  // Ids of the snapshots it holds.
  repeated string snapshots = 8;
  // It knows methods 14 and 15, and the fields branch_of.
  bool branches = 9;
}

// 34
message PromiseMade {
  Identity identity = 1;
  uint32 epoch = 2;
  VolumeRecord record = 3;
  Version contig = 4;
  Version hint = 5;
  uint64 credit = 6;
  // Ids of the snapshots it holds.
  repeated string snapshots = 7;
}

// 35
message RecordStored {
  uint32 epoch = 1;
  uint32 n = 2;
  // Ids of the snapshots it holds.
  repeated string snapshots = 3;
}

// 36
message HeartbeatReply {
  uint32 epoch = 1;
  double sent_ms = 2;
  uint64 credit = 3;
}

// 38
message SnapshotTaken {
  uint32 epoch = 1;
  uint64 op = 2;
  uint32 status = 3;
}

// 41. Run i is [lbas[i], lbas[i] + counts[i]).
message Changed {
  uint32 epoch = 1;
  uint64 id = 2;
  uint32 status = 3;
  repeated uint64 lbas = 4;
  repeated uint64 counts = 5;
  bytes kinds = 6;
  repeated uint32 epochs = 7;
  repeated uint64 ops = 8;
  uint64 next_lba = 9;
}

// 42
message CopyData {
  uint32 epoch = 1;
  uint64 id = 2;
  uint32 status = 3;
  // Absent unless status is Ok.
  Copies copy = 4;
}

// 43
message Installed {
  uint32 epoch = 1;
  uint64 id = 2;
  uint32 status = 3;
}

// 44
message DigestDone {
  uint32 epoch = 1;
  uint64 id = 2;
  uint32 status = 3;
  fixed32 digest_high = 4;
  fixed32 digest_low = 5;
}

// 45
message Refused {
  uint32 epoch = 1;
  // 1 fenced, 2 leased, 3 blank, 4 no lease, 5 not found, 6 protocol, 7 faulted, 8 just started.
  uint32 reason = 2;
  uint32 refused_type = 3;
  uint64 id = 4;
  uint32 promised = 5;
  double retry_after_ms = 6;
}

// 46
message Branched {
  uint32 epoch = 1;
  uint64 id = 2;
  uint32 status = 3;
  // The member holds the snapshot.
  bool complete = 4;
}

// 47, with feature bit 3.
message DamageFound {
  uint32 epoch = 1;
  message Place {
    uint64 lba = 1;
    // Empty: of the volume.
    string snapshot_id = 2;
  }
  // At most 64.
  repeated Place places = 2;
}

// --------------------------------------------------------------------------------------- Requests on a management stream

// A management stream is opened with an empty volume_id. Requests by method:
// 2, answered by ReplicaIdentity. Makes a blank replica, or finds the one that is there. With a source it begins as what
// that snapshot holds.
message CreateReplica {
  string volume_id = 1;
  string replica_id = 2;
  uint64 size_blocks = 3;
  bool witness = 4;
  ReplicaSource source = 5;
}

// A snapshot that another replica of this node holds.
message ReplicaSource {
  string volume_id = 1;
  string replica_id = 2;
  string snapshot_id = 3;
}

message ReplicaIdentity {
  Identity identity = 1;
  // It has no record: it is nobody's data.
  bool blank = 2;
  uint32 promised = 3;
  // The cut of the snapshot that it was made from: no block of it has a version above. Absent: it was made empty.
  Version base = 4;
}

// 3, answered by ReplicaIdentity. The first record of a new volume, to each of its members; to a blank store that it names,
// and once.
message BeginReplica {
  VolumeRecord record = 1;
  string replica_id = 2;
}

// 4, answered by an empty message. Refused if a higher epoch was promised (E8).
message DeleteReplica {
  string volume_id = 1;
  string replica_id = 2;
  uint32 epoch = 3;
}

// 5, answered by ReplicaList.
message ListReplicas {}

message ReplicaList {
  message Entry {
    string volume_id = 1;
    string replica_id = 2;
    bool blank = 3;
    uint32 promised = 4;
    uint64 size_blocks = 5;
    uint64 used_blocks = 6;
    // 0 without a record, else as in it.
    uint32 state = 7;
  }
  repeated Entry entries = 1;
}
`;
