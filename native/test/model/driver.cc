#include "native/test/model/driver.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ashlar::model {
namespace {

struct FreeDeleter {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<uint8_t[], FreeDeleter>;

Bytes Blocks(uint64_t blocks) {
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes));
  if (memory == nullptr) std::abort();
  return Bytes(memory);
}

std::string Text(const Block& b) {
  return "kind " + std::to_string(static_cast<int>(b.kind)) + " version " +
         std::to_string(b.version) + " value " + std::to_string(b.value);
}

}  // namespace

struct Driver::HostOp {
  Op op;
  Driver* driver = nullptr;
  Volume* volume = nullptr;
  Bytes data;
  std::vector<BlockTag> tags;
  std::vector<uint8_t> installed;  // What the model says of each.
  uint64_t value = 0;
  bool in_turn = true;  // An install: nothing submitted later may be applied before it.
};

Driver::Driver(const DriverOptions& options) : options_(options), rng_(options.seed) {}
Driver::~Driver() = default;

bool Driver::Fail(std::string why) {
  if (error_.empty()) {
    error_ = "operation " + std::to_string(counts_.operations) + ": " + std::move(why);
  }
  return false;
}

Volume* Driver::Pick() {
  return volumes_.empty() ? nullptr : volumes_[Below(volumes_.size())].get();
}

Snapshot* Driver::PickSnapshot() {
  std::vector<Snapshot*> all;
  for (const auto& v : volumes_) {
    for (const auto& s : v->snapshots) all.push_back(s.get());
  }
  return all.empty() ? nullptr : all[Below(all.size())];
}

bool Driver::IsOrigin(const Snapshot& s) const {
  return std::any_of(volumes_.begin(), volumes_.end(),
                     [&s](const auto& v) { return v->origin == &s; });
}

bool Driver::AnyOrigin(const Volume& v, size_t from) const {
  for (size_t i = from; i < v.snapshots.size(); ++i) {
    if (IsOrigin(*v.snapshots[i])) return true;
  }
  return false;
}

void Driver::Range(const Volume& v, uint64_t longest, uint64_t* lba, uint64_t* blocks) {
  *lba = Chance(30) ? Below(std::min<uint64_t>(v.size, 40)) : Below(v.size);
  *blocks = std::min(1 + Below(longest), v.size - *lba);
}

// --- The pool ---

bool Driver::OpenPool() {
  PoolOptions options;
  options.cache_bytes = 1 << 20;
  for (uint8_t& byte : options.open_id.bytes) byte = static_cast<uint8_t>(rng_());
  options.prefer_older_superblock = Chance(20);
  std::string why;
  if (Pool::Open(*file_, options, &pool_, &why) != Status::kOk) {
    return Fail("the pool does not open: " + why);
  }
  if (pool_->Stats().log_damaged) return Fail("the log is called damaged");
  return true;
}

bool Driver::Open() { return OpenPool() && Match(); }

// What was found has the names that the model has, and new handles.
bool Driver::Match() {
  std::map<std::string, VolumeInfo> found;
  for (const VolumeInfo& info : pool_->Volumes()) {
    if (!info.deleting) found[info.name] = info;
  }
  if (found.size() != volumes_.size()) return Fail("another number of volumes");
  for (auto& v : volumes_) {
    auto it = found.find(v->name);
    if (it == found.end()) return Fail(v->name + " is gone");
    v->handle = it->second.handle;
    const std::vector<SnapshotInfo> snapshots = pool_->Snapshots(v->handle);
    size_t next = 0;
    for (const SnapshotInfo& info : snapshots) {
      if (info.deleting) continue;
      if (next == v->snapshots.size() || v->snapshots[next]->name != info.name) {
        return Fail(v->name + " has another snapshot: " + info.name);
      }
      v->snapshots[next++]->handle = info.handle;
    }
    if (next != v->snapshots.size()) return Fail(v->name + " lacks a snapshot");
  }
  for (auto& v : volumes_) {
    const uint32_t origin = v->origin == nullptr ? 0 : v->origin->handle;
    if (found[v->name].origin != origin) return Fail(v->name + " has another origin");
  }
  return true;
}

// Closed, or killed with nothing under way: then too nothing that was acknowledged may be missing.
bool Driver::Reopen() {
  if (!Wait(0)) return false;
  ++counts_.reopenings;
  if (Chance(50)) {
    if (Do([this](DoneFn done, void* c) { pool_->Close(done, c); }) != Status::kOk) {
      return Fail("closing failed");
    }
  } else {
    ++counts_.kills;
    const bool cut = Chance(50);
    if (cut) {
      Op op;
      op.kind = OpKind::kFlush;
      Volume* v = Pick();
      op.volume = v == nullptr ? 0 : v->handle;
      bool ended = v == nullptr;
      op.context = &ended;
      op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
      if (v != nullptr) pool_->Submit(&op);
      while (!ended) Step();
      if (v != nullptr && op.status != Status::kOk) return Fail("a flush failed");
    }
    pool_.reset();
    file_->DropQueue();
    if (cut && !volumes_.empty()) file_->PowerCut();
  }
  pool_.reset();
  return CheckOffline() && Open() && CompareEverything();
}

