// The engine's face: a pool of copy-on-write volumes on one medium. Single-threaded and
// asynchronous: the owner calls Submit and Poll from one thread; nothing blocks; every `done` is
// called once, perhaps from inside the call that started it. No exceptions.
//
// Rules cited as S1..S15, W.., N.. are those of docs/consistency.md (the replication and
// crash-safety rules).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "native/engine/pool_devices.h"
#include "native/io/block_file.h"

namespace ashlar {

inline constexpr uint32_t kBlockBytes = 4096;

enum class OpKind : uint8_t {
  kRead = 1,
  kWrite = 2,
  kUnmap = 3,
  kFlush = 4,
  kVerify = 6,
  kTags = 7
};

inline constexpr uint8_t kOpFua = 1;
// Write, at most kMaxAtomicBlocks: a crash leaves all of it or nothing of it (C7).
inline constexpr uint8_t kOpAtomic = 2;
// Read: `data` brings what the blocks are to be (H3). One that is damaged here is rewritten in its
// place, for every tree that has it, where these are the bytes that its checksum is of.
inline constexpr uint8_t kOpOffer = 8;
inline constexpr uint8_t kOpMove = 4;  // The engine's own: to a vdev that is emptier.
inline constexpr uint32_t kMaxAtomicBlocks = 256;

// What replication knows of one block, beside its bytes: sixteen of the caller's, little endian.
// Read fills them in; a write that brings them has its data compared with `crc` before anything is
// changed (H1); an install takes version and kind from them (B4).
enum class BlockKind : uint8_t {
  kEmpty = 0,  // Never written, or its hole's version was dropped (B7). Version 0.
  kData = 1,
  kHole = 2,  // Unmapped, by the op of that version (W6).
  // ChangedSince: the map page is damaged (H6). Install, kJoin, of a version: no copy can deliver
  // the block (W9), which is damaged here too. The engine makes it kData in the caller's tags.
  kUnknown = 3,
};
struct BlockTag {
  uint64_t version = 0;
  uint32_t crc = 0;  // CRC32C of the 4096 bytes. Data only.
  BlockKind kind = BlockKind::kEmpty;
  uint8_t result = 0;  // Read: kTagDamaged. Install: kTagInstalled.
  uint8_t reserved[2] = {0, 0};
};
static_assert(sizeof(BlockTag) == 16);
inline constexpr uint8_t kTagInstalled = 1;
inline constexpr uint8_t kTagDamaged = 2;

// Which blocks of a write with tags may change.
enum class Guard : uint8_t {
  kNewer = 0,  // W2: the op's version is not below the block's.
  kJoin = 1,   // B4: the block's version is below Op::version (`j`), or below its tag's. A block of
               // the tag's version is left alone. It may go back to an older version.
  kExact = 2,  // H3: the block is data of exactly the tag's version.
  kSame = 3,   // And of exactly its checksum: the pool's own moves.
};

// One block operation on a volume, in 4 KiB blocks. Owned by the submitter and untouched by it
// until `done`. Read, Write, Tags (what a read would say of the blocks, without reading them): at
// most kMaxOpBlocks. Unmap, Verify: any length. Overlapping writes in
// flight apply in the order of Submit.
inline constexpr uint32_t kMaxOpBlocks = 1024;
struct Op {
  OpKind kind = OpKind::kRead;
  uint8_t flags = 0;
  uint32_t volume = 0;      // Handle from OpenVolume.
  uint64_t lba = 0;         // In blocks of 4096 bytes.
  uint64_t blocks = 0;      // A count of the same.
  uint8_t* data = nullptr;  // blocks * 4096 bytes, aligned to 4096.
  uint64_t version = 0;  // E1: (epoch:24 | op:40). Rising from op to op of a volume. Changes only.
                         // With Guard::kJoin: `j`.
  BlockTag* tags = nullptr;     // Read, Write: one a block, or none.
  Guard guard = Guard::kNewer;  // Write. Other than kNewer: an install, with tags.
  Status status = Status::kOk;
  uint64_t failed_lba = 0;
  void (*done)(Op*) = nullptr;
  void* context = nullptr;
  Op* next = nullptr;      // For whoever holds the op at the moment.
  void* engine = nullptr;  // The engine's own while it holds the op.
};

struct FormatOptions {
  Uuid store_id{};         // E6. Random.
  std::string name;        // At most 63 bytes.
  uint64_t log_bytes = 0;  // 0: chosen from the medium's size.
  // Writes that grow end with kNoSpace once so much of the pool is in use. 100: at the reserve
  // (N3).
  uint32_t growth_limit_percent = 100;
};

struct PoolOptions {
  uint64_t cache_bytes = 256ull << 20;  // For map and space pages; the bound on mapping memory.
  Uuid open_id{};                       // E7. Random, fresh at each opening.
  PoolOwner owner;                      // Who opens. Not asked for where nothing is written.
  // Opens and checks, never writes. A snapshot that the log alone knows ends reads with kBusy.
  bool read_only = false;
  uint64_t walk_bytes_per_second = 0;  // Of scrub, resilver, rebalance. 0: as fast as it goes.
  // Where a test wants the older of the two superblock generations (S3).
  bool prefer_older_superblock = false;
  // The space map's unreadable pages are made anew from what everything else owns (H6).
  bool rebuild_space = false;
};

enum class PoolState : uint8_t { kOpen = 1, kFaulted = 2, kClosed = 3 };

struct PoolStats {
  PoolState state = PoolState::kClosed;
  uint64_t size_blocks = 0;    // Of the whole medium.
  uint64_t usable_blocks = 0;  // Without superblocks, log, reserve.
  uint32_t growth_limit_percent = 100;
  uint64_t allocated_blocks = 0;  // Data and metadata, pending frees included.
  uint64_t data_blocks = 0;       // Mapped blocks over all volumes.
  uint64_t metadata_blocks = 0;
  uint64_t pending_free_blocks = 0;
  uint64_t free_blocks = 0;
  // H6: in parts of the space map that cannot be read; not among the free ones. The next opening
  // makes them anew.
  uint64_t unknown_blocks = 0;
  uint64_t rebuilt_pages = 0;  // Of the space map, by this opening.
  uint64_t checkpoints = 0;    // Since open.
  uint64_t log_bytes_used = 0;
  uint64_t log_bytes = 0;
  uint64_t cache_pages = 0;
  uint64_t cache_dirty_pages = 0;
  uint64_t checksum_errors = 0;
  uint64_t io_errors = 0;
  uint64_t replayed_entries = 0;  // By the recovery of this opening.
  uint64_t dropped_entries = 0;   // S7: torn data, never acknowledged as durable.
  bool log_damaged = false;       // S6: the log ended before what it said was flushed.
  std::string fault;              // Why, in words, when kFaulted.
};

struct VolumeInfo {
  uint32_t handle = 0;  // Valid while the pool is open. Volumes are open as long as the pool is.
  Uuid id{};
  std::string name;          // Unique in the pool; at most 255 bytes.
  uint64_t size_blocks = 0;  // Of 4096 bytes.
  uint64_t mapped_blocks = 0;
  uint64_t version = 0;  // Highest version applied.
  bool deleting = false;
  uint64_t contig = 0;      // W10: every op up to it, as submitted, is applied.
  uint64_t durable = 0;     // The part of it that the last completed flush covered.
  uint64_t hole_floor = 0;  // B7. All ones: holes have no versions here.
  // Space as ZFS counts it, in blocks.
  uint64_t written_blocks = 0;    // Data written since the newest snapshot.
  uint64_t snapshot_blocks = 0;   // What its snapshots keep and it does not name, pages included. A
                                  // clone's origin counts as one of them.
  uint64_t inherited_blocks = 0;  // Of mapped_blocks: shared with the clone's origin. All ones:
                                  // not known, after a promotion.
  uint32_t origin = 0;            // Handle of the snapshot it was cloned from. 0: no clone.
  bool rolling_back = false;      // Operations end with kBusy until it is done.
};

// A snapshot: what its volume held at one point of its stream of operations (P1). Read, verified
// and mapped under its handle like a volume; changes end with kReadOnly.
struct SnapshotInfo {
  uint32_t handle = 0;
  uint32_t volume = 0;
  Uuid id{};
  std::string name;          // Unique among the volume's; at most 255 bytes.
  uint64_t size_blocks = 0;  // The volume's when it was taken.
  uint64_t mapped_blocks = 0;
  uint64_t version = 0;  // The cut `c` (P1): the ops below it are in the snapshot.
  uint64_t created_ms = 0;
  uint64_t unique_blocks = 0;   // What its deletion frees, pages included.
  uint64_t written_blocks = 0;  // Data written between the snapshot before and this one.
  bool settled = true;          // Unique_blocks is exact: no count is under way.
  bool deleting = false;
  std::vector<uint32_t> clones;  // Handles of volumes.
};

struct SnapshotRequest {
  uint32_t volume = 0;
  Uuid id{};
  std::string_view name;
  uint64_t version = 0;        // E1, as an operation's: above every one submitted before.
  uint32_t* handle = nullptr;  // Filled in before the call returns.
};

// What a volume gets of what the pool's volumes share. Of this opening: whoever opens the pool says
// it anew.
struct VolumeTuning {
  // Of PoolOptions::cache_bytes, for this volume's map alone: no more, and no less (dirty pages
  // come on top until a checkpoint). 0: what is not promised to others, shared with others.
  uint64_t cache_bytes = 0;
  // Threads that compare what large reads (128 KiB and more) bring with its checksums, so that the
  // caller's thread need not: of the pool's, which has as many as the volume with most asks for,
  // at most so many at a time. At most 64. 0: the caller's thread does it.
  uint32_t io_workers = 0;
};

// What it has had of it since the pool was opened.
struct VolumeUse {
  uint64_t cache_bytes = 0;   // Its part: less than asked for where parts exceed half of the cache.
  uint64_t cached_bytes = 0;  // Of its map, in memory now.
  uint64_t cache_hits = 0;    // Map leaves (one a 0.5 MiB of the volume) found in memory.
  uint64_t cache_misses = 0;  // Map pages read from the medium.
  uint32_t io_workers = 0;  // Threads it may have at work; fewer than asked for if there are none.
  uint64_t worker_blocks = 0;  // That they have checked.
};

struct MapRun {
  uint64_t lba = 0;
  uint64_t blocks = 0;
  bool mapped = false;
};

// Blocks of one kind and version that follow each other. See Pool::ChangedSince.
struct ChangedRun {
  uint64_t lba = 0;
  uint64_t blocks = 0;
  uint64_t version = 0;
  BlockKind kind = BlockKind::kData;
};

// What a replica tells its store about a volume. See Pool::SetMarks.
struct VolumeMarks {
  bool set_hole_floor = false;
  bool set_contig = false;
  uint64_t hole_floor = 0;
  uint64_t contig = 0;
};

// Walks everything offline (S15): each physical block owned exactly as the trees say, counters
// equal sums, no leaks, checksums of metadata and (with_data) of data.
struct CheckReport {
  bool clean = false;
  uint64_t pages_checked = 0;
  uint64_t blocks_checked = 0;
  uint64_t bad_metadata_pages = 0;
  uint64_t bad_data_blocks = 0;
  uint64_t leaked_blocks = 0;
  uint64_t doubly_owned_blocks = 0;
  uint64_t unmarked_blocks = 0;       // Owned by a tree, free in the space map.
  std::vector<std::string> findings;  // The first hundred, in words.
};

// A control call's end. `context` comes back as given.
using DoneFn = void (*)(void* context, Status status);

// What a medium's label says, without opening the pool.
struct ProbeResult {
  Uuid store_id{};
  std::string name;
  Uuid device_id{};
  uint64_t sequence = 0;   // Of the label.
  uint8_t label_slot = 0;  // That the label was found in.
  bool exported = false;
  uint32_t devices = 0;  // Of the pool.
  Uuid owner{};          // Who used it last. Zero: not known.
  std::string owner_name;
  uint64_t owned_since_s = 0;  // Unix time.
};

class Pool : public PoolDevices {
 public:
  // Writes an empty pool. Waits (BlockFile::Wait): a tool's call, not the daemon's loop.
  static Status Format(const PoolLayout& layout, const FormatOptions& options);
  static Status Format(BlockFile& file, const FormatOptions& options);
  // What a medium carries, without opening it. kNotAPool if nothing of ours.
  static Status Probe(BlockFile& file, ProbeResult* result);
  static Status Probe(BlockFile& file, Uuid* store_id, std::string* name);
  // Opens, recovers, makes the recovered state durable. Waits. On success *pool serves. The files
  // are all there is of the pool, in any order, and outlive the pool.
  static Status Open(const std::vector<DeviceFile>& files, const PoolOptions& options,
                     std::unique_ptr<Pool>* pool, std::string* why);
  static Status Open(BlockFile& file, const PoolOptions& options, std::unique_ptr<Pool>* pool,
                     std::string* why);
  // Clears what pools wrote at both ends of a medium, so that it is nobody's. Waits.
  static Status WipeDevice(BlockFile& file);
  // Walks the media offline. Waits. `report` is filled even if it is not clean.
  static Status Check(const std::vector<DeviceFile>& files, bool with_data, CheckReport* report,
                      std::string* why);
  static Status Check(BlockFile& file, bool with_data, CheckReport* report);

