// The pool as one state machine, in parts: pool_impl.cc (entry points, I/O, completion),
// tree_access.cc (pages), allocation.cc (space), read_path.cc, write_path.cc (admission, log,
// application), atomic_write.cc, unmap.cc, control.cc (volumes, blobs), snapshot.cc, versions.cc
// (what snapshots share), clone.cc, rollback.cc, diff.cc, reclaim.cc (deletion),
// checkpoint.cc, recovery.cc (opening), load_state.cc, lost_space.cc (damage of the space map),
// replay.cc, check.cc.
//
// Nothing here is called back in the middle of something: an I/O's completion is only queued, and
// worked off by Drain; a caller's `done` is only queued, and delivered when the outermost call is
// about to return.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "native/engine/check_workers.h"
#include "native/engine/device_set.h"
#include "native/engine/format.h"
#include "native/engine/log_format.h"
#include "native/engine/mutants.h"
#include "native/engine/owned_blocks.h"
#include "native/engine/page_cache.h"
#include "native/engine/pool.h"
#include "native/engine/repair.h"
#include "native/engine/space.h"
#include "native/engine/walk.h"

namespace ashlar {

struct Blob {
  uint64_t slot = 0;
  std::vector<uint8_t> value;
};

struct BlobStore {
  Tree tree;
  std::map<std::string, Blob, std::less<>> blobs;
  std::map<std::string, uint64_t, std::less<>> slots;  // Slots given out, in flight ones included.
  std::map<std::string, uint32_t, std::less<>> coming;  // Calls in flight: they keep their slot.
};

struct DeadRun {
  uint64_t phys = 0;
  uint64_t born = 0;
  uint32_t blocks = 0;  // With kDeadPages.
};

// Blocks that left a volume's head within one interval of its line, and that a snapshot before it
// still names (S12).
struct DeadList {
  Tree tree;
  uint64_t leaves = 0;       // Ever appended: the tree's own are below it.
  uint64_t blocks = 0;       // In all, pages included.
  std::vector<DeadRun> now;  // Since the last cut, which appends them.
  Page* tail = nullptr;      // The leaf that is appended to, pinned.
};

// What reclaiming is at, in the line of a volume (reclaim.cc).
struct LineWalk {
  uint64_t target = 0;  // Tree of the snapshot it is for. 0: none under way.
  uint64_t low = 0;     // Lists of the line after it, up to and with high.
  uint64_t high = 0;
  uint64_t list = 0;  // Birth of the one under way.
  uint64_t leaf = 0;
  uint64_t older = 0;  // Blocks born after it count.
};

// A record of the catalog: a volume, or a snapshot of one, or a segment of its deadlist. The
// snapshots and segments of a volume in the order of their births are its line.
struct VolumeState {
  RecordKind kind = RecordKind::kVolume;
  uint32_t handle = 0;
  uint32_t slot = 0;
  uint64_t tree = 0;  // What the log and other records call it.
  Uuid id{};
  std::string name;
  uint64_t size_blocks = 0;
  uint64_t pending_size = 0;  // The largest growth logged.
  uint64_t mapped = 0;
  uint64_t version = 0;
  uint64_t hole_floor = ~0ull;
  uint64_t created_generation = 0;
  RecordState state = RecordState::kLive;
  bool creating = false;
  bool delete_logged = false;
  uint64_t delete_cursor = 0;
  bool dirty = false;      // In dirty_records_.
  uint32_t in_flight = 0;  // Operations that may still touch it.
  uint32_t moves = 0;      // Of those, a rebalance's: a rollback waits for them.
  Progress progress;
  uint64_t durable_contig = 0;  // What the last completed flush covered.
  uint64_t flush_contig = 0;    // What the one under way will.
  // Installs wait for the unmaps before them: see install.cc.
  uint64_t unmaps_begun = 0;
  std::set<uint64_t> unmaps;  // Under way, by number.
  std::deque<struct OpState*> installs;
  Tree map;
  CacheShare share;  // Of a volume: what its map has of the cache.
  CheckLane lane;    // And of the workers.
  BlobStore blobs;
  Page* record = nullptr;  // Its catalog leaf, pinned: a volume's from the first cut on, others'
                           // for the length of a checkpoint.
  std::unique_ptr<DeadList> dead;  // See LineRecord::dead.

  // Snapshots and segments.
  VolumeState* head = nullptr;
  uint64_t head_tree = 0;
  uint64_t birth = 0;
  uint64_t pred_birth = 0;  // Of the snapshot before in the line, or the origin's.
  uint64_t unique = 0;
  uint64_t unique_data = 0;
  bool recount = false;  // `unique` is being counted anew.
  uint8_t supers = 0;    // Superblocks that reach it: from 1 on it can be read.
  std::vector<VolumeState*> clones;

  // Volumes; `written` and `created_ms` snapshots too.
  uint64_t created_ms = 0;
  uint64_t written = 0;
  uint64_t inherited = 0;
  uint64_t prev_birth = 0;  // What was born after it, no snapshot names.
  uint64_t origin_birth = 0;
  uint64_t version_base = 0;  // S14.
  uint64_t rollback_version = 0;
  bool rolling = false;     // From the call on until it is done.
  bool promoting = false;   // The same: it, or a clone of it. Its line is about to change.
  uint64_t rolled_cut = 0;  // The cut whose superblock must be there before it is done.
  DoneFn rolled_done = nullptr;
  void* rolled_context = nullptr;
  VolumeState* origin = nullptr;
  uint64_t origin_tree = 0;
  VolumeState* newest = nullptr;      // The newest snapshot in the line that is not condemned.
  std::vector<VolumeState*> line;     // By birth. Condemned ones until they are gone.
  std::vector<VolumeState*> pending;  // Snapshots since the last cut.
  std::vector<VolumeState*> cut;      // Those the checkpoint under way writes.
  std::map<std::string, VolumeState*, std::less<>> snapshots;  // By name.
  LineWalk walk;
  // How far its lists were gone through (EraseLists, RollbackLists): those born up to the first
  // are done, and of the next the leaves below the second.
  uint64_t lists_done = 0;
  uint64_t list_leaf = 0;

