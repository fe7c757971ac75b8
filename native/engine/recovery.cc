// Opening: superblocks, then trees (load_state.cc) and replay of the log (replay.cc), then a flush
// and a checkpoint before anything is served. Both generations of the superblock lead to the same
// state (S3).
#include <algorithm>
#include <cassert>
#include <chrono>
#include <thread>

#include "native/engine/aligned_blocks.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {

// The valid superblocks of a pool, by slot: the newest that any device in sync carries.
struct Supers {
  Superblock slot[2];
  bool valid[2] = {false, false};
  Status worst = Status::kNotAPool;
};

Supers FindSupers(const DeviceSet& set) {
  Supers s;
  AlignedBlocks buffer(1);
  const auto sb = std::make_unique<Superblock>();
  for (const auto& device : set.devices()) {
    if (device == nullptr || !device->Readable()) continue;
    for (const bool back : {false, true}) {
      for (uint32_t slot = 0; slot < 2; ++slot) {
        const uint64_t place = SuperPlace(slot, back, device->record.size_blocks);
        if (!TransferBlocks(*device->file, IoKind::kRead, place, 1, buffer.data)) continue;
        Status status = ParseSuperblock(buffer.data, sb.get());
        if (status == Status::kOk &&
            ((sb->generation & 1) != slot || !(sb->store_id == set.pool_id()))) {
          status = Status::kCorrupt;
        }
        if (status == Status::kOk) {
          if (!s.valid[slot] || sb->generation > s.slot[slot].generation) s.slot[slot] = *sb;
          s.valid[slot] = true;
        } else if (status != Status::kNotAPool && s.worst != Status::kVersion) {
          s.worst = status;
        }
      }
    }
  }
  return s;
}

// Every address of the superblock lies inside a vdev that the labels know.
bool FitsDevices(const Superblock& sb, const DeviceSet& set) {
  auto inside = [&set](uint64_t start, uint64_t blocks) {
    const uint32_t vdev = VdevOf(start);
    if (vdev >= set.vdevs().size() || set.vdevs()[vdev].sides.empty()) return false;
    const uint64_t size = set.VdevBlocks(vdev);
    return size > kEndBlocks && BlockOf(start) + blocks <= size - kEndBlocks;
  };
  if (!inside(sb.log_start, sb.log_blocks)) return false;
  for (uint32_t i = 0; i < sb.region_count; ++i) {
    if (!inside(sb.regions[i].start, sb.regions[i].blocks)) return false;
  }
  return true;
}

}  // namespace

Status Pool::Open(BlockFile& file, const PoolOptions& options, std::unique_ptr<Pool>* pool,
                  std::string* why) {
  return Open(std::vector<DeviceFile>{{&file, "", {}}}, options, pool, why);
}

Status Pool::Open(const std::vector<DeviceFile>& files, const PoolOptions& options,
                  std::unique_ptr<Pool>* pool, std::string* why) {
  std::string unused;
  if (why == nullptr) why = &unused;
  std::unique_ptr<PoolImpl> impl;
  std::optional<FoundOwner> found;
  // Once more where the space map cannot be read: it is made anew before anything builds on it.
  const auto recover = [&](PoolOptions with, std::string* reason) {
    for (;;) {
      impl.reset();
      impl = std::make_unique<PoolImpl>(with);
      impl->set_found(found);
      const Status status = impl->Recover(files, reason);
      found = impl->found();
      if (!impl->rebuild_wanted() || with.rebuild_space) return status;
      with.rebuild_space = true;
    }
  };
  Status status = recover(options, why);
  if (status == Status::kCorrupt && !options.prefer_older_superblock) {
    // What the newest superblock reaches is damaged: the one before it leads to the same state by a
    // longer replay.
    PoolOptions older = options;
    older.prefer_older_superblock = true;
    // At the first go: it erases the newer superblock, and a second would not know any more what
    // that one says had been flushed.
    older.rebuild_space = true;
    std::string second;
    status = recover(older, &second);
    if (status != Status::kOk) status = Status::kCorrupt;
  }
  if (status == Status::kOk) *pool = std::move(impl);
  return status;
}

// --- Waiting, for opening only ---

void PoolImpl::WaitIo() {
  Drain();
  if (ios_in_flight_ == 0) return;
  need_kick_ = false;
  devices_.Kick();
  Drain();
  if (ios_in_flight_ == 0) return;
  devices_.Wait();
  Drain();
}