  // The data path. Submit takes ops; Kick sends the batch: log block and data go out together (S5).
  // Poll delivers completions and moves checkpoints, frees and deletions on by a bounded step.
  virtual void Submit(Op* op) = 0;
  virtual void Kick() = 0;
  virtual int Poll() = 0;
  // True while background work (checkpoint, deletion) wants Poll to be called again even if no I/O
  // completes.
  virtual bool WantsPoll() const = 0;

  // Control. Each is durable before `done`.
  virtual void CreateVolume(const Uuid& id, std::string_view name, uint64_t size_blocks,
                            uint32_t* handle, DoneFn done, void* context,
                            uint64_t hole_floor = ~0ull) = 0;
  // Growth at any time; refuses to shrink (kInvalid).
  virtual void ResizeVolume(uint32_t handle, uint64_t size_blocks, DoneFn done, void* context) = 0;
  // The name is free and `done` comes once the deletion is durable; space comes back in the
  // background, restartably (S13). kHasSnapshots: only with_snapshots deletes those too;
  // kHasClones: never while one of them has a clone.
  virtual void DeleteVolume(uint32_t handle, DoneFn done, void* context,
                            bool with_snapshots = false) = 0;

  // Snapshots of several volumes at one instant, all or none. An operation of such a volume that
  // was submitted before is in the snapshot, one submitted after it is not. Durable before `done`.
  virtual void CreateSnapshots(std::span<const SnapshotRequest> requests, uint64_t created_ms,
                               DoneFn done, void* context) = 0;
  // The name is free once it is durable; space comes back in the background (S13). In any order.
  // kHasClones: they, or their promotion, come first.
  virtual void DeleteSnapshot(uint32_t handle, DoneFn done, void* context) = 0;
  // Oldest first.
  virtual std::vector<SnapshotInfo> Snapshots(uint32_t volume) const = 0;
  virtual bool Snapshot(uint32_t handle, SnapshotInfo* info) const = 0;
  // A volume that begins as what the snapshot holds, in O(1), with versions of its own (S14). Of a
  // snapshot just taken it waits for two checkpoints.
  virtual void CloneSnapshot(uint32_t snapshot, const Uuid& id, std::string_view name,
                             uint32_t* handle, DoneFn done, void* context) = 0;
  // The clone gets its origin and the snapshots before it; the volume they were of becomes a clone
  // of that one. kInvalid: no clone. kExists: two snapshots of one name would meet. kBusy:
  // deletions or fresh snapshots are under way on either side; try again. Until it is done, new
  // snapshots, deletions and rollbacks on either side end with kBusy.
  virtual void PromoteVolume(uint32_t handle, DoneFn done, void* context) = 0;
  // The volume becomes what the snapshot is, size included; each block that differs gets `version`
  // (P4). Offline only: kBusy while operations are in flight, and those that come before `done` end
  // with kBusy. kLaterSnapshots, unless those are to be deleted; kHasClones while one has a clone.
  virtual void RollbackVolume(uint32_t handle, uint32_t snapshot, uint64_t version,
                              bool delete_later, DoneFn done, void* context) = 0;
  // What differs between a snapshot (`from`; 0: nothing at all) and a later one, or its volume, or
  // a clone that comes of it: runs at or after `lba`, unmapped ones for blocks that `from` had and
  // `to` has not. In O(changed). At most max_runs, and some leaves, a call: *next says where to go
  // on, the size of `to` when all was seen. kInvalid: `to` does not come of `from`.
  virtual void Changed(uint32_t from, uint32_t to, uint64_t lba, uint32_t max_runs,
                       std::vector<MapRun>* runs, uint64_t* next, DoneFn done, void* context) = 0;
  // A small blob by key on a volume (handle) or on the pool (handle 0): settings, reservations. Key
  // at most 63 bytes, value at most 64 KiB, an empty value removes it.
  virtual void PutBlob(uint32_t handle, std::string_view key, std::span<const uint8_t> value,
                       DoneFn done, void* context) = 0;
  // From memory; false if there is none.
  virtual bool GetBlob(uint32_t handle, std::string_view key,
                       std::vector<uint8_t>* value) const = 0;
  virtual std::vector<std::string> BlobKeys(uint32_t handle) const = 0;