  // P1: a snapshot is logged behind every change that was submitted before it.
  uint64_t unlogged = 0;  // Changes submitted and not yet logged in full.
  uint64_t snapshots_begun = 0;
  std::vector<std::pair<uint64_t, struct ControlOp*>> snapshots_waiting;
};

inline constexpr uint64_t kUnknown = ~0ull;

// From this many blocks on, 64 KiB, a request is worth a call of its own to the medium, and the
// end of one worth telling of before the next is looked at.
inline constexpr uint32_t kLargeBlocks = 16;
// Of smaller reads, so many are told of before the next are looked at.
inline constexpr uint32_t kFirstReads = 4;
// From so many on workers are asked: to wake one costs as much as to check a few.
inline constexpr uint32_t kWorkerBlocks = 32;

struct PhysRun {
  uint64_t phys;
  uint32_t blocks;
  Group* group;
};

class PoolImpl;
struct LogBlock;
struct OpState;
struct Piece;

// One request to the media, and who waits for it.
struct EngineIo : SetIo {
  CheckJob check;        // While workers have what was read.
  bool checked = false;  // They have looked at it: check.bad says what they found.
  void (PoolImpl::*finish)(EngineIo*) = nullptr;
  PoolImpl* pool = nullptr;
  void* owner = nullptr;
  uint32_t first = 0;  // Which blocks of the owner.
  uint8_t tries = 0;
  EngineIo* next = nullptr;
};

// A caller's Op while the engine holds it.
struct OpState {
  Op* op = nullptr;
  VolumeState* volume = nullptr;
  uint32_t pieces = 0;
  bool stepping = false;  // Unmap, verify: the loop over pieces is running.
  bool credited = false;  // Space was found for all of it.
  uint64_t promised = 0;  // Of that, blocks not taken yet.
  Status status = Status::kOk;
  uint64_t failed_lba = 0;
  uint64_t cursor = 0;  // Unmap, verify: the next lba.
  uint64_t ticket = Progress::kUntracked;
  uint64_t previous = Progress::kUntracked;  // Version of the change before, for the log.
  uint32_t parts = 1;
  uint64_t snapshots_begun = 0;  // Of its volume, when it was submitted.
  uint32_t unlogged = 0;         // Write: parts of it.
  bool logged = true;            // In full, or no change.
  uint64_t unmap = 0;            // Its number, or of an install: that of the next one.
  OpState* next = nullptr;
};

struct ControlOp {
  LogKind kind = LogKind::kCreate;
  VolumeState* volume = nullptr;
  BlobStore* store = nullptr;
  std::string key;
  std::vector<uint8_t> value;
  uint8_t* buffer = nullptr;  // The value, aligned, while it is written.
  uint64_t slot = 0;
  uint64_t size_blocks = 0;
  VolumeMarks marks;
  struct Target {
    VolumeState* volume;
    VolumeState* snapshot;
    uint64_t version;
  };
  VolumeState* snapshot = nullptr;  // Of a rollback.
  VolumeState* from = nullptr;      // Of a promotion: whose clone it is when it is asked for.
  uint64_t version = 0;
  std::vector<Target> targets;  // Of a group of snapshots.
  uint64_t created_ms = 0;
  uint64_t waits = 0;  // For changes that come before.
  DoneFn done = nullptr;
  void* context = nullptr;
};

enum class PieceKind : uint8_t { kRead, kWrite, kWriteAtomic, kInstall, kUnmap, kVerify, kControl };

// The part of an operation that lies in one leaf (read, write, verify), under one parent of leaves
// (unmap), an atomic write of several leaves, or a control record.
struct Piece : Waiter {
  class PoolImpl* pool = nullptr;
  PieceKind kind = PieceKind::kRead;
  bool retried = false;
  bool io_failed = false;
  bool logged = false;
  bool summed = false;  // `crc` is known.
  uint8_t part = 0;     // Of a write: which one.
  OpState* op = nullptr;
  VolumeState* volume = nullptr;
  ControlOp* control = nullptr;
  Page* leaf = nullptr;  // Pinned while the piece holds it.
  uint8_t* data = nullptr;
  uint64_t lba = 0;
  uint64_t blocks = 0;
  uint64_t version = 0;
  uint32_t ios = 0;
  uint32_t owes = 0;  // Pages, while it is logged and not applied.
  uint8_t tries = 0;
  LogBlock* log = nullptr;
  std::vector<LogBlock*> holds;  // Write retry (S10): the blocks that named bad places, held back
                                 // until this one is safe.
  uint32_t bad_count = 0;
  std::vector<PhysRun> runs;
  std::vector<Page*> leaves;  // Unmap, atomic write.
  Piece* next = nullptr;
  uint32_t crc[kMaxAtomicBlocks];
  uint64_t bad[2];  // Read: blocks that failed, by bit.
};

// How far into the log something goes: whole blocks below `block`, and of that one so many entries.
struct LogPlace {
  uint64_t block = 0;
  uint64_t entries = 0;
  auto operator<=>(const LogPlace&) const = default;
};

struct LogBlock {
  uint8_t* data = nullptr;
  uint64_t sequence = 0;
  uint32_t used = 0;  // Of the entry area.
  uint16_t entries = 0;
  uint32_t pending = 0;          // Pieces whose data is not there yet.
  size_t applied = 0;            // Of `pieces`, in their order: see AdvanceApply.
  uint16_t applied_entries = 0;  // With the last of these: all up to there.
  bool whole = false;            // Applied at once, or not at all.
  uint64_t group_end = 0;  // The block that ends a group of entries begun here: applied together.
  bool written = false;
  uint8_t tries = 0;
  std::vector<Piece*> pieces;
  std::vector<uint16_t> through;  // Of each of `pieces`: the entries up to its own.
  LogBlock* next = nullptr;
};

struct CheckpointItem {
  Page* page = nullptr;
  Page* parent = nullptr;  // As of the cut.
  Page* record = nullptr;  // Of a root in the catalog: the record.
  Tree* tree = nullptr;
  PagePtr ptr;
  uint64_t index = 0;
  uint8_t rank = 0;
  uint8_t copies_left = 0;
  uint8_t copies_good = 0;
  uint8_t level = 0;
  uint32_t place = 0;         // Among the items that share a buffer: those before it.
  uint32_t left = 0;          // The first of them: items not written yet.
  uint8_t* buffer = nullptr;  // The first of them: their images, one after the other.
};

enum class CheckpointStage : uint8_t {
  kIdle,
  kPrepare,
  kWrite,
  kFlush,
  kSuper,
  kSuperFlush,
  kReadBack,
};

struct PieceQueue {
  Piece* head = nullptr;
  Piece* tail = nullptr;
  bool empty() const { return head == nullptr; }
  void Push(Piece* p) {
    p->next = nullptr;
    (tail != nullptr ? tail->next : head) = p;
    tail = p;
  }
  Piece* Pop() {
    Piece* p = head;
    head = p->next;
    if (head == nullptr) tail = nullptr;
    return p;
  }
};

struct IoQueue {
  EngineIo* head = nullptr;
  EngineIo* tail = nullptr;
  bool empty() const { return head == nullptr; }
  void Push(EngineIo* io) {
    io->next = nullptr;
    (tail != nullptr ? tail->next : head) = io;
    tail = io;
  }
  EngineIo* Pop() {
    EngineIo* io = head;
    head = io->next;
    if (head == nullptr) tail = nullptr;
    return io;
  }
};

class PoolImpl final : public Pool {
 public:
  explicit PoolImpl(const PoolOptions& options);
  ~PoolImpl() override;

