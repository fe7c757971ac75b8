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

void Driver::Range(const Volume& v, uint64_t longest, uint64_t* lba, uint64_t* blocks) {
  *lba = Chance(30) ? Below(std::min<uint64_t>(v.size, 40)) : Below(v.size);
  *blocks = std::min(1 + Below(longest), v.size - *lba);
}

// --- The pool ---

bool Driver::Open() {
  PoolOptions options;
  options.cache_bytes = 1 << 20;
  for (uint8_t& byte : options.open_id.bytes) byte = static_cast<uint8_t>(rng_());
  options.prefer_older_superblock = Chance(20);
  std::string why;
  if (Pool::Open(*file_, options, &pool_, &why) != Status::kOk) {
    return Fail("the pool does not open: " + why);
  }
  if (pool_->Stats().log_damaged) return Fail("the log is called damaged");
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
      if (next == v->snapshots.size() || v->snapshots[next].name != info.name) {
        return Fail(v->name + " has another snapshot: " + info.name);
      }
      v->snapshots[next++].handle = info.handle;
    }
    if (next != v->snapshots.size()) return Fail(v->name + " lacks a snapshot");
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
    if (!install) ++self.epoch_;
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
  op.version = v->newest = std::max(v->newest, epoch_ << 40) + 1 + Below(3);
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
  op.version = v->newest = std::max(v->newest, epoch_ << 40) + 1;
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
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->DeleteVolume(volumes_[at]->handle, done, c, true); });
  if (status != Status::kOk) return Fail("deleting a volume failed");
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
    v->blocks[lba] = {tag.kind, tag.version, 0};
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
    requests[i].version = v->newest = std::max(v->newest, epoch_ << 40) + 1;
    requests[i].handle = &handles[i];
    v->snapshots.push_back({names[i], 0, v->blocks});
  }
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->CreateSnapshots(requests, 1, done, c); });
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (status == Status::kOk) {
      chosen[i]->snapshots.back().handle = handles[i];
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
      Do([&](DoneFn done, void* c) { pool_->DeleteSnapshot(v->snapshots[at].handle, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("deleting a snapshot failed");
  v->snapshots.erase(v->snapshots.begin() + static_cast<std::ptrdiff_t>(at));
  return Chance(80) || CompareSpace();
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
    const bool same = tags[i].kind == expected.kind && tags[i].version == expected.version &&
                      (tags_only || (expected.kind == BlockKind::kData
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
  for (const Snapshot& s : v->snapshots) {
    if (!CompareSnapshot(*v, s)) return false;
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
  const std::vector<ChangedRun> expected = v->ChangedSince(since);
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
  for (const auto& v : volumes_) {
    data += v->Mapped();
    held += v->Different();
    for (const auto& [key, value] : v->blobs) blobs += (value.size() + 4095) / 4096;
  }
  for (const auto& [key, value] : blobs_) blobs += (value.size() + 4095) / 4096;
  for (int round = 0; round < 40; ++round) {
    const PoolStats s = pool_->Stats();
    if (s.data_blocks != data) return Fail("data blocks " + std::to_string(s.data_blocks));
    const uint64_t owned = held + blobs + s.metadata_blocks + s.pending_free_blocks;
    // Snapshots go over a few checkpoints. After those, only what one checkpoint itself frees
    // waits.
    if (s.allocated_blocks == owned && s.pending_free_blocks <= 400 && round >= 3) return true;
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
  return true;
}

// --- The run ---

std::string Driver::Run() {
  small_ = Chance(25);
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
    if (Chance(60)) pool_->Kick();
    if (Chance(40)) pool_->Poll();
    if (!Wait(depth_)) break;
  }
  if (error_.empty() && CompareEverything() && CompareSpace()) Reopen();
  pool_.reset();
  return error_;
}

}  // namespace ashlar::model
