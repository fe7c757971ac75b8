// Snapshots, clones, promotions and rollbacks.
#include <algorithm>

#include "native/test/model/host_op.h"

namespace ashlar::model {

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
  Kill();
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
    if (TagOf(*v, lba, &tag) != Status::kOk) return Fail("a block's tag cannot be read");
    *has = to.blocks[lba].kind == BlockKind::kData ? tag.version == version
                                                   : tag.kind != BlockKind::kData;
    return true;
  }
  *has = true;  // Nothing to tell them apart by.
  return true;
}

}  // namespace ashlar::model