void PoolImpl::SyncDone(EngineIo* io) {
  *static_cast<int32_t*>(io->owner) = io->request.result;
  FreeIo(io);
}

bool PoolImpl::RunSync(IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data) {
  int32_t result = 1;
  SubmitIo(kind, block, blocks, data, &result, &PoolImpl::SyncDone);
  while (result == 1) WaitIo();
  if (result != 0) ++io_errors_;
  return result == 0;
}

bool PoolImpl::RunSyncOn(uint16_t device, IoKind kind, uint64_t block, uint32_t blocks,
                         uint8_t* data) {
  int32_t result = 1;
  SubmitToDevice(device, kind, block, blocks, data, &result, &PoolImpl::SyncDone);
  while (result == 1) WaitIo();
  if (result != 0) ++io_errors_;
  return result == 0;
}

bool PoolImpl::ReadSync(uint64_t block, uint32_t blocks, uint8_t* data) {
  return RunSync(IoKind::kRead, block, blocks, data);
}
bool PoolImpl::WriteSync(uint64_t block, uint32_t blocks, uint8_t* data) {
  return RunSync(IoKind::kWrite, block, blocks, data);
}
bool PoolImpl::FlushSync() { return RunSync(IoKind::kFlush, 0, 0, nullptr); }

PoolImpl::Got PoolImpl::WaitPage(Tree* tree, uint64_t index, bool create, Page** page) {
  for (;;) {
    Got got =
        create ? GetOrCreate(tree, index, nullptr, page) : GetPage(tree, 0, index, nullptr, page);
    if (got != Got::kLoading) return got;
    WaitIo();
  }
}

// --- The steps ---

Status PoolImpl::Recover(const std::vector<DeviceFile>& files, std::string* why) {
  if (Status s = devices_.Assemble(files, options_.read_only ? nullptr : &options_.owner, why);
      s != Status::kOk)
    return s;
  devices_.LookEvery(options_.read_only ? 0 : options_.owner.look_ms);
  if (Status s = ReadSuperblocks(why); s != Status::kOk) return s;
  if (Status s = LoadState(why); s != Status::kOk) return s;
  constexpr uint64_t kNotKnown = kFeatureSpaceLost | kFeatureSpaceGuessed;
  if (options_.rebuild_space || (sb_.compatible_features & kNotKnown) != 0) RebuildSpace();
  if (Status s = ReplayLog(why); s != Status::kOk) return s;
  if (Faulted()) {
    *why = fault_;
    return Status::kCorrupt;
  }
  if (rebuild_wanted_) return SpaceUnreadable(why);
  recovering_ = false;
  ResumeWalks();
  if (options_.read_only) {
    opening_now_ = false;
    return Status::kOk;
  }
  if (other_gone_) ReleasePending();
  EnsureRegions();
  if (!FlushSync()) {
    *why = "the medium failed a flush";
    return Status::kIoError;
  }
  flushed_up_to_ = {apply_sequence_, 0};
  want_checkpoint_ = true;
  Enter();
  while (checkpoints_ == 0 && !Faulted() && !rebuild_wanted_) {
    StepCheckpoint();
    WaitIo();
  }
  --depth_;
  if (rebuild_wanted_) return SpaceUnreadable(why);
  opening_now_ = false;
  if (Faulted() && space_guessed_ && no_room_) return NoPlaceKnown(why);
  if (Faulted()) {
    *why = fault_;
    return Status::kIoError;
  }
  CheckResilver(true);
  return Status::kOk;
}

// Nothing of this opening has been written yet.
Status PoolImpl::SpaceUnreadable(std::string* why) {
  while (ios_in_flight_ > 0) WaitIo();
  *why = "the map of free space cannot be read";
  return Status::kIoError;
}

// Where every block may be in use by what cannot be read, nothing can be written, and so nothing is
// served: a checkpoint over what a page names that is read again one day would be the end of that.
Status PoolImpl::NoPlaceKnown(std::string* why) {
  while (ios_in_flight_ > 0) WaitIo();
  *why =
      "pages of the map of free space are lost, and with them pages that would say what is in use: "
      "no place is known to be free, and the opening has nowhere to write to. Nothing was changed; "
      "see docs/operations.md";
  return Status::kNoSpace;
}

