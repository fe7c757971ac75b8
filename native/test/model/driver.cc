#include "native/test/model/driver.h"

#include <algorithm>

#include "native/test/model/host_op.h"
#include "native/test/space_rot.h"

namespace ashlar::model {

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
  options.rebuild_space = rebuild_;
  std::string why;
  if (Pool::Open(Files(), options, &pool_, &why) != Status::kOk) {
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
  CountMoves();
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
      if (v != nullptr && RunOp(&op) != Status::kOk) return Fail("a flush failed");
    }
    Kill();
    if (cut && !volumes_.empty()) {
      for (const auto& medium : media_) medium->PowerCut();
    }
  }
  pool_.reset();
  if (!CheckOffline()) return false;
  return (Chance(25) ? OpenRotten() : Open()) && CompareEverything();
}

// H6: the opening makes anew what it can no longer read of the space map, exactly: the offline
// check that comes next sees every block that is marked and owned by nothing, or the other way
// round.
bool Driver::OpenRotten() {
  ++counts_.rotten;
  // Of all of it, any opening has to learn.
  rebuild_ = Chance(50);
  test::SpacePages pages;
  for (const auto& medium : media_) test::AddSpacePages(*medium, &pages);
  for (const auto& [place, copies] : pages) {
    if (!rebuild_ || Chance(30)) test::RotSpacePage(copies);
  }
  const bool opened = Open();
  rebuild_ = false;
  if (!opened) return false;
  // What is older than the opening is as it was.
  if (Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }) == Status::kOk) return true;
  return Fail("a checkpoint failed after the space map was made anew");
}

bool Driver::CheckOffline() {
  ++counts_.checks;
  CheckReport report;
  std::string why;
  if (Pool::Check(Files(), false, &report, &why) != Status::kOk) {
    return Fail("the check cannot walk: " + why);
  }
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
  if (pool_->Poll() > 0 || pool_->WantsPoll()) return true;
  for (const auto& medium : media_) {
    if (medium->Wait() > 0) break;
  }
  return true;
}

bool Driver::Wait(uint32_t limit) {
  for (int i = 0; in_flight_ > limit && i < 1000000; ++i) Step();
  if (in_flight_ > limit) return Fail("operations that never end");
  return error_.empty();
}

// --- The run ---

std::string Driver::Run() {
  small_ = Chance(25);
  lines_ = Chance(50) ? 1 : 4;
  depth_ = small_ || Chance(20) ? 0 : static_cast<uint32_t>(1 + Below(24));
  immediate_ = Chance(30);
  const uint64_t devices = Chance(50) ? 1 : 2 + Below(2);
  PoolLayout layout;
  for (uint64_t i = 0; i < devices; ++i) {
    // A small pool of one device runs full, and one of several does.
    AddMedium(!small_ ? uint64_t{1} << 30 : (devices == 1 ? 16 + Below(16) : 8 + Below(12)) << 20);
    layout.data.push_back({Files().back()});
  }
  FormatOptions format;
  format.name = "model";
  format.log_bytes = Chance(50) ? 256 << 10 : 0;
  for (uint8_t& byte : format.store_id.bytes) byte = static_cast<uint8_t>(rng_());
  if (Pool::Format(layout, format) != Status::kOk) return "formatting failed";
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
    } else if (dice < 46) {
      Chance(30) ? AddDevice() : Rebalance();
    } else if (dice < 48) {
      Reopen();
    } else if (dice < 50) {
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