bool Driver::CheckOffline() {
  ++counts_.checks;
  CheckReport report;
  if (Pool::Check(*file_, false, &report) != Status::kOk) return Fail("the check cannot walk");
  if (!report.clean) {
    constexpr size_t kShown = 5;
    std::string all;
    const std::vector<std::string>& found = report.findings;
    for (size_t i = 0; i < std::min(kShown, found.size()); ++i) all += "\n  " + found[i];
    if (found.size() > kShown) all += "\n  and " + std::to_string(found.size() - kShown) + " more";
    return Fail("the check:" + all);
  }
  return true;
}

bool Driver::Step() {
  pool_->Kick();
  if (pool_->Poll() == 0 && !pool_->WantsPoll()) file_->Wait();
  return true;
}

bool Driver::Wait(uint32_t limit) {
  for (int i = 0; in_flight_ > limit && i < 1000000; ++i) Step();
  if (in_flight_ > limit) return Fail("operations that never end");
  return error_.empty();
}

template <typename F>
Status Driver::Do(F start) {
  Status status = Status::kBusy;
  start([](void* c, Status s) { *static_cast<Status*>(c) = s; }, &status);
  for (int i = 0; status == Status::kBusy && i < 1000000; ++i) Step();
  return status;
}

// --- Changes ---

void Driver::Submit(std::unique_ptr<HostOp> host) {
  host->driver = this;
  host->op.volume = host->volume->handle;
  host->op.context = host.get();
  host->op.done = &Driver::OnDone;
  if (!host->tags.empty()) host->op.tags = host->tags.data();
  ++in_flight_;
  // Behind an unmap an install waits, and what comes later overtakes it: with the same end, but not
  // with the same answer.
  host->in_turn = unmaps_in_flight_ == 0;
  unmaps_in_flight_ += host->op.kind == OpKind::kUnmap;
  pool_->Submit(&host.release()->op);
}

void Driver::OnDone(Op* op) {
  std::unique_ptr<HostOp> host(static_cast<HostOp*>(op->context));
  Driver& self = *host->driver;
  --self.in_flight_;
  self.unmaps_in_flight_ -= op->kind == OpKind::kUnmap;
  Volume* v = host->volume;
  const bool install = op->guard != Guard::kNewer;
  if (op->status == Status::kNoSpace && self.small_) {
    ++self.counts_.refusals;
    // It rests below what was refused: a later epoch goes on.
    if (!install) ++v->epoch;
    return;
  }
  if (op->status != Status::kOk) {
    self.Fail("a change ended with status " + std::to_string(static_cast<int>(op->status)));
    return;
  }
  if (self.small_) {
    // Alone, so its turn is now.
    if (install) {
      for (uint64_t i = 0; i < op->blocks; ++i) {
        host->installed.push_back(
            v->Install(op->lba + i, host->tags[i], host->value, op->guard, op->version));
      }
    } else if (op->kind == OpKind::kWrite) {
      v->Write(op->lba, op->blocks, op->version, host->value);
    } else {
      v->Unmap(op->lba, op->blocks, op->version);
    }
  }
  if (install) {
    for (uint64_t i = 0; host->in_turn && i < op->blocks; ++i) {
      const bool took = host->tags[i].result == kTagInstalled;
      if (took != (host->installed[i] != 0)) {
        self.Fail("an install of " + v->name + " block " + std::to_string(op->lba + i) +
                  (took ? " was taken" : " was refused"));
      }
    }
    return;
  }
  v->Applied(op->version, op->kind == OpKind::kUnmap);
}

void Driver::SubmitWrite(Volume* v) {
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kWrite;
  Range(*v, Chance(90) ? 16 : Chance(80) ? 150 : 600, &op.lba, &op.blocks);
  if (Chance(10)) op.flags |= kOpFua;
  if (Chance(10) && op.blocks <= kMaxAtomicBlocks) op.flags |= kOpAtomic;
  // Now and then one that comes late: older than what is there (W2). Versions may repeat then, so
  // it is told apart from all others by its own bits.
  op.version = v->newest = NextVersion(v) + Below(3);
  host->value = next_value_++;
  host->data = Blocks(op.blocks);
  op.data = host->data.get();
  for (uint64_t i = 0; i < op.blocks; ++i) {
    Fill(op.lba + i, host->value, op.data + i * kBlockBytes);
  }
  if (Chance(30)) {
    host->tags.resize(op.blocks);
    for (uint64_t i = 0; i < op.blocks; ++i) {
      host->tags[i].crc = Checksum(op.lba + i, host->value);
      host->tags[i].kind = BlockKind::kData;
    }
  }
  if (!small_) v->Write(op.lba, op.blocks, op.version, host->value);
  Submit(std::move(host));
}

void Driver::SubmitUnmap(Volume* v) {
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kUnmap;
  Range(*v, Chance(60) ? 40 : v->size, &op.lba, &op.blocks);
  if (Chance(5)) {
    op.lba = 0;
    op.blocks = v->size;
  }
  op.version = NextVersion(v);
  if (!small_) v->Unmap(op.lba, op.blocks, op.version);
  Submit(std::move(host));
}