  // recovery.cc
  Status Recover(const std::vector<DeviceFile>& files, std::string* why);
  bool rebuild_wanted() const { return rebuild_wanted_; }
  const std::optional<FoundOwner>& found() const { return devices_.found(); }
  void set_found(const std::optional<FoundOwner>& found) { devices_.set_found(found); }

  void Submit(Op* op) override;
  void Kick() override;
  int Poll() override;
  bool WantsPoll() const override;
  void CreateVolume(const Uuid& id, std::string_view name, uint64_t size_blocks, uint32_t* handle,
                    DoneFn done, void* context, uint64_t hole_floor) override;
  void ResizeVolume(uint32_t handle, uint64_t size_blocks, DoneFn done, void* context) override;
  void DeleteVolume(uint32_t handle, DoneFn done, void* context, bool with_snapshots) override;
  void CreateSnapshots(std::span<const SnapshotRequest> requests, uint64_t created_ms, DoneFn done,
                       void* context) override;
  void DeleteSnapshot(uint32_t handle, DoneFn done, void* context) override;
  std::vector<SnapshotInfo> Snapshots(uint32_t volume) const override;
  bool Snapshot(uint32_t handle, SnapshotInfo* info) const override;
  void CloneSnapshot(uint32_t snapshot, const Uuid& id, std::string_view name, uint32_t* handle,
                     DoneFn done, void* context) override;
  void PromoteVolume(uint32_t handle, DoneFn done, void* context) override;
  void RollbackVolume(uint32_t handle, uint32_t snapshot, uint64_t version, bool delete_later,
                      DoneFn done, void* context) override;
  void Changed(uint32_t from, uint32_t to, uint64_t lba, uint32_t max_runs,
               std::vector<MapRun>* runs, uint64_t* next, DoneFn done, void* context) override;
  void PutBlob(uint32_t handle, std::string_view key, std::span<const uint8_t> value, DoneFn done,
               void* context) override;
  bool GetBlob(uint32_t handle, std::string_view key, std::vector<uint8_t>* value) const override;
  std::vector<std::string> BlobKeys(uint32_t handle) const override;
  std::vector<VolumeInfo> Volumes() const override;
  bool Volume(uint32_t handle, VolumeInfo* info) const override;
  std::vector<DeviceInfo> Devices() const override;
  std::vector<VdevInfo> Vdevs() const override;
  bool HoldsFile(const BlockFile* file) const override;
  void AddVdev(const std::vector<DeviceFile>& sides, DoneFn done, void* context) override;
  void AttachDevice(const Uuid& beside, const DeviceFile& file, bool replaces, DoneFn done,
                    void* context) override;
  void DetachDevice(const Uuid& id, DoneFn done, void* context) override;
  void OfflineDevice(const Uuid& id, DoneFn done, void* context) override;
  void OnlineDevice(const Uuid& id, const DeviceFile& file, uint64_t sequence, DoneFn done,
                    void* context) override;
  void GrowDevices(DoneFn done, void* context) override;
  void SetGrowthLimit(uint32_t percent, DoneFn done, void* context) override;
  void Export(DoneFn done, void* context) override;
  void GiveBack(DoneFn done, void* context) override;
  void LookBeforeWriting() override;
  void StartScrub(DoneFn done, void* context) override;
  void StopScrub(bool cancel, DoneFn done, void* context) override;
  void StartRebalance(DoneFn done, void* context) override {
    StartWalk(&rebalance_, done, context);
  }
  void StopRebalance(bool cancel, DoneFn done, void* context) override {
    StopWalk(&rebalance_, cancel, done, context);
  }
  WalkStatus WalkInfo(WalkKind kind) const override;
  std::vector<DamagedBlock> Damage() const override;
  void SetWalkRate(uint64_t bytes_per_second) override;

  // tuning.cc
  Status Tune(uint32_t handle, const VolumeTuning& tuning) override;
  bool Use(uint32_t handle, VolumeUse* use) const override;
  int WorkersFd() const override;
  void Untune(VolumeState* v);
  void SetWorkers(VolumeState* v, uint32_t most);
  bool GiveToWorkers(EngineIo* io);
  void TakeFromWorkers();
  bool WantsTick() const override;
  PoolStats Stats() const override;
  void MapStatus(uint32_t handle, uint64_t lba, uint32_t max_runs, std::vector<MapRun>* runs,
                 DoneFn done, void* context) override;
  void ChangedSince(uint32_t handle, uint64_t since, uint64_t lba, uint32_t max_runs,
                    std::vector<ChangedRun>* runs, uint64_t* next, DoneFn done,
                    void* context) override;
  void SetMarks(uint32_t handle, const VolumeMarks& marks, DoneFn done, void* context) override;
  uint64_t CreditBlocks() const override;
  std::vector<Uuid> OpenIds() const override;
  void Checkpoint(DoneFn done, void* context) override;
  void Close(DoneFn done, void* context) override;

 private:
  // --- pool_impl.cc ---
  using IoFinish = void (PoolImpl::*)(EngineIo*);
  using FlushThen = void (PoolImpl::*)(void*, Status);
  void Enter() { ++depth_; }
  void Leave();
  void Drain();
  void CheckReads();
  void Background();
  bool Faulted() const { return state_ == PoolState::kFaulted; }
  void Fault(std::string why);
  EngineIo* NewIo(IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data, void* owner,
                  IoFinish finish, uint32_t first);
  // To the vdev that the address names.
  EngineIo* SubmitIo(IoKind kind, uint64_t phys, uint32_t blocks, uint8_t* data, void* owner,
                     IoFinish finish, uint32_t first = 0);
  // To one device, by the block's place on it.
  EngineIo* SubmitToDevice(uint16_t device, IoKind kind, uint64_t block, uint32_t blocks,
                           uint8_t* data, void* owner, IoFinish finish, uint32_t first = 0);
  void Resubmit(EngineIo* io);
  void FreeIo(EngineIo* io);
  static void OnIoDone(SetIo* io);
  Piece* NewPiece(PieceKind kind, OpState* op);
  void FreePiece(Piece* piece);
  void FinishOp(OpState* state);
  void FinishPiece(Piece* piece, Status status, uint64_t failed_lba = 0);
  void CompleteOp(Op* op, Status status, uint64_t failed_lba = 0);
  void CompleteControl(DoneFn done, void* context, Status status);
  void FinishControl(Piece* piece, Status status);
  VolumeState* FindVolume(uint32_t handle) const;
  VolumeState* FindTree(uint64_t tree) const;
  uint8_t* TakeBuffer();  // Of kLeafEntries blocks.
  void ReleaseBuffer(uint8_t* buffer);
  // Calls `then` after a flush that begins after now.
  struct FlushWaiter {
    FlushThen then;
    void* context;
  };
  void RequestFlush(FlushThen then, void* context);
  void FlushIoDone(EngineIo* io);
  void FuaFlushed(void* state, Status status);
  void OpFlushed(void* op, Status status);
  void ControlFlushed(void* piece, Status status);
  void CheckpointFlushed(void* unused, Status status);
  void SuperFlushed(void* unused, Status status);
  void SuperIoDone(EngineIo* io);
  void ReadBackDone(EngineIo* io);
  void PieceWoken(Piece* piece, Status status);
  void ReadIoDone(EngineIo* io);
  bool Pump(int rounds);
  void FailPiece(Piece* piece, Status status);
  bool CountGrowth(OpState* state, uint64_t* growth);
  void ReleaseHold(Piece* piece);
  void StartFlush();