Status PoolImpl::ReadSuperblocks(std::string* why) {
  if (sb_buffer_ == nullptr) {
    sb_buffer_ = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
  }
  if (sb_buffer_ == nullptr) std::abort();
  const Supers s = FindSupers(devices_);
  // Also where the one before is known: what was written since would be lost with the newer one.
  if ((!s.valid[0] && !s.valid[1]) || s.worst == Status::kVersion) {
    *why = s.worst == Status::kVersion ? "the pool has a format this version does not know"
                                       : "no valid superblock";
    return s.worst == Status::kNotAPool ? Status::kCorrupt : s.worst;
  }
  uint32_t newest = !s.valid[0] ? 1 : !s.valid[1] ? 0 : s.slot[1].generation > s.slot[0].generation;
  uint32_t base = newest;
  if (options_.prefer_older_superblock && s.valid[1 - newest]) base = 1 - newest;
  sb_ = s.slot[base];
  other_ = s.slot[1 - base];
  other_valid_ = s.valid[1 - base];
  if (!FitsDevices(sb_, devices_)) {
    *why = "the superblock names places that no device has";
    return Status::kCorrupt;
  }
  std::copy(std::begin(sb_.regions), std::end(sb_.regions), std::begin(regions_));
  range_.count = active_regions_ = sb_.region_count;
  growth_limit_ = sb_.growth_limit_percent;
  base_generation_ = sb_.generation;
  LayOutGroups();
  uint64_t highest = other_valid_ ? std::max(sb_.generation, other_.generation) : sb_.generation;
  // A newer superblock that is gone leaves its generation behind in the labels: of what a device
  // has missed since, nothing is to be older than what it is said to have.
  for (const auto& device : devices_.devices()) {
    if (device == nullptr || device->record.stale_since == ~uint64_t{0}) continue;
    highest = std::max(highest, device->record.stale_since);
  }
  // The next superblock goes where the base is not.
  generation_ = highest + 1;
  if ((generation_ & 1) == base) ++generation_;
  devices_.set_durable_generation(sb_.generation);
  devices_.MissingSince(sb_.generation);
  SetLimits();
  if (options_.read_only) return Status::kOk;
  // Before anything is written: who is not here, and who is back and must not be read from.
  if (devices_.labels_wanted()) {
    if (const Status s = WriteLabelsSync(why); s != Status::kOk) return s;
  }
  if (devices_.TakeSettling()) return Settle(why);
  return EqualizeSuperblocks(base, base != newest, why);
}

// A machine that runs on although its pool was taken over sees by now that it was, or will at its
// next look. What it had written up to then is read anew.
Status PoolImpl::Settle(std::string* why) {
  std::this_thread::sleep_for(std::chrono::milliseconds(options_.owner.settle_ms));
  if (const Status s = WriteLabelsSync(why); s != Status::kOk) return s;
  return ReadSuperblocks(why);
}

// The labels as they were found are durable before any is overwritten: after a kill they may be in
// the devices' caches alone.
Status PoolImpl::WriteLabelsSync(std::string* why) {
  if (!FlushSync()) {
    *why = "the medium failed a flush";
    return Status::kIoError;
  }
  bool ended = false;
  devices_.UpdateLabels([](void* context) { *static_cast<bool*>(context) = true; }, &ended);
  while (!ended && !Faulted()) {
    devices_.Wait();
    Drain();
  }
  if (!Faulted()) return Status::kOk;
  *why = fault_;
  return devices_.lost() ? Status::kOwned : Status::kIoError;
}