void Driver::SubmitInstall(Volume* v) {
  ++counts_.installs;
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kWrite;
  op.guard = Chance(20) ? Guard::kExact : Guard::kJoin;
  Range(*v, Chance(80) ? 10 : 300, &op.lba, &op.blocks);
  op.version = op.guard == Guard::kJoin ? Below(v->newest + 2) : 0;
  if (Chance(30)) op.version = op.guard == Guard::kJoin ? v->newest + 1 : 0;
  host->value = next_value_++;
  host->data = Blocks(op.blocks);
  op.data = host->data.get();
  host->tags.resize(op.blocks);
  for (uint64_t i = 0; i < op.blocks; ++i) {
    BlockTag& tag = host->tags[i];
    const uint64_t here = v->blocks[op.lba + i].version;
    const uint64_t dice = Below(100);
    tag.kind = op.guard == Guard::kExact || dice < 70 ? BlockKind::kData
               : dice < 90                            ? BlockKind::kHole
                                                      : BlockKind::kEmpty;
    // Around the version that is there; of a data block never one that other data has had.
    tag.version = std::max<uint64_t>(1, here + Below(3) - std::min<uint64_t>(here, Below(3)));
    if (tag.kind == BlockKind::kEmpty) tag.version = 0;
    if (tag.kind != BlockKind::kData) continue;
    Fill(op.lba + i, host->value, op.data + i * kBlockBytes);
    tag.crc = Checksum(op.lba + i, host->value);
  }
  if (!small_) {
    for (uint64_t i = 0; i < op.blocks; ++i) {
      host->installed.push_back(
          v->Install(op.lba + i, host->tags[i], host->value, op.guard, op.version));
    }
  }
  Submit(std::move(host));
}

// --- Control ---

bool Driver::Create() {
  auto v = std::make_unique<Volume>();
  v->name = "volume-" + std::to_string(next_name_++);
  for (uint8_t& byte : v->id.bytes) byte = static_cast<uint8_t>(rng_());
  v->size = Chance(20) ? 1 + Below(200) : 200 + Below(small_ ? 6000 : 20000);
  v->hole_floor = Chance(60) ? 0 : ~0ull;
  // A clone's versions begin below those of what it was made of (S14).
  v->epoch = 1 + Below(3);
  v->blocks.resize(v->size);
  const Status status = Do([&](DoneFn done, void* c) {
    pool_->CreateVolume(v->id, v->name, v->size, &v->handle, done, c, v->hole_floor);
  });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("creating a volume failed");
  volumes_.push_back(std::move(v));
  return true;
}

bool Driver::Delete() {
  if (!Wait(0)) return false;
  const size_t at = Below(volumes_.size());
  Volume* v = volumes_[at].get();
  const bool with_snapshots = !Chance(10);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->DeleteVolume(v->handle, done, c, with_snapshots); });
  const Status expected = AnyOrigin(*v, 0)                           ? Status::kHasClones
                          : !with_snapshots && !v->snapshots.empty() ? Status::kHasSnapshots
                                                                     : Status::kOk;
  if (status != expected) {
    return Fail("deleting " + v->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  if (status != Status::kOk) {
    ++counts_.held_back;
    return true;
  }
  volumes_.erase(volumes_.begin() + static_cast<std::ptrdiff_t>(at));
  ++counts_.deletions;
  return Chance(50) || CompareSpace();
}

bool Driver::Resize() {
  Volume* v = Pick();
  const uint64_t size = v->size + Below(Chance(50) ? 200 : 8000);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->ResizeVolume(v->handle, size, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("resizing failed");
  // A hole that reached the end goes on behind it: only its version, never bytes.
  v->blocks.resize(size);
  for (uint64_t lba = v->size; lba < size; lba += 1) v->blocks[lba].kind = BlockKind::kUnknown;
  v->size = size;
  for (uint64_t lba = 0; lba < size; ++lba) {
    if (v->blocks[lba].kind != BlockKind::kUnknown) continue;
    BlockTag tag;
    Op op;
    op.kind = OpKind::kTags;
    op.volume = v->handle;
    op.lba = lba;
    op.blocks = 1;
    op.tags = &tag;
    bool ended = false;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    pool_->Submit(&op);
    while (!ended) Step();
    if (op.status != Status::kOk || tag.kind == BlockKind::kData)
      return Fail("data beyond the end");
    v->blocks[lba] = {tag.kind, tag.version, 0, v->cloned && tag.kind == BlockKind::kHole};
  }
  return true;
}

bool Driver::Blob() {
  Volume* v = Chance(20) ? nullptr : Pick();
  auto& blobs = v == nullptr ? blobs_ : v->blobs;
  const uint32_t handle = v == nullptr ? 0 : v->handle;
  const std::string key = "key-" + std::to_string(Below(small_ ? 5 : 30));
  std::vector<uint8_t> value(Chance(25) ? 0 : Chance(80) ? Below(300) : Below(20000));
  for (uint8_t& byte : value) byte = static_cast<uint8_t>(rng_());
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->PutBlob(handle, key, value, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("a blob was refused");
  if (value.empty()) {
    blobs.erase(key);
  } else {
    blobs[key] = std::move(value);
  }
  return true;
}

bool Driver::Marks() {
  Volume* v = Pick();
  if (v->hole_floor == ~0ull || !Wait(0)) return error_.empty();
  VolumeMarks marks;
  if (Chance(70)) {
    marks.set_hole_floor = true;
    marks.hole_floor = v->hole_floor + Below(v->newest + 1 - std::min(v->hole_floor, v->newest));
  } else {
    marks.set_contig = true;
    marks.contig = v->newest;
  }
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->SetMarks(v->handle, marks, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("marks were refused");
  if (marks.set_hole_floor) v->hole_floor = marks.hole_floor;
  if (marks.set_contig) v->contig = marks.contig;
  return true;
}

// Of one volume or several at one instant: what was submitted before is in it.
bool Driver::TakeSnapshots() {
  if (small_ && !Wait(0)) return false;
  std::vector<Volume*> chosen;
  for (const auto& v : volumes_) {
    if (v->snapshots.size() < 6 && Chance(50)) chosen.push_back(v.get());
  }
  if (chosen.empty()) return true;
  std::vector<SnapshotRequest> requests(chosen.size());
  std::vector<std::string> names;
  std::vector<uint32_t> handles(chosen.size());
  for (Volume* v : chosen) names.push_back("snapshot-" + std::to_string(next_name_++) + v->name);
  for (size_t i = 0; i < chosen.size(); ++i) {
    Volume* v = chosen[i];
    requests[i].volume = v->handle;
    for (uint8_t& byte : requests[i].id.bytes) byte = static_cast<uint8_t>(rng_());
    requests[i].name = names[i];
    requests[i].version = NextVersion(v);
    requests[i].handle = &handles[i];
    v->snapshots.push_back(std::make_unique<Snapshot>(Snapshot{names[i], 0, v->blocks, v}));
  }
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->CreateSnapshots(requests, 1, done, c); });
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (status == Status::kOk) {
      chosen[i]->snapshots.back()->handle = handles[i];
    } else {
      chosen[i]->snapshots.pop_back();
    }
  }
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) {
    return Fail("snapshots ended with status " + std::to_string(static_cast<int>(status)));
  }
  counts_.snapshots += chosen.size();
  return true;
}