  // --- tree_access.cc ---
  enum class Got : uint8_t { kHere, kNull, kLoading, kBad };
  Got GetPage(Tree* tree, uint32_t level, uint64_t index, Waiter* waiter, Page** page);
  // Null ones are made, empty. Never kNull.
  Got GetOrCreate(Tree* tree, uint64_t index, Waiter* waiter, Page** page);
  Page* MakePath(Tree* tree, uint32_t to_level, uint64_t index);
  uint64_t NullVersion(Tree* tree, uint64_t leaf);
  void StartLoad(Page* page, const PagePtr& ptr);
  void FinishLoad(EngineIo* io);
  void LoadRepaired(Repair* repair);
  void EndLoad(Page* page, bool good);
  void WakeWaiters(Page* page, Status status);
  PagePtr* LiveSlot(Page* page);
  void MarkDirty(Page* page);
  // The page's bytes are about to change.
  void Touch(Page* page) {
    if (page->dirty ? page->birth <= page->tree->barrier : !page->assigned) MarkDirty(page);
    if (page->in_checkpoint && page->frozen == nullptr) Thaw(page);
  }
  void Thaw(Page* page);
  // Takes a page out of its tree and frees its addresses. It must have no children.
  void DropPage(Page* page, const PagePtr& hole = PagePtr{});
  static PagePtr HoleOf(const PagePtr& ptr);
  void Grow(Tree* tree, uint32_t height);
  uint64_t NullSpan(Tree* tree, uint64_t leaf);
  uint64_t BadSpan(Tree* tree, uint64_t leaf);
  enum class Newness : uint8_t { kBorn, kMaxVersion };
  Got Descend(Tree* tree, uint64_t leaf, Newness by, uint64_t bound, uint64_t* span, Page** page,
              bool* absent = nullptr);
  bool ForgetPages(Tree* tree, uint32_t level, uint64_t index);
  uint64_t LeafSpan(uint32_t level) const { return 1ull << (kFanOutBits * level); }
  void CountPage(Page* page);

  // --- versions.cc ---
  bool IsRetained(const Tree* tree, uint64_t born) const {
    return tree->role == Role::kMap && tree->owner != nullptr && born <= tree->owner->prev_birth;
  }
  // S14: what a clone has from its origin compares as version 0.
  static bool IsInherited(const VolumeState* volume, uint64_t born) {
    return volume->version_base != 0 && born <= volume->version_base;
  }
  void Preserve(Page* page);
  void RetirePage(Tree* tree, const PagePtr& ptr, uint64_t at);
  // A block of data that the head no longer names.
  void RetireData(VolumeState* head, uint64_t phys, uint64_t born) {
    if (born > head->prev_birth ||
        (Mutated(Mutant::kBornComparedWrongly) && born > 0 && born + 2 > head->prev_birth)) {
      FreeRun(phys, 1);
      --head->written;
    } else {
      if (born <= head->origin_birth && head->inherited != kUnknown) --head->inherited;
      Retire(head, phys, 1, born, generation_);
    }
  }
  void Retire(VolumeState* head, uint64_t phys, uint32_t blocks, uint64_t born, uint64_t at);
  void PlaceShared(Page* page, const PagePtr& ptr);
  void PlacePreserved(Page* page, const PagePtr& ptr);
  void SetSlot(VolumeState* snapshot, const Page* page, const PagePtr& ptr);
  void PatchShared(const CheckpointItem* item);
  bool PrepareLines();
  bool AppendDead(DeadList* list);
  std::unique_ptr<DeadList> NewDeadList(VolumeState* owner, uint64_t tree);

  // --- snapshot.cc ---
  VolumeState* AddRecord(RecordKind kind, uint64_t tree, uint32_t slot);
  uint32_t FreeSlot();
  void MarkRecord(VolumeState* v) {
    if (v->dirty) return;
    v->dirty = true;
    dirty_records_.push_back(v);
  }
  // A snapshot can be read once a superblock reaches it: until then its pages are its head's.
  bool Readable(const VolumeState* v) const {
    return v->kind == RecordKind::kVolume || v->supers > 0;
  }
  void OpLogged(OpState* state);
  bool BeforeASnapshot(const OpState* state) const {
    return !state->volume->snapshots_waiting.empty() &&
           state->snapshots_begun < state->volume->snapshots_begun;
  }
  void BeginSnapshots(ControlOp* control);
  void AppendSnapshots(Piece* piece);
  void ForgetWaiting(ControlOp* control);
  void ApplySnapshots(const std::vector<ControlOp::Target>& targets);
  void FinishSnapshots(ControlOp* control, Status status);
  void ApplyDeleteSnapshot(VolumeState* snapshot);
  Status LinkLines();
  void Relink(VolumeState* head);
  Status LoadRecord(uint32_t slot, Page* page, std::string* why);
  void ServeParked();

  // --- clone.cc ---
  static bool MustWait(const VolumeState* snapshot, const ControlOp* control);
  void StartWaitingControls();
  void ApplyClone(VolumeState* clone);

  // --- rollback.cc ---
  void ApplyRollback(VolumeState* volume, VolumeState* snapshot, uint64_t version);
  void ApplyRolledBack(VolumeState* volume);
  bool RollbackStep(VolumeState* volume);
  bool RollbackLeaves(VolumeState* volume, VolumeState* snapshot);
  void RollbackLeaf(VolumeState* volume, Page* page, const Page* then);
  bool RollbackLists(VolumeState* volume, const VolumeState* snapshot);
  void KeepPages(DeadList* list, Page* page);
  Status MayPromote(const VolumeState* clone) const;
  void ApplyPromote(VolumeState* clone);