  // At once, while it is used. kNotFound: no volume, or one that is being deleted.
  virtual Status Tune(uint32_t handle, const VolumeTuning& tuning) = 0;
  virtual bool Use(uint32_t handle, VolumeUse* use) const = 0;
  // Readable when workers have ended something: Poll is to be called, as for the media. -1: there
  // are none, until a Tune asks for some.
  virtual int WorkersFd() const = 0;

  virtual std::vector<VolumeInfo> Volumes() const = 0;
  virtual bool Volume(uint32_t handle, VolumeInfo* info) const = 0;
  virtual PoolStats Stats() const = 0;

  // At most max_runs runs of the map from `lba` on. `runs` is filled before `done`.
  virtual void MapStatus(uint32_t handle, uint64_t lba, uint32_t max_runs,
                         std::vector<MapRun>* runs, DoneFn done, void* context) = 0;

  // Blocks and holes at or after `lba` whose version is above `since` (B2), by a walk that skips
  // subtrees whose highest version is not. Bounded: at most max_runs runs and some thousand pages a
  // call; *next says where to go on, the volume's size when all was seen. Blocks changed while a
  // walk goes on may or may not be in it.
  virtual void ChangedSince(uint32_t handle, uint64_t since, uint64_t lba, uint32_t max_runs,
                            std::vector<ChangedRun>* runs, uint64_t* next, DoneFn done,
                            void* context) = 0;
  // Durable before `done`. The hole floor (B7): holes with a version at or below it are dropped,
  // those above it kept. `contig`: after a rebuild, what the copies made true.
  virtual void SetMarks(uint32_t handle, const VolumeMarks& marks, DoneFn done, void* context) = 0;
  // N1: blocks that new writes can be promised now, whatever pages they will need besides.
  virtual uint64_t CreditBlocks() const = 0;
  // E7: the last sixteen openings of this store, newest last.
  virtual std::vector<Uuid> OpenIds() const = 0;

  // Takes a checkpoint now: after it, opening replays nothing older.
  virtual void Checkpoint(DoneFn done, void* context) = 0;
  // Refuses new work (kOffline), drains, flushes, checkpoints, then `done`. The destructor does
  // none of this (as a crash would).
  virtual void Close(DoneFn done, void* context) = 0;
};

}  // namespace ashlar