bool Driver::DropSnapshot() {
  Volume* v = Pick();
  if (v->snapshots.empty() || !Wait(0)) return error_.empty();
  const size_t at = Below(v->snapshots.size());
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->DeleteSnapshot(v->snapshots[at]->handle, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != (IsOrigin(*v->snapshots[at]) ? Status::kHasClones : Status::kOk)) {
    return Fail("deleting " + v->snapshots[at]->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  if (status != Status::kOk) {
    ++counts_.held_back;
    return true;
  }
  v->snapshots.erase(v->snapshots.begin() + static_cast<std::ptrdiff_t>(at));
  return Chance(80) || CompareSpace();
}

// --- Clones and rollbacks ---

bool Driver::Clone() {
  Snapshot* origin = PickSnapshot();
  if (origin == nullptr || volumes_.size() >= 7) return true;
  auto v = std::make_unique<Volume>();
  v->name = "clone-" + std::to_string(next_name_++);
  for (uint8_t& byte : v->id.bytes) byte = static_cast<uint8_t>(rng_());
  v->blocks = origin->blocks;
  v->size = v->blocks.size();
  for (Block& block : v->blocks) block.inherited = true;
  v->hole_floor = ~0ull;
  v->origin = origin;
  v->cloned = true;
  const Status status = Do([&](DoneFn done, void* c) {
    pool_->CloneSnapshot(origin->handle, v->id, v->name, &v->handle, done, c);
  });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) {
    return Fail("cloning " + origin->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  ++counts_.clones;
  volumes_.push_back(std::move(v));
  return true;
}

// Until nothing is deleted or counted in the background, and both superblocks know it.
void Driver::Quiesce() {
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1000000 && pool_->WantsPoll(); ++i) Step();
    if (Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }) != Status::kOk) {
      Fail("a checkpoint failed");
    }
  }
}