  // --- diff.cc ---
  struct DiffOp {
    uint32_t from;
    uint32_t to;
    uint64_t lba;
    uint32_t max_runs;
    std::vector<MapRun>* runs;
    uint64_t* next;
    DoneFn done;
    void* context;
  };
  static bool Precedes(const VolumeState* from, const VolumeState* to);
  void StepDiff();
  bool WalkDiff(VolumeState* from, VolumeState* to, DiffOp* diff, Status* status);

  // --- reclaim.cc ---
  static bool HasLiveClones(const VolumeState* snapshot);
  bool MayReclaim();
  void StepReclaim();
  bool ReclaimSnapshot(VolumeState* snapshot);
  void Condemn(VolumeState* snapshot);
  void CloseSegment(VolumeState* head);
  void StartLineWalk(VolumeState* snapshot);
  bool StepLineWalk(VolumeState* snapshot);
  void SweepLeaf(DeadList* list, Page* page, uint64_t older, bool all);
  static void CountLeaf(const Page* page, VolumeState* snapshot);
  void DropUpward(Page* page);
  void DropEmptySegments(VolumeState* head);
  bool RemoveRecord(VolumeState* v);
  bool DeleteStep(VolumeState* volume);
  bool EraseLists(VolumeState* head);
  bool DeleteTree(VolumeState* volume, Tree* tree);
  bool DropSubtree(Tree* tree, uint64_t leaf, uint64_t span);

  // --- allocation.cc ---
  Group* HoldGroup(uint64_t index, Page* leaf);
  void DropGroup(Group* group);
  bool EnsureFree(AllocClass* c, uint64_t blocks);
  bool AllocRun(AllocClass* c, uint32_t want, PhysRun* out);
  bool TakeFrom(AllocClass* c, size_t slot, uint32_t want, PhysRun* out);
  void RotateClass(AllocClass* c);
  bool WantsWidth(const AllocClass* c, uint32_t vdev) const;
  bool WrongHalf(const AllocClass* c, uint32_t vdev) const;
  void LayOutGroups();
  uint64_t VdevFree(uint32_t vdev) const;
  void CountUsed(uint64_t phys, int64_t blocks);
  uint64_t AllocMeta(int copy, uint32_t avoid_vdev = ~0u);
  void ApplyAlloc(const PhysRun& run);
  void ReleaseAlloc(const PhysRun& run);
  void Rewind(Group* group, uint32_t bit);
  void FreeRun(uint64_t phys, uint64_t blocks);
  uint64_t GroupOf(uint64_t phys) const { return range_.GroupOf(phys); }
  uint32_t BitOf(uint64_t phys) const { return range_.BitOf(phys); }
  uint64_t GroupCount() const { return range_.Groups(); }
  // Blocks that can be taken now, and those that will be once pending frees have come back.
  uint64_t FreeNow() const { return alloc_blocks_ - bits_used_ - busy_ - lost_free_; }
  uint64_t FreeSoon() const {
    return FreeNow() + pending_blocks_ - lost_pending_ + releasing_count_;
  }
  uint64_t CheckpointNeed() const;
  uint64_t Reserve() const { return reserve_; }

  // --- lost_space.cc ---
  struct SpaceRebuild;
  bool IsLost(uint64_t group) const;
  void LoseSpace(uint64_t group);
  void RebuildSpace();
  bool IsUnclaimed(uint64_t phys) const;
  void Claim(uint64_t phys);

  // --- repair.cc ---
  void AddPlaces(Repair* repair, uint64_t phys);
  Repair* NewRepair(void* owner, void (PoolImpl::*done)(Repair*), uint32_t index);
  void RepairData(uint64_t phys, uint32_t crc, void* owner, void (PoolImpl::*done)(Repair*),
                  uint32_t index, bool expected = false, const uint8_t* offer = nullptr);
  void RepairPage(const PagePtr& ptr, const PageIdentity& identity, void* owner,
                  void (PoolImpl::*done)(Repair*));
  bool RepairMatches(const Repair* repair, const uint8_t* block) const;
  void StepRepair(Repair* repair);
  void RepairReadDone(EngineIo* io);
  void RepairWriteDone(EngineIo* io);
  void EndRepair(Repair* repair);
  void HoldCheckpoint() { ++checkpoint_holds_; }
  void ReleaseCheckpoint();
  void SyncRepairDone(Repair* repair);
  bool ReadGoodSync(uint64_t phys, uint32_t crc, bool all, uint8_t* into);

  // --- device_control.cc ---
  Status DeviceCallStatus() const;
  Status BeginDeviceCall(DoneFn done, void* context);
  void EndDeviceCall(Status status);
  void KeepDevices();
  void DevicesKept();
  Status JoinSide(const Uuid& beside, const DeviceFile& file, bool replaces);
  void DropLeaving();
  bool AnyLeaving() const;
  void WipeLabels(uint16_t index);
  void WipeDone(EngineIo* io);
  void EnsureRegions();
  void ActivateRegions();
  void CloseForOther(bool as_found, DoneFn done, void* context);
  void ClosedForExport(Status status);
  void EndExport(Status status);
  uint32_t ResilverTargets(uint64_t* since) const;
  void CheckResilver(bool opening);
  bool FinishResilver();

  // --- walk.cc ---
  static bool Running(const Walk& walk);
  const Walk* ActiveWalk() const;
  bool WalkTree(uint64_t* key, Tree** tree, VolumeState** owner, uint64_t* shared);
  Tree* WalkPart(VolumeState* v, uint32_t part, uint64_t* shared);
  void GoBack(const VolumeState* condemned, const VolumeState* heir);
  bool VisitLeaf(Walk* walk, Tree* tree, VolumeState* owner, uint64_t key, uint64_t shared);
  void VisitEntries(Walk* walk, Page* page, VolumeState* owner, uint64_t bound);
  WalkTask* NewTask(Walk* walk, uint64_t phys, VolumeState* owner);
  void QueueTask(Walk* walk, WalkTask* task);
  void AddPageTask(Walk* walk, const PagePtr& ptr, const PageIdentity& identity, VolumeState* owner,
                   uint64_t lba);
  void StartTask(Walk* walk, WalkTask* task);
  void ReadTask(WalkTask* task);
  bool TaskMatches(const WalkTask* task, uint32_t i) const;
  void TaskReadDone(EngineIo* io);
  void RepairTask(WalkTask* task);
  void TaskRepaired(Repair* repair);
  void TaskStep(WalkTask* task);
  void TaskWriteDone(EngineIo* io);
  void TaskWritten(WalkTask* task);
  void EndTask(WalkTask* task);
  bool ReportDamage(const Walk* walk, const VolumeState* owner, DamagedBlock block);
  void ForgetDamage(uint64_t phys, uint64_t blocks);
  void HandDamageOn(uint64_t from, const VolumeState* to, uint64_t phys, uint64_t blocks);
  void FillTokens();
  bool WalkWantsPoll() const;
  void StepWalk();
  bool AdvanceWalk(Walk* walk);
  WalkRecord KeptRecord(const Walk& walk) const;
  void DropTasks(Walk* walk);
  void BeginWalk(Walk* walk, uint64_t since);
  void StartWalk(Walk* walk, DoneFn done, void* context);
  void StopWalk(Walk* walk, bool cancel, DoneFn done, void* context);
  bool IsFull(uint32_t vdev, uint64_t tolerance) const;
  bool SharedSince(const WalkTask* task, const VolumeState* v) const;
  void MoveTask(WalkTask* task);
  void PreferEmptier();
  void EndWalk(Walk* walk);
  void ResumeWalks();