// A crash may have left the newest superblock on some devices only; should one of those be lost
// next, the others would lead to a generation whose pages are being overwritten. So all get it
// first. The other generation, where the older one is opened from, must not be found again: what is
// written now may fall on its pages.
Status PoolImpl::EqualizeSuperblocks(uint32_t base, bool erase_other, std::string* why) {
  AlignedBlocks buffer(2);
  bool wrote = false;
  bool gone = !other_valid_ || erase_other;
  std::memcpy(sb_buffer_, &sb_, sizeof sb_);
  for (uint16_t d = 0; d < devices_.devices().size(); ++d) {
    DeviceSet::Device* device = devices_.device(d);
    if (device == nullptr || !device->Writable()) continue;
    uint32_t good = 0;
    for (const bool back : {false, true}) {
      const uint64_t place = SuperPlace(base, back, device->record.size_blocks);
      const bool same = TransferBlocks(*device->file, IoKind::kRead, place, 1, buffer.data) &&
                        std::memcmp(buffer.data, sb_buffer_, kBlockBytes) == 0;
      if (!same) {
        wrote = true;
        if (!TransferBlocks(*device->file, IoKind::kWrite, place, 1, sb_buffer_)) continue;
      }
      ++good;
    }
    if (erase_other) {
      std::memset(buffer.data, 0, kBlockBytes);
      for (const bool back : {false, true}) {
        const uint64_t place = SuperPlace(1 - base, back, device->record.size_blocks);
        if (!TransferBlocks(*device->file, IoKind::kWrite, place, 1, buffer.data)) good = 0;
        wrote = true;
      }
    } else if (gone) {
      // A torn one, or one that has rotted, is erased like a newer one: it is no superblock now,
      // and is not to be one at a later opening. What cannot be read may be.
      for (const bool back : {false, true}) {
        const uint64_t place = SuperPlace(1 - base, back, device->record.size_blocks);
        if (!TransferBlocks(*device->file, IoKind::kRead, place, 1, buffer.data)) {
          gone = false;
          continue;
        }
        uint8_t* const end = buffer.data + kBlockBytes;
        if (std::all_of(buffer.data, end, [](uint8_t b) { return b == 0; })) continue;
        std::memset(buffer.data, 0, kBlockBytes);
        gone &= TransferBlocks(*device->file, IoKind::kWrite, place, 1, buffer.data);
        wrote = true;
      }
    }
    if (good > 0) continue;
    if (!devices_.TakeOut(d, DeviceState::kFaulted, "its superblock could not be written")) {
      *why = "the medium failed a write";
      return Status::kIoError;
    }
    if (const Status s = WriteLabelsSync(why); s != Status::kOk) return s;
  }
  if (wrote && !FlushSync()) {
    *why = "the medium failed a flush";
    return Status::kIoError;
  }
  other_gone_ = gone;
  return Status::kOk;
}

// What the generation opened from lists as freed was kept for the one before it (S13), and that one
// is gone for good: overwritten by the one that was erased. A pool that is opened from the older
// superblock needs this room: before it went down it had taken other blocks for its writes, and
// what that superblock lists counted as free, the newer one being durable. As many groups as a
// checkpoint takes on.
void PoolImpl::ReleasePending() {
  if (space_guessed_ || !lost_.empty()) return;
  const size_t most = std::max<size_t>(16, cache_.capacity() / 16);
  size_t groups = 0;
  auto run = pending_old_.begin();
  while (run != pending_old_.end() && groups++ < most) {
    const uint64_t group = GroupOf(run->phys);
    Page* leaf = nullptr;
    const Got got = WaitPage(&space_, group, false, &leaf);
    if (got != Got::kHere) break;  // The checkpoint meets it again, and knows what to do.
    Touch(leaf);
    for (; run != pending_old_.end() && GroupOf(run->phys) == group; ++run) {
      const auto blocks = static_cast<uint32_t>(run->blocks);
      const uint32_t cleared = Group::ClearBits(leaf->space_leaf(), BitOf(run->phys), blocks);
      if (cleared != blocks)
        return Fault("the metadata contradict each other: a block freed twice");
      leaf->used -= cleared;
      CountUsed(run->phys, -int64_t{cleared});
      pending_blocks_ -= blocks;
      const auto held = groups_.find(group);
      if (held != groups_.end()) Rewind(held->second.get(), BitOf(run->phys));
    }
  }
  pending_old_.erase(pending_old_.begin(), run);
}

void PoolImpl::SetLimits() {
  uint64_t size = 0;
  for (uint32_t v = 0; v < devices_.vdevs().size(); ++v) {
    if (!devices_.vdevs()[v].sides.empty()) size += devices_.VdevBlocks(v);
  }
  reserve_ = std::min(std::clamp<uint64_t>(size / 32, 32768, 33554432), size / 8);
  growth_reserve_ = std::max(reserve_, alloc_blocks_ / 100 * (100 - growth_limit_));
  soft_dirty_ = std::max<uint64_t>(8, std::min(cache_.capacity() / 4, reserve_ / 16));
  hard_dirty_ = 2 * soft_dirty_ + 16;
}

}  // namespace ashlar