bool Driver::Promote() {
  std::vector<Volume*> clones;
  for (const auto& v : volumes_) {
    if (v->origin != nullptr) clones.push_back(v.get());
  }
  if (clones.empty()) return true;
  Volume* v = clones[Below(clones.size())];
  Status status = Status::kBusy;
  for (int round = 0; round < 10 && status == Status::kBusy; ++round) {
    // It is busy while either line is under work; Do takes kBusy for not yet ended.
    if (round > 0) {
      if (!Wait(0)) return false;
      Quiesce();
      if (!error_.empty()) return false;
    }
    bool ended = false;
    struct Ended {
      Status* status;
      bool* ended;
    } context{&status, &ended};
    pool_->PromoteVolume(
        v->handle,
        [](void* c, Status s) {
          *static_cast<Ended*>(c)->status = s;
          *static_cast<Ended*>(c)->ended = true;
        },
        &context);
    for (int i = 0; !ended; ++i) {
      if (i == 1000000) return Fail("a promotion that never ends");
      Step();
    }
  }
  if (status != Status::kOk) {
    return Fail("promoting " + v->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  ++counts_.promotions;
  v->Promote();
  return true;
}

bool Driver::Rollback() {
  Volume* v = Pick();
  if (v->snapshots.empty() || !Wait(0)) return error_.empty();
  const size_t at = Below(v->snapshots.size());
  Snapshot* to = v->snapshots[at].get();
  const bool later = at + 1 < v->snapshots.size();
  const bool delete_later = Chance(70);
  const Status expected = AnyOrigin(*v, at + 1)    ? Status::kHasClones
                          : later && !delete_later ? Status::kLaterSnapshots
                                                   : Status::kOk;
  if (expected == Status::kOk && Chance(30)) return KillInRollback(v, at);
  const uint64_t version = NextVersion(v);
  const Status status = Do([&](DoneFn done, void* c) {
    pool_->RollbackVolume(v->handle, to->handle, version, delete_later, done, c);
  });
  if (status != expected) {
    return Fail("rolling " + v->name + " back to " + to->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  if (status != Status::kOk) {
    ++counts_.held_back;
    return true;
  }
  ++counts_.rollbacks;
  v->snapshots.resize(at + 1);
  v->Rollback(*to, version);
  return Chance(50) || CompareVolume(v);
}

// Killed while it goes on. It has happened or not; what has begun is finished after the opening.
bool Driver::KillInRollback(Volume* v, size_t at) {
  Snapshot* to = v->snapshots[at].get();
  const uint64_t version = NextVersion(v);
  Status status = Status::kBusy;
  pool_->RollbackVolume(
      v->handle, to->handle, version, true, [](void* c, Status s) { *static_cast<Status*>(c) = s; },
      &status);
  for (uint64_t left = Below(Chance(50) ? 10 : 100); left > 0 && status == Status::kBusy; --left) {
    Step();
  }
  pool_.reset();
  file_->DropQueue();
  if (status != Status::kBusy && status != Status::kOk) return Fail("a rollback failed");
  ++counts_.kills;
  if (!CheckOffline() || !OpenPool()) return false;
  bool has = false;
  for (const VolumeInfo& info : pool_->Volumes()) {
    if (info.name != v->name) continue;
    v->handle = info.handle;
    has = info.rolling_back;
    counts_.resumed_rollbacks += has;
    VolumeInfo now = info;
    for (int i = 0; now.rolling_back; ++i) {
      if (i == 1000000) return Fail("a rollback that never ends");
      Step();
      if (!pool_->Volume(info.handle, &now)) return Fail(v->name + " is gone");
    }
    if (!has && !HasRolledBack(v, *to, version, &has)) return false;
  }
  if (status == Status::kOk && !has) return Fail("a rollback that had ended is undone");
  if (has) {
    ++counts_.rollbacks;
    v->snapshots.resize(at + 1);
    v->Rollback(*to, version);
  }
  return Match() && CompareEverything();
}

// By the first thing that it changes.
bool Driver::HasRolledBack(Volume* v, const Snapshot& to, uint64_t version, bool* has) {
  VolumeInfo info;
  if (!pool_->Volume(v->handle, &info)) return Fail(v->name + " is gone");
  if (v->size != to.blocks.size()) {
    *has = info.size_blocks == to.blocks.size();
    return true;
  }
  if (v->snapshots.back().get() != &to) {
    size_t live = 0;
    for (const SnapshotInfo& s : pool_->Snapshots(v->handle)) live += !s.deleting;
    *has = live != v->snapshots.size();
    return true;
  }
  for (uint64_t lba = 0; lba < v->size; ++lba) {
    if (v->blocks[lba].Same(to.blocks[lba])) continue;
    BlockTag tag;
    Op op;
    op.kind = OpKind::kTags;
    op.volume = v->handle;
    op.lba = lba;
    op.blocks = 1;
    op.tags = &tag;
    bool ended = false;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    pool_->Submit(&op);
    while (!ended) Step();
    if (op.status != Status::kOk) return Fail("a block's tag cannot be read");
    *has = to.blocks[lba].kind == BlockKind::kData ? tag.version == version
                                                   : tag.kind != BlockKind::kData;
    return true;
  }
  *has = true;  // Nothing to tell them apart by.
  return true;
}

// --- Comparing ---

bool Driver::CompareSnapshot(const Volume& v, const Snapshot& s) {
  Volume frozen;
  frozen.name = v.name + "@" + s.name;
  frozen.handle = s.handle;
  frozen.blocks = s.blocks;
  for (uint64_t lba = 0; lba < s.blocks.size(); lba += 512) {
    const uint64_t blocks = std::min<uint64_t>(512, s.blocks.size() - lba);
    if (!ReadAndCompare(&frozen, lba, blocks, false)) return false;
  }
  return true;
}

bool Driver::ReadAndCompare(Volume* v, uint64_t lba, uint64_t blocks, bool tags_only) {
  Bytes data = Blocks(blocks);
  std::vector<BlockTag> tags(blocks);
  Op op;
  op.kind = tags_only ? OpKind::kTags : OpKind::kRead;
  op.volume = v->handle;
  op.lba = lba;
  op.blocks = blocks;
  op.data = tags_only ? nullptr : data.get();
  op.tags = tags.data();
  bool ended = false;
  op.context = &ended;
  op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  pool_->Submit(&op);
  while (!ended) Step();
  if (op.status != Status::kOk) return Fail("a read failed");
  counts_.blocks_compared += blocks;
  static const std::vector<uint8_t> zeros(kBlockBytes);
  for (uint64_t i = 0; i < blocks; ++i) {
    const Block& expected = v->blocks[lba + i];
    const uint8_t* bytes = data.get() + i * kBlockBytes;
    // A hole from a clone's origin may have been given up since: nobody asks for its version.
    const bool given_up = expected.inherited && expected.kind == BlockKind::kHole &&
                          tags[i].kind == BlockKind::kEmpty && tags[i].version == 0;
    const bool tagged =
        given_up || (tags[i].kind == expected.kind && tags[i].version == expected.version);
    const bool same =
        tagged && (tags_only || (expected.kind == BlockKind::kData
                                     ? Holds(lba + i, expected.value, bytes)
                                     : std::memcmp(bytes, zeros.data(), kBlockBytes) == 0));
    if (same) continue;
    return Fail(v->name + " block " + std::to_string(lba + i) + " has kind " +
                std::to_string(static_cast<int>(tags[i].kind)) + " version " +
                std::to_string(tags[i].version) + ", expected " + Text(expected));
  }
  return true;
}

bool Driver::CompareVolume(Volume* v) {
  VolumeInfo info;
  if (!pool_->Volume(v->handle, &info)) return Fail(v->name + " is unknown");
  if (info.size_blocks != v->size) return Fail(v->name + " has another size");
  if (info.contig != v->contig) {
    return Fail(v->name + " has contig " + std::to_string(info.contig) + ", expected " +
                std::to_string(v->contig));
  }
  if (info.hole_floor != v->hole_floor) return Fail(v->name + " has another hole floor");
  if (pool_->BlobKeys(v->handle).size() != v->blobs.size()) return Fail("another number of blobs");
  for (const auto& [key, value] : v->blobs) {
    std::vector<uint8_t> found;
    if (!pool_->GetBlob(v->handle, key, &found) || found != value) return Fail("blob " + key);
  }
  for (uint64_t lba = 0; lba < v->size; lba += 512) {
    if (!ReadAndCompare(v, lba, std::min<uint64_t>(512, v->size - lba), false)) return false;
  }
  if (info.mapped_blocks != v->Mapped()) return Fail(v->name + " has another mapped count");
  if (info.inherited_blocks != ~0ull && info.inherited_blocks != v->Inherited()) {
    return Fail(v->name + " has inherited " + std::to_string(info.inherited_blocks));
  }
  for (const auto& s : v->snapshots) {
    SnapshotInfo snapshot;
    if (!pool_->Snapshot(s->handle, &snapshot)) return Fail(s->name + " is unknown");
    size_t clones = 0;
    for (const auto& other : volumes_) clones += other->origin == s.get();
    if (snapshot.clones.size() != clones) return Fail(s->name + " has other clones");
    if (snapshot.size_blocks != s->blocks.size()) return Fail(s->name + " has another size");
    if (!CompareSnapshot(*v, *s)) return false;
  }
  return CompareChanged(v) && CompareMap(v);
}

bool Driver::CompareEverything() {
  if (!Wait(0)) return false;
  for (const auto& v : volumes_) {
    if (!CompareVolume(v.get())) return false;
  }
  for (const auto& [key, value] : blobs_) {
    std::vector<uint8_t> found;
    if (!pool_->GetBlob(0, key, &found) || found != value) return Fail("the pool's blob " + key);
  }
  return true;
}

bool Driver::CompareChanged(Volume* v) {
  const uint64_t since = Chance(30) ? 0 : Below(v->newest + 2);
  const uint32_t max_runs = static_cast<uint32_t>(1 + Below(200));
  std::vector<ChangedRun> all;
  for (uint64_t lba = 0; lba < v->size;) {
    std::vector<ChangedRun> runs;
    uint64_t next = 0;
    const Status status = Do([&](DoneFn done, void* c) {
      pool_->ChangedSince(v->handle, since, lba, max_runs, &runs, &next, done, c);
    });
    if (status != Status::kOk || runs.size() > max_runs) return Fail("changed-since failed");
    if (next <= lba) return Fail("changed-since does not go on");
    for (const ChangedRun& run : runs) {
      if (v->cloned && run.kind == BlockKind::kHole) continue;
      ChangedRun* last = all.empty() ? nullptr : &all.back();
      if (last != nullptr && last->lba + last->blocks == run.lba && last->kind == run.kind &&
          last->version == run.version) {
        last->blocks += run.blocks;
      } else {
        all.push_back(run);
      }
    }
    lba = next;
  }
  std::vector<ChangedRun> expected = v->ChangedSince(since);
  if (v->cloned) {
    std::erase_if(expected, [](const ChangedRun& run) { return run.kind == BlockKind::kHole; });
  }
  for (size_t i = 0; i < std::max(all.size(), expected.size()); ++i) {
    const ChangedRun a = i < all.size() ? all[i] : ChangedRun{};
    const ChangedRun b = i < expected.size() ? expected[i] : ChangedRun{};
    if (a.lba == b.lba && a.blocks == b.blocks && a.version == b.version && a.kind == b.kind)
      continue;
    return Fail(v->name + " changed since " + std::to_string(since) + ": run at " +
                std::to_string(a.lba) + "+" + std::to_string(a.blocks) + ", expected " +
                std::to_string(b.lba) + "+" + std::to_string(b.blocks));
  }
  return true;
}

// Between a snapshot, or nothing, and what comes of it: a later one, the volume, a clone.
bool Driver::CompareDiff() {
  if (!Wait(0)) return false;
  ++counts_.diffs;
  Volume* v = Pick();
  const size_t at = Below(v->snapshots.size() + 1);
  const uint32_t to = at < v->snapshots.size() ? v->snapshots[at]->handle : v->handle;
  const std::vector<Block>& now = v->Held(at);
  std::vector<const Snapshot*> earlier = {nullptr};
  size_t end = at;
  for (const Volume* line = v; line != nullptr;) {
    for (size_t i = 0; i < end; ++i) earlier.push_back(line->snapshots[i].get());
    const Snapshot* origin = line->origin;
    line = origin == nullptr ? nullptr : origin->volume;
    for (end = 0; line != nullptr && line->snapshots[end].get() != origin;) ++end;
    ++end;
  }
  const Snapshot* from = earlier[Below(earlier.size())];
  const auto max_runs = static_cast<uint32_t>(1 + Below(50));
  std::vector<int> said(now.size(), 0);
  for (uint64_t lba = 0; lba < now.size();) {
    std::vector<MapRun> runs;
    uint64_t next = 0;
    const Status status = Do([&](DoneFn done, void* c) {
      pool_->Changed(from == nullptr ? 0 : from->handle, to, lba, max_runs, &runs, &next, done, c);
    });
    if (status != Status::kOk || runs.size() > max_runs || next <= lba) {
      return Fail("a diff failed with status " + std::to_string(static_cast<int>(status)));
    }
    for (const MapRun& run : runs) {
      for (uint64_t i = run.lba; i < run.lba + run.blocks; ++i) {
        if (i < lba || i >= next || i >= said.size()) return Fail("a diff speaks of another place");
        said[i] = run.mapped ? 1 : 2;
      }
    }
    lba = next;
  }
  for (uint64_t lba = 0; lba < now.size(); ++lba) {
    static const Block kNothing;
    const Block& was = from != nullptr && lba < from->blocks.size() ? from->blocks[lba] : kNothing;
    const int expected = now[lba].Same(was) ? 0 : now[lba].kind == BlockKind::kData ? 1 : 2;
    if (said[lba] == expected) continue;
    return Fail("the diff of " + v->name + " from " + (from == nullptr ? "nothing" : from->name) +
                " says " + std::to_string(said[lba]) + " of block " + std::to_string(lba));
  }
  return true;
}

bool Driver::CompareMap(Volume* v) {
  std::vector<MapRun> runs;
  const uint64_t lba = Below(v->size);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->MapStatus(v->handle, lba, 50, &runs, done, c); });
  if (status != Status::kOk || runs.empty()) return Fail("map status failed");
  uint64_t at = lba;
  for (const MapRun& run : runs) {
    if (run.lba != at) return Fail("map status leaves a gap");
    for (; at < run.lba + run.blocks; ++at) {
      if (at >= v->size || (v->blocks[at].kind == BlockKind::kData) != run.mapped) {
        return Fail("map status of block " + std::to_string(at));
      }
    }
  }
  return true;
}

// Nothing under way, deletions done: every block in use is somebody's.
bool Driver::CompareSpace() {
  if (!Wait(0)) return false;
  auto deleting = [this] {
    for (const VolumeInfo& info : pool_->Volumes()) {
      if (info.deleting) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000000 && (deleting() || pool_->WantsPoll()); ++i) Step();
  if (deleting()) return Fail("a deletion that never ends");
  uint64_t data = 0, held = 0, blobs = 0;
  // A block is on the medium once, whoever has it: no two that differ have one value at one place.
  std::vector<std::pair<uint64_t, uint64_t>> all;
  auto add = [&all](const std::vector<Block>& blocks) {
    for (uint64_t lba = 0; lba < blocks.size(); ++lba) {
      if (blocks[lba].kind == BlockKind::kData) all.emplace_back(blocks[lba].value, lba);
    }
  };
  for (const auto& v : volumes_) {
    data += v->Mapped();
    add(v->blocks);
    for (const auto& s : v->snapshots) add(s->blocks);
    for (const auto& [key, value] : v->blobs) blobs += (value.size() + 4095) / 4096;
  }
  for (const auto& [key, value] : blobs_) blobs += (value.size() + 4095) / 4096;
  std::sort(all.begin(), all.end());
  held = static_cast<uint64_t>(std::unique(all.begin(), all.end()) - all.begin());
  for (int round = 0; round < 40; ++round) {
    const PoolStats s = pool_->Stats();
    if (s.data_blocks != data) return Fail("data blocks " + std::to_string(s.data_blocks));
    const uint64_t owned = held + blobs + s.metadata_blocks + s.pending_free_blocks;
    // Snapshots go over a few checkpoints. After those, only what one checkpoint itself frees
    // waits.
    if (s.allocated_blocks == owned && s.pending_free_blocks <= 400 && round >= 3) break;
    if (round == 39) {
      return Fail("allocated blocks " + std::to_string(s.allocated_blocks) + ", owned " +
                  std::to_string(owned) + " of which " + std::to_string(s.pending_free_blocks) +
                  " wait to be freed");
    }
    for (int i = 0; i < 100000 && pool_->WantsPoll(); ++i) Step();
    if (Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }) != Status::kOk) {
      return Fail("a checkpoint failed");
    }
  }
  for (const auto& v : volumes_) {
    VolumeInfo info;
    if (!pool_->Volume(v->handle, &info)) return Fail(v->name + " is unknown");
    if (info.written_blocks != v->Written(v->snapshots.size())) {
      return Fail(v->name + " has written " + std::to_string(info.written_blocks) + ", expected " +
                  std::to_string(v->Written(v->snapshots.size())));
    }
    for (size_t at = 0; at < v->snapshots.size(); ++at) {
      SnapshotInfo snapshot;
      if (!pool_->Snapshot(v->snapshots[at]->handle, &snapshot) || !snapshot.settled) {
        return Fail(v->snapshots[at]->name + " is never counted");
      }
      if (snapshot.written_blocks != v->Written(at)) {
        return Fail(v->snapshots[at]->name + " has written " +
                    std::to_string(snapshot.written_blocks) + ", expected " +
                    std::to_string(v->Written(at)));
      }
    }
  }
  return true;
}

// --- The run ---

std::string Driver::Run() {
  small_ = Chance(25);
  lines_ = Chance(50) ? 1 : 4;
  depth_ = small_ || Chance(20) ? 0 : static_cast<uint32_t>(1 + Below(24));
  file_ =
      std::make_unique<MemFile>(small_ ? (16 + Below(16)) << 20 : uint64_t{1} << 30, Chance(30));
  if (Chance(50)) file_->pick = [this](size_t n) { return Below(n); };
  FormatOptions format;
  format.name = "model";
  format.log_bytes = Chance(50) ? 256 << 10 : 0;
  for (uint8_t& byte : format.store_id.bytes) byte = static_cast<uint8_t>(rng_());
  if (Pool::Format(*file_, format) != Status::kOk) return "formatting failed";
  if (!Open()) return error_;
  while (counts_.operations < options_.operations && error_.empty()) {
    ++counts_.operations;
    const uint64_t dice = Below(1000);
    Volume* v = Pick();
    if (v != nullptr && Below(1000) < 4 * lines_) {
      const uint64_t line = Below(100);
      if (line < 25) {
        TakeSnapshots();
      } else if (line < 45) {
        DropSnapshot();
      } else if (line < 60) {
        Clone();
      } else if (line < 68) {
        Promote();
      } else if (line < 82) {
        Rollback();
      } else if (line < 97) {
        CompareDiff();
      } else {
        CompareSpace();
      }
    }
    if (!error_.empty()) break;
    v = Pick();  // What was picked may be gone.
    if (v == nullptr || (dice < 3 && volumes_.size() < 5)) {
      Create();
    } else if (dice < 5 && volumes_.size() > 1) {
      Delete();
    } else if (dice < 9) {
      if (Wait(0)) Resize();
    } else if (dice < 30) {
      Blob();
    } else if (dice < 36) {
      Marks();
    } else if (dice < 39) {
      TakeSnapshots();
    } else if (dice < 42) {
      DropSnapshot();
    } else if (dice < 45) {
      if (Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }) != Status::kOk) {
        Fail("a checkpoint failed");
      }
    } else if (dice < 47) {
      Reopen();
    } else if (dice < 49) {
      if (Wait(0)) CompareVolume(v);
    } else if (dice < 55) {
      if (Wait(0)) CompareChanged(v);
    } else if (dice < 200) {
      uint64_t lba = 0, blocks = 0;
      Range(*v, 64, &lba, &blocks);
      if (Wait(0)) ReadAndCompare(v, lba, blocks, Chance(30));
    } else if (dice < 350 && v->hole_floor != ~0ull) {
      SubmitInstall(v);
    } else if (dice < (small_ ? 360 : 500)) {
      SubmitUnmap(v);
    } else {
      SubmitWrite(v);
    }
    if (!error_.empty()) break;  // After a failed reopening there is no pool.
    if (Chance(60)) pool_->Kick();
    if (Chance(40)) pool_->Poll();
    if (!Wait(depth_)) break;
  }
  if (error_.empty() && CompareEverything() && CompareSpace()) Reopen();
  pool_.reset();
  return error_;
}

}  // namespace ashlar::model