  // --- read_path.cc ---
  void ReadRepaired(Repair* repair);
  void StartRead(OpState* state);
  void ReadPiece(Piece* piece);
  void ReadDone(Piece* piece);
  void StepVerify(OpState* state);

  // --- write_path.cc ---
  void StartWrite(OpState* state);
  void AdmitPiece(Piece* piece);
  enum class Admission : uint8_t { kGo, kWait, kDone };
  Admission TryStart(Piece* piece);
  Admission HasCredit(Piece* piece);
  Admission HasRoom(uint64_t blocks, uint32_t log_bytes, uint32_t pages);
  uint32_t PagesOf(const Piece* piece) const;
  void Credit(OpState* state);
  void EndCredit(OpState* state);
  uint64_t OwedBlocks() const;
  bool MayGrow(const Piece* piece) const;
  void SendWrite(Piece* piece);
  void WriteIoDone(EngineIo* io);
  void RetryWrite(Piece* piece);
  uint8_t* AppendEntry(Piece* piece, uint32_t bytes);
  void SealLog();
  void LogIoDone(EngineIo* io);
  void AdvanceApply();
  void ApplyPart(LogBlock* block);
  // Whether the log's first block is not begun: a cut falls between blocks.
  bool BetweenBlocks() const { return log_head_ == nullptr || log_head_->applied == 0; }
  void Apply(Piece* piece);
  void ApplyWrite(VolumeState* volume, Page* leaf, uint64_t lba, uint32_t blocks, uint64_t version,
                  const std::vector<PhysRun>& runs, const uint32_t* crc);
  void SumBlocks(Piece* piece);
  void EncodeWrite(Piece* piece);
  void PieceReady(Piece* piece);
  void ProcessStalled();
  bool LogHasRoom(uint32_t bytes) const;
  bool LogHasBlocks(uint64_t blocks) const {
    return next_sequence_ + 1 + blocks - log_tail_ < sb_.log_blocks;
  }
  bool GroupReady(const LogBlock* block) const;

  // --- atomic_write.cc ---
  bool NeedsAtomicEntry(const Op* op) const;
  Got PinLeaves(Piece* piece);
  void ApplyWriteAtomic(VolumeState* volume, const std::vector<Page*>& leaves, uint64_t lba,
                        uint64_t version, const std::vector<PhysRun>& runs, const uint32_t* crc);
  bool ReplayWriteAtomic(VolumeState* volume, const LogEntryHeader& header,
                         const std::vector<PhysRun>& runs, const uint32_t* crc);
  // --- install.cc ---
  void StartInstall(OpState* state);
  void UnmapEnded(OpState* state);
  void PassInstalls(VolumeState* volume);
  bool TagsMatch(const Op* op, uint64_t* bad_lba) const;
  static bool InstallIsSound(const Op* op);
  static void SpoilUnknown(const Op* op);
  bool LogInstall(Piece* piece);
  void SendInstallData(Piece* piece);
  void ApplyInstall(VolumeState* volume, Page* page, uint64_t lba, uint32_t blocks, Guard guard,
                    uint64_t joined, const std::vector<PhysRun>& runs, BlockTag* tags);

  // --- changed.cc ---
  struct ChangedOp {
    uint32_t handle;
    uint64_t since;
    uint64_t lba;
    uint32_t max_runs;
    std::vector<ChangedRun>* runs;
    uint64_t* next;
    DoneFn done;
    void* context;
    uint32_t leaves;
  };
  enum class Below : uint8_t { kSkip, kHole, kLook };
  Below LookBelow(Tree* tree, uint64_t leaf, uint64_t since, uint64_t* span, uint64_t* version);
  void StepChanged();
  bool WalkChanged(VolumeState* volume, ChangedOp* changed);

  // --- unmap.cc ---
  void StepUnmap(OpState* state);
  Admission TryStartUnmap(Piece* piece);
  Admission LogUnmap(Piece* piece);
  void UnmapRange(VolumeState* volume, uint64_t lba, uint64_t blocks, uint64_t version, bool wait);
  void MarkHole(Tree* tree, uint32_t level, uint64_t index, uint64_t version);
  bool SetHole(const Tree* tree, PagePtr* ptr, uint64_t version);
  void ApplyUnmapLeaf(VolumeState* volume, Page* leaf, uint64_t lba, uint64_t blocks,
                      uint64_t version);
  void ClearEntry(const VolumeState* volume, Page* page, uint32_t e, uint64_t version);
  void SetEntry(MapLeaf* leaf, uint32_t e, uint64_t phys, uint64_t version, uint32_t crc);

  // --- control.cc ---
  void StartControl(ControlOp* control);
  Admission TryStartControl(Piece* piece);
  void ControlIoDone(EngineIo* io);
  void ApplyControl(Piece* piece);
  void ApplyMarks(VolumeState* volume, const VolumeMarks& marks);
  void ApplyDelete(VolumeState* volume);
  void ApplyBlob(BlobStore* store, const std::string& key, uint64_t slot,
                 std::vector<uint8_t> value, const uint64_t* phys, const uint32_t* crc);
  VolumeState* AddVolume(uint64_t tree, uint32_t slot, const Uuid& id, std::string name,
                         uint64_t size_blocks);
  Status MayChange() const;
  void SetSize(VolumeState* volume, uint64_t size_blocks);
  static uint32_t HeightFor(uint64_t leaves);
  void StepMapStatus();

  // --- checkpoint.cc ---
  void StepCheckpoint();
  bool PrepareCheckpoint();
  uint64_t RoomForPages() const;
  void Cut();
  void DropEmptyPages();
  bool PageIsEmpty(Page* page, PagePtr* hole) const;
  bool AssignAddresses();
  bool PlacePending();
  void StepClose();
  void EndQuestions(Status status);
  void SerializeItem(CheckpointItem* item);
  void SuperStep();
  bool SupersSuffice(const char* what);
  void FillRecord(VolumeState* volume);
  bool MoreItems() const;
  void WriteItems();
  void PatchSlot(CheckpointItem* item);
  void SendItems(CheckpointItem* first, uint32_t count, int copy);
  void ItemWritten(CheckpointItem* item);
  void ItemIoDone(EngineIo* io);
  void FinishCheckpoint();
  bool CheckpointWanted() const;

  // --- recovery.cc ---
  Status ReadSuperblocks(std::string* why);
  Status Settle(std::string* why);
  Status SpaceUnreadable(std::string* why);
  Status NoPlaceKnown(std::string* why);
  Status WriteLabelsSync(std::string* why);
  Status EqualizeSuperblocks(uint32_t base, bool erase_other, std::string* why);
  void ReleasePending();
  void SetLimits();
  Got WaitPage(Tree* tree, uint64_t index, bool create, Page** page);
  bool ReadSync(uint64_t block, uint32_t blocks, uint8_t* data);
  bool WriteSync(uint64_t block, uint32_t blocks, uint8_t* data);
  bool FlushSync();
  bool RunSyncOn(uint16_t device, IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data);
  bool RunSync(IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data);
  void SyncDone(EngineIo* io);
  void WaitIo();

  // --- load_state.cc ---
  Status LoadState(std::string* why);
  Status LoadPending(std::string* why);
  Status LoadBlobs(BlobStore* store, std::string* why);

  // --- replay.cc ---
  struct Replay;
  Status ReplayLog(std::string* why);
  void Prefetch(const uint8_t* blocks, uint32_t count);
  void ReplayBlock(Replay* replay, const uint8_t* block, uint64_t trusted);
  void ReplayWrite(Replay* replay, const LogEntry& entry, bool verify);
  bool ReplayDataMatches(const std::vector<PhysRun>& runs, const std::vector<uint32_t>& crcs);
  void ReplayInstall(Replay* replay, const LogEntry& entry, bool verify);
  void ReplayUnmap(const LogEntry& entry);
  void ReplaySnapshot(Replay* replay, const LogEntry& entry);
  void ReplayBlob(Replay* replay, const LogEntry& entry, bool verify);
  bool ReplayAlloc(Replay* replay, const std::vector<Run>& runs, std::vector<PhysRun>* out);
  bool VerifyRunSync(const PhysRun& run, const uint32_t* crcs, uint8_t* data);

  PoolOptions options_;
  DeviceSet devices_;
  PageCache cache_;
  std::unique_ptr<CheckWorkers> workers_;  // Once a volume has asked for some.
  PoolState state_ = PoolState::kOpen;
  std::string fault_;
  bool recovering_ = true;
  bool closing_ = false;
  // What the space map speaks of. Those from active_regions_ on are on their way: allocated from
  // once both superblocks know them.
  Region regions_[kMaxRegions];
  PhysRange range_{regions_, 0};
  uint32_t active_regions_ = 0;
  uint64_t alloc_blocks_ = 0;    // Of the active ones.
  std::vector<uint32_t> order_;  // Of groups to try, vdevs taking turns. Empty: one region.
  uint32_t data_vdevs_ = 1;
  uint8_t vdev_half_[kMaxVdevs] = {};  // Which copies of pages it takes (H6).
  Superblock sb_{};  // As the newest durable one, with the live fields not in it kept beside.
  uint64_t next_tree_ = 16;
  uint64_t opening_ = 0;
  Superblock other_{};  // The generation that was not opened from, if it is valid.
  bool other_valid_ = false;
  bool other_gone_ = false;  // Durably: no later opening finds it.
  uint64_t generation_ = 0;  // Of the checkpoint to come: what is written now is born in it.
  uint64_t reserve_ = 0;
  uint64_t growth_reserve_ = 0;  // The same for writes that grow.

  // Volumes by slot.
  std::vector<std::unique_ptr<VolumeState>> volumes_;
  std::unordered_map<uint64_t, VolumeState*> by_tree_;
  std::map<std::string, VolumeState*, std::less<>> by_name_;
  BlobStore pool_blobs_;
  Tree catalog_, space_, pending_;

  std::vector<VolumeState*> dirty_records_;
  std::vector<VolumeState*> cut_records_;  // What the checkpoint to come, or under way, writes.
  std::vector<VolumeState*> fresh_;        // Snapshots that one superblock reaches.
  std::vector<VolumeState*> reclaim_;      // To be deleted, or counted anew.
  // Clones and rollbacks: for a snapshot's supers, or the moves of their volume.
  std::vector<std::pair<VolumeState*, ControlOp*>> waiting_controls_;
  std::vector<DiffOp> diffs_;
  std::vector<Op*> parked_;  // On snapshots that no superblock reaches yet.
  uint32_t slot_hint_ = 0;
  uint64_t dead_blocks_ = 0;  // In all deadlists.
  uint64_t dead_now_ = 0;     // Runs in DeadList::now of all.

  // Space.
  std::unordered_map<uint64_t, std::unique_ptr<Group>> groups_;
  AllocClass data_, meta_[2];
  uint64_t bits_used_ = 0;
  uint64_t busy_ = 0;
  uint64_t metadata_blocks_ = 0;
  std::vector<Run> freed_now_;           // In the interval that the next cut ends.
  std::vector<Run> pending_old_;         // Persisted by the newest superblock: cleared by the next.
  std::vector<Run> releasing_;           // Cleared by the checkpoint under way.
  std::vector<uint64_t> pending_pages_;  // Addresses of the newest pending tree.
  uint64_t releasing_count_ = 0;         // Blocks in releasing_.
  uint64_t pending_blocks_ = 0;          // In freed_now_ and pending_old_.
  bool reclaim_stuck_ = false;           // There is no room for it.
  uint64_t reclaim_cut_ = ~0ull;         // Checkpoints made when it began to wait for room.
  uint64_t loads_awaited_ = 0;           // How often a page was not there yet.
  uint64_t reclaim_turn_ = 0;            // Checkpoints made when it last had a turn between two.
  uint64_t reclaim_room_ = 0;            // That others leave it, when its turn has come.
  int reclaim_leaves_ = 1;               // That a step of what runs in the background may change.
  uint64_t promised_ = 0;                // Blocks, to operations that are credited.
  uint64_t owed_pages_ = 0;              // By what is logged and not applied.
  uint64_t unplaced_pages_ =
      0;  // Dirty pages that have no address yet: two blocks each at the cut.
  uint64_t data_mapped_ = 0;
  // Groups whose part of the space map cannot be read, from the first to the one behind the last;
  // and what the pages above say is free in them.
  struct LostGroups {
    uint64_t end = 0;
    uint64_t blocks = 0;
    uint64_t free = 0;
  };
  std::map<uint64_t, LostGroups> lost_;
  uint64_t lost_free_ = 0;
  uint64_t lost_pending_ = 0;  // Of pending_blocks_: those in there, which do not come back.
  uint64_t rebuilt_pages_ = 0;
  // Until the log is replayed: the groups that were made anew while something else could not be
  // read, from the first to the one behind the last, and what is known to be owned. All else in
  // them counts as in use because nobody knows.
  std::map<uint64_t, uint64_t> guessed_;
  bool space_guessed_ = false;  // There are such groups, from this opening or one before.
  OwnedBlocks known_owned_;
  bool no_room_ = false;         // For a checkpoint.
  bool opening_now_ = true;      // Until the checkpoint that ends the opening.
  bool rebuild_wanted_ = false;  // This opening met a page that cannot be read.

  // Log.
  uint64_t next_sequence_ = 0;
  uint64_t apply_sequence_ = 0;  // Of the first block not applied.
  uint32_t apply_crc_ = 0;       // Of the last block applied.
  uint32_t chain_crc_ = 0;       // Of the last block sealed.
  uint64_t log_tail_ = 0;  // The older superblock's position: nothing from here on is overwritten.
  uint64_t cut_sequence_ = 0;
  // By block, then entry: every block below, and the entries of this one below.
  LogPlace flushed_up_to_;
  LogBlock* log_head_ = nullptr;
  LogBlock* log_last_ = nullptr;
  LogBlock* open_log_ = nullptr;
  std::vector<LogBlock*> free_log_;

  // Work in flight.
  PieceQueue ready_;    // Woken by a page: older than everything stalled.
  PieceQueue stalled_;  // Waiting for space, log or pages, in the order of Submit.
  bool need_kick_ = false;
  bool in_stalled_ = false;
  uint64_t stall_cut_ = ~0ull;  // checkpoints_ when the head began to wait for space.
  uint64_t soft_dirty_ = 0;     // Dirty pages that start a checkpoint, and that hold back changes.
  uint64_t hard_dirty_ = 0;
  uint64_t in_flight_ops_ = 0;
  uint64_t ios_in_flight_ = 0;
  uint32_t depth_ = 0;
  bool draining_ = false;
  bool polling_ = false;  // The media deliver what has ended.
  bool delivering_ = false;
  IoQueue io_done_;
  IoQueue reads_done_;  // Of callers, to be checked by Poll: see CheckReads.
  Op* done_head_ = nullptr;
  Op* done_tail_ = nullptr;
  int delivered_ = 0;
  struct ControlDone {
    DoneFn done;
    void* context;
    Status status;
  };
  std::vector<ControlDone> control_done_;
  std::vector<FlushWaiter> flush_waiting_, flush_running_;
  bool flush_in_flight_ = false;
  LogPlace flush_covers_;
  std::vector<EngineIo*> free_ios_;
  std::deque<EngineIo> all_ios_;
  std::vector<Piece*> free_pieces_;
  std::deque<Piece> all_pieces_;
  std::vector<OpState*> free_states_;
  std::deque<OpState> all_states_;
  std::deque<LogBlock> all_log_;
  std::vector<uint8_t*> buffers_;  // Of kLeafEntries blocks, spare.
  uint32_t loads_in_flight_ = 0;
  struct MapStatusOp {
    uint32_t handle;
    uint64_t lba;
    uint32_t max_runs;
    std::vector<MapRun>* runs;
    DoneFn done;
    void* context;
    uint32_t leaves;
  };
  std::vector<MapStatusOp> map_status_;
  std::vector<ChangedOp> changed_;

  // Checkpoint.
  CheckpointStage stage_ = CheckpointStage::kIdle;
  bool want_checkpoint_ = false;
  uint64_t cuts_ = 0;
  std::vector<CheckpointItem> items_;
  size_t items_next_ = 0;
  uint32_t items_in_flight_ = 0;
  std::map<uint64_t, Page*> prepared_;  // Space leaves to clear bits in, pinned, by group.
  std::vector<uint64_t> pending_pages_next_;
  bool close_started_ = false;
  DoneFn close_done_ = nullptr;
  void* close_context_ = nullptr;
  std::vector<Run> carried_;       // Pending runs this checkpoint does not clear.
  std::vector<Run> pending_next_;  // What it persists as pending.
  Superblock sb_next_{};
  uint8_t* sb_buffer_ = nullptr;
  std::vector<uint8_t*> readback_;  // Two blocks a device.
  uint32_t sb_ios_ = 0;
  uint64_t sb_good_ = 0;  // Bits, by device.
  uint64_t sb_asked_ = 0;
  struct CheckpointWaiter {
    uint64_t cut;
    DoneFn done;
    void* context;
    bool close;
  };
  std::vector<CheckpointWaiter> checkpoint_waiters_;

  // Stats.
  // Devices.
  bool device_call_busy_ = false;
  DoneFn device_done_ = nullptr;
  void* device_context_ = nullptr;
  bool export_as_found_ = false;
  bool export_labels_ = false;  // Closed, and the labels are being written.
  DoneFn export_done_ = nullptr;
  void* export_context_ = nullptr;
  uint32_t region_checkpoints_ = 0;  // Since both superblocks could know the newest region.
  uint32_t growth_limit_ = 100;
  uint64_t base_generation_ = 0;  // Of the superblock that was opened from.
  std::vector<std::pair<uint8_t*, int>> wipe_buffers_;

  // Walks and repairs.
  Walk scrub_, resilver_, rebalance_;
  std::deque<WalkTask> all_tasks_;
  std::vector<WalkTask*> free_tasks_;
  std::deque<Repair> all_repairs_;
  std::vector<Repair*> free_repairs_;
  std::vector<DamagedBlock> damage_;
  uint64_t walk_bytes_per_second_ = 0;
  uint64_t walk_filled_ms_ = 0;
  int64_t walk_tokens_ = 0;
  uint32_t checkpoint_holds_ = 0;  // Repairs and walks that write in place.
  bool finish_waiting_ = false;
  uint64_t healed_blocks_ = 0;
  uint64_t checkpoints_ = 0;
  uint64_t checksum_errors_ = 0;
  uint64_t io_errors_ = 0;
  uint64_t replayed_entries_ = 0;
  uint64_t dropped_entries_ = 0;
  bool log_damaged_ = false;
};

}  // namespace ashlar
