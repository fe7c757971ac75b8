// Opening: superblocks, trees, replay of the log (S6, S7), then a flush and a checkpoint before
// anything is served. Both generations of the superblock lead to the same state (S3).
#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {

constexpr uint32_t kReadBlocks = 32;
// How far past the end of the log S6 looks for a block that says it had been flushed.
constexpr uint64_t kTailBlocks = 4096;

struct AlignedBlocks {
  explicit AlignedBlocks(uint32_t blocks)
      : data(static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes))) {
    if (data == nullptr) std::abort();
    std::memset(data, 0, blocks * kBlockBytes);
  }
  ~AlignedBlocks() { std::free(data); }
  AlignedBlocks(const AlignedBlocks&) = delete;
  AlignedBlocks& operator=(const AlignedBlocks&) = delete;
  uint8_t* data;
};

uint64_t DefaultLogBlocks(uint64_t size_blocks) {
  return std::clamp<uint64_t>(size_blocks / 32, kMinLogBlocks, kMaxLogBlocks);
}

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
        } else if (status != Status::kNotAPool) {
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

Status Pool::Format(BlockFile& file, const FormatOptions& options) {
  PoolLayout layout;
  layout.data.push_back({DeviceFile{&file, "", {}}});
  return Format(layout, options);
}

Status Pool::Format(const PoolLayout& layout, const FormatOptions& options) {
  if (options.name.size() > 63 || options.growth_limit_percent == 0 ||
      options.growth_limit_percent > 100 || layout.data.empty()) {
    return Status::kInvalid;
  }
  // The vdevs: the data's first, then the log's own.
  std::vector<std::vector<DeviceFile>> vdevs = layout.data;
  if (!layout.log.empty()) vdevs.push_back(layout.log);
  if (vdevs.size() > kMaxVdevs) return Status::kInvalid;
  const auto label = std::make_unique<Label>();
  label->pool_id = options.store_id;
  std::memcpy(label->name, options.name.data(), options.name.size());
  label->sequence = 1;
  std::vector<uint64_t> sizes;
  std::vector<const DeviceFile*> files;
  for (size_t v = 0; v < vdevs.size(); ++v) {
    if (vdevs[v].empty() || vdevs[v].size() > kMaxMirror) return Status::kInvalid;
    uint64_t size = ~uint64_t{0};
    for (size_t place = 0; place < vdevs[v].size(); ++place) {
      const DeviceFile& file = vdevs[v][place];
      const uint64_t blocks = file.file->size_bytes() / kBlockBytes;
      if (blocks < kMinPoolBlocks) return Status::kTooSmall;
      if (blocks > kPhysBlockMask || label->device_count == kMaxDevices) return Status::kInvalid;
      size = std::min(size, blocks);
      DeviceRecord& record = label->devices[label->device_count];
      record.id = file.id;
      if (IsZero(record.id)) {
        record.id = options.store_id;
        record.id.bytes[0] = static_cast<uint8_t>(record.id.bytes[0] ^ (label->device_count + 1));
        record.id.bytes[8] = static_cast<uint8_t>(record.id.bytes[8] ^ 0x5A);
      }
      record.vdev = static_cast<uint16_t>(v);
      record.place = static_cast<uint8_t>(place);
      record.state = DeviceState::kInSync;
      const bool log = !layout.log.empty() && v + 1 == vdevs.size();
      record.vdev_class = log ? VdevClass::kLog : VdevClass::kData;
      record.size_blocks = blocks;
      std::strncpy(record.path, file.path.c_str(), sizeof record.path - 1);
      files.push_back(&file);
      ++label->device_count;
    }
    sizes.push_back(size);
  }
  Superblock sb{};
  sb.store_id = options.store_id;
  std::memcpy(sb.name, options.name.data(), options.name.size());
  sb.growth_limit_percent = options.growth_limit_percent;
  for (uint64_t size : sizes) sb.size_blocks += size;
  const uint64_t log_vdev = layout.log.empty() ? 0 : vdevs.size() - 1;
  const uint64_t room = sizes[log_vdev];
  sb.log_start = PhysAt(log_vdev, kEndBlocks);
  sb.log_blocks =
      options.log_bytes == 0 ? DefaultLogBlocks(sb.size_blocks) : options.log_bytes / kBlockBytes;
  sb.log_blocks = std::clamp<uint64_t>(
      sb.log_blocks, kMinLogBlocks,
      std::min<uint64_t>(kMaxLogBlocks, layout.log.empty() ? room / 4 : room - 2 * kEndBlocks));
  for (size_t v = 0; v < layout.data.size(); ++v) {
    const uint64_t start = v == log_vdev ? kEndBlocks + sb.log_blocks : uint64_t{kEndBlocks};
    sb.regions[sb.region_count++] = {PhysAt(v, start), sizes[v] - kEndBlocks - start, 0};
  }
  sb.next_tree = 16;
  sb.blobs.height = 1;
  sb.catalog.height = 2;
  const uint64_t groups = PhysRange{sb.regions, sb.region_count}.Groups();
  while ((groups - 1) >> (kFanOutBits * sb.space.height) != 0) ++sb.space.height;
  AlignedBlocks buffer(kLabelBlocks);
  auto write = [&](size_t i, uint64_t place, uint32_t blocks) {
    return TransferBlocks(*files[i]->file, IoKind::kWrite, place, blocks, buffer.data);
  };
  auto flush = [&] {
    for (const DeviceFile* file : files) {
      if (!TransferBlocks(*file->file, IoKind::kFlush, 0, 0, nullptr)) return false;
    }
    return true;
  };
  // What was there goes first: no mixture of two pools is ever found.
  for (size_t i = 0; i < files.size(); ++i) {
    const uint64_t size = label->devices[i].size_blocks;
    for (const bool back : {false, true}) {
      for (uint64_t slot = 0; slot < 2; ++slot) {
        if (!write(i, SuperPlace(slot, back, size), 1)) return Status::kIoError;
        if (!write(i, LabelPlace(slot, back, size), kLabelBlocks)) return Status::kIoError;
      }
    }
    if (label->devices[i].vdev == log_vdev && !write(i, BlockOf(sb.log_start), 1)) {
      return Status::kIoError;
    }
  }
  if (!flush()) return Status::kIoError;
  for (uint64_t generation = 0; generation < 2; ++generation) {
    sb.generation = generation;
    SealSuperblock(&sb);
    std::memcpy(buffer.data, &sb, sizeof sb);
    for (size_t i = 0; i < files.size(); ++i) {
      for (const bool back : {false, true}) {
        if (!write(i, SuperPlace(generation, back, label->devices[i].size_blocks), 1)) {
          return Status::kIoError;
        }
      }
    }
  }
  // The labels make it a pool.
  if (!flush()) return Status::kIoError;
  for (size_t i = 0; i < files.size(); ++i) {
    label->device_id = label->devices[i].id;
    SealLabel(label.get());
    std::memcpy(buffer.data, label.get(), sizeof *label);
    for (const bool back : {false, true}) {
      if (!write(i, LabelPlace(1, back, label->devices[i].size_blocks), kLabelBlocks)) {
        return Status::kIoError;
      }
    }
  }
  return flush() ? Status::kOk : Status::kIoError;
}

Status Pool::WipeDevice(BlockFile& file) {
  const uint64_t size = file.size_bytes() / kBlockBytes;
  if (size < kMinPoolBlocks) return Status::kTooSmall;
  AlignedBlocks zeros(kEndBlocks);
  for (const uint64_t place : {uint64_t{0}, size - kEndBlocks}) {
    if (!TransferBlocks(file, IoKind::kWrite, place, kEndBlocks, zeros.data)) {
      return Status::kIoError;
    }
  }
  return TransferBlocks(file, IoKind::kFlush, 0, 0, nullptr) ? Status::kOk : Status::kIoError;
}

Status Pool::Probe(BlockFile& file, ProbeResult* result) {
  const auto label = std::make_unique<Label>();
  const Status status = ReadLabel(file, label.get(), &result->label_slot);
  if (status != Status::kOk) return status;
  result->store_id = label->pool_id;
  result->name = label->name;
  result->device_id = label->device_id;
  result->sequence = label->sequence;
  result->exported = (label->flags & kLabelExported) != 0;
  result->devices = label->device_count;
  return Status::kOk;
}

Status Pool::Probe(BlockFile& file, Uuid* store_id, std::string* name) {
  ProbeResult result;
  const Status status = Probe(file, &result);
  if (status != Status::kOk) return status;
  *store_id = result.store_id;
  *name = result.name;
  return status;
}

Status Pool::Open(BlockFile& file, const PoolOptions& options, std::unique_ptr<Pool>* pool,
                  std::string* why) {
  return Open(std::vector<DeviceFile>{{&file, "", {}}}, options, pool, why);
}

Status Pool::Open(const std::vector<DeviceFile>& files, const PoolOptions& options,
                  std::unique_ptr<Pool>* pool, std::string* why) {
  std::string unused;
  if (why == nullptr) why = &unused;
  auto impl = std::make_unique<PoolImpl>(options);
  Status status = impl->Recover(files, why);
  if (status == Status::kCorrupt && !options.prefer_older_superblock) {
    // What the newest superblock reaches is damaged: the one before it leads to the same state by a
    // longer replay.
    impl.reset();
    PoolOptions older = options;
    older.prefer_older_superblock = true;
    std::string second;
    impl = std::make_unique<PoolImpl>(older);
    status = impl->Recover(files, &second);
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
  if (Status s = devices_.Assemble(files, options_.read_only, why); s != Status::kOk) return s;
  if (Status s = ReadSuperblocks(why); s != Status::kOk) return s;
  if (Status s = LoadState(why); s != Status::kOk) return s;
  if (Status s = ReplayLog(why); s != Status::kOk) return s;
  if (Faulted()) {
    *why = fault_;
    return Status::kCorrupt;
  }
  recovering_ = false;
  ResumeWalks();
  if (options_.read_only) return Status::kOk;
  EnsureRegions();
  if (!FlushSync()) {
    *why = "the medium failed a flush";
    return Status::kIoError;
  }
  flushed_up_to_ = apply_sequence_;
  want_checkpoint_ = true;
  Enter();
  while (checkpoints_ == 0 && !Faulted()) {
    StepCheckpoint();
    WaitIo();
  }
  --depth_;
  if (Faulted()) {
    *why = fault_;
    return Status::kIoError;
  }
  CheckResilver(true);
  return Status::kOk;
}

Status PoolImpl::ReadSuperblocks(std::string* why) {
  sb_buffer_ = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
  if (sb_buffer_ == nullptr) std::abort();
  const Supers s = FindSupers(devices_);
  if (!s.valid[0] && !s.valid[1]) {
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
  // The next superblock goes where the base is not.
  generation_ = highest + 1;
  if ((generation_ & 1) == base) ++generation_;
  devices_.set_durable_generation(sb_.generation);
  devices_.MissingSince(sb_.generation);
  SetLimits();
  if (options_.read_only) return Status::kOk;
  // Before anything is written: who is not here, and who is back and must not be read from.
  if (devices_.labels_wanted() && !WriteLabelsSync(why)) return Status::kIoError;
  return EqualizeSuperblocks(base, base != newest, why);
}

// The labels as they were found are durable before any is overwritten: after a kill they may be in
// the devices' caches alone.
bool PoolImpl::WriteLabelsSync(std::string* why) {
  if (!FlushSync()) {
    *why = "the medium failed a flush";
    return false;
  }
  bool ended = false;
  devices_.UpdateLabels([](void* context) { *static_cast<bool*>(context) = true; }, &ended);
  while (!ended && !Faulted()) {
    devices_.Wait();
    Drain();
  }
  if (Faulted()) *why = fault_;
  return !Faulted();
}

// A crash may have left the newest superblock on some devices only; should one of those be lost
// next, the others would lead to a generation whose pages are being overwritten. So all get it
// first. The other generation, where the older one is opened from, must not be found again: what is
// written now may fall on its pages.
Status PoolImpl::EqualizeSuperblocks(uint32_t base, bool erase_other, std::string* why) {
  AlignedBlocks buffer(2);
  bool wrote = false;
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
    }
    if (good > 0) continue;
    if (!devices_.TakeOut(d, DeviceState::kFaulted, "its superblock could not be written")) {
      *why = "the medium failed a write";
      return Status::kIoError;
    }
    if (!WriteLabelsSync(why)) return Status::kIoError;
  }
  if (wrote && !FlushSync()) {
    *why = "the medium failed a flush";
    return Status::kIoError;
  }
  return Status::kOk;
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

Status PoolImpl::LoadState(std::string* why) {
  *why = "a metadata page that the superblock reaches is damaged in both copies";
  catalog_.role = Role::kCatalog;
  catalog_.root = sb_.catalog;
  space_.role = Role::kSpace;
  space_.root = sb_.space;
  pending_.role = Role::kPending;
  pending_.root = sb_.pending;
  pool_blobs_.tree.role = Role::kBlob;
  pool_blobs_.tree.root = sb_.blobs;
  next_tree_ = std::max<uint64_t>(16, sb_.next_tree);
  metadata_blocks_ = sb_.metadata_blocks;
  bits_used_ = sb_.space.ptr.aux;
  uint64_t used = 0;
  for (uint32_t r = 0; r < range_.count; ++r) used += regions_[r].used;
  if (bits_used_ != used || space_.root.height != HeightFor(GroupCount())) return Status::kCorrupt;
  meta_[0].search = GroupCount() / 3;
  meta_[1].search = GroupCount() * 2 / 3;
  opening_ = sb_.log_opening;
  if (!options_.read_only) {
    if (sb_.open_id_count == 16) {
      std::memmove(sb_.open_ids, sb_.open_ids + 1, sizeof sb_.open_ids - sizeof(Uuid));
      --sb_.open_id_count;
    }
    sb_.open_ids[sb_.open_id_count++] = options_.open_id;
  }
  if (Status s = LoadPending(why); s != Status::kOk) return s;
  if (Status s = LoadBlobs(&pool_blobs_, why); s != Status::kOk) return s;
  for (uint64_t slot = 0; slot < LeafSpan(catalog_.root.height);) {
    Page* page = nullptr;
    Got got = WaitPage(&catalog_, slot, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) {
      uint64_t span = std::max<uint64_t>(1, NullSpan(&catalog_, slot));
      slot = (slot / span + 1) * span;
      continue;
    }
    if (Status s = LoadRecord(static_cast<uint32_t>(slot), page, why); s != Status::kOk) return s;
    ++slot;
  }
  // A deleted volume's name may have been taken again: the living one has it.
  by_name_.clear();
  for (const auto& v : volumes_) {
    if (v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged) {
      by_name_[v->name] = v.get();
    }
  }
  return LinkLines();
}

Status PoolImpl::LoadPending(std::string*) {
  if (pending_.root.ptr.null()) return Status::kOk;
  uint64_t leaves = 0;
  for (; leaves < LeafSpan(pending_.root.height); ++leaves) {
    const uint64_t i = leaves;
    Page* page = nullptr;
    Got got = WaitPage(&pending_, i, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) break;
    const auto* leaf = reinterpret_cast<const PendingLeaf*>(page->data);
    for (uint32_t k = 0; k < leaf->count; ++k) {
      // Never across a group, whatever the page says.
      for (uint64_t phys = leaf->phys[k], left = leaf->blocks[k]; left > 0;) {
        uint64_t n = std::min<uint64_t>(left, kGroupBlocks - BitOf(phys));
        pending_old_.push_back({phys, n});
        pending_blocks_ += n;
        phys += n;
        left -= n;
      }
    }
    for (Page* p = page; p != nullptr; p = p->parent) {
      if (p->level > 0 && (i & (LeafSpan(p->level) - 1)) != 0) break;
      pending_pages_.push_back(LiveSlot(p)->addr[0]);
      pending_pages_.push_back(LiveSlot(p)->addr[1]);
    }
  }
  // The tree is written anew each time: its pages leave the cache.
  for (uint32_t level = 0; level <= pending_.root.height; ++level) {
    for (uint64_t i = 0; i <= leaves >> (kFanOutBits * level); ++i) {
      Page* page = cache_.Find(&pending_, level, i);
      if (page != nullptr) cache_.Remove(page);
    }
  }
  // A block is freed once. The list is in no order of its own; the next cut sorts it anyway.
  std::sort(pending_old_.begin(), pending_old_.end(),
            [](const Run& a, const Run& b) { return a.phys < b.phys; });
  for (size_t i = 1; i < pending_old_.size(); ++i) {
    const Run& before = pending_old_[i - 1];
    if (before.phys + before.blocks > pending_old_[i].phys) return Status::kCorrupt;
  }
  return pending_blocks_ == sb_.pending_blocks ? Status::kOk : Status::kCorrupt;
}

Status PoolImpl::LoadBlobs(BlobStore* store, std::string*) {
  AlignedBlocks buffer(kBlobBlocks);
  for (uint64_t slot = 0; slot < LeafSpan(store->tree.root.height); ++slot) {
    Page* page = nullptr;
    Got got = WaitPage(&store->tree, slot, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) {
      const uint64_t span = std::max<uint64_t>(1, NullSpan(&store->tree, slot));
      slot = (slot / span + 1) * span - 1;
      continue;
    }
    const BlobLeaf leaf = *reinterpret_cast<const BlobLeaf*>(page->data);
    if (leaf.bytes == 0) continue;
    ++page->pins;
    const std::string key(leaf.key, leaf.key_bytes);
    store->slots[key] = slot;
    bool good = true;
    for (uint32_t i = 0; i * kBlockBytes < leaf.bytes; ++i) {
      uint8_t* at = buffer.data + i * kBlockBytes;
      good &= ReadGoodSync(leaf.phys[i], leaf.crc[i], false, at);
    }
    // A damaged one reads as absent; its key can be written again.
    if (!good) {
      ++checksum_errors_;
      continue;
    }
    store->blobs[key] = Blob{slot, {buffer.data, buffer.data + leaf.bytes}};
  }
  return Status::kOk;
}

// --- Replay ---

struct PoolImpl::Replay {
  std::vector<LogEntry> group;  // Of snapshots, as far as it was read. Names are not in it.
  std::vector<std::string> names;
  std::map<uint64_t, uint64_t>
      pending;  // Start to end: pending_old_, less what the log took into use again.
};

Status PoolImpl::ReplayLog(std::string* why) {
  const uint64_t ring = sb_.log_blocks;
  // Every side of the log: what no flush covered may be on one of them only.
  struct Side {
    uint16_t device;
    std::unique_ptr<AlignedBlocks> buffer;
  };
  std::vector<Side> sides;
  for (uint16_t index : devices_.vdevs()[VdevOf(sb_.log_start)].sides) {
    if (!devices_.device(index)->Readable()) continue;
    sides.push_back({index, std::make_unique<AlignedBlocks>(kReadBlocks)});
  }
  auto read = [&](uint64_t sequence, uint32_t* count) {
    const uint64_t at = sequence % ring;
    const uint64_t place = BlockOf(sb_.log_start) + at;
    *count = static_cast<uint32_t>(std::min<uint64_t>(kReadBlocks, ring - at));
    for (const Side& side : sides) {
      uint8_t* data = side.buffer->data;
      if (RunSyncOn(side.device, IoKind::kRead, place, *count, data)) continue;
      // One unreadable block does not hide those before it.
      for (uint32_t i = 0; i < *count; ++i) {
        uint8_t* block = data + i * kBlockBytes;
        if (!RunSyncOn(side.device, IoKind::kRead, place + i, 1, block)) {
          std::memset(block, 0, kBlockBytes);
        }
      }
    }
  };
  // The block `i` of what was read that passes the test, on every side. Null: none does.
  auto find = [&](uint64_t sequence, uint32_t i, auto test) -> const uint8_t* {
    for (const Side& side : sides) {
      const uint8_t* block = side.buffer->data + i * kBlockBytes;
      if (!test(block)) continue;
      for (const Side& other : sides) {
        uint8_t* theirs = other.buffer->data + i * kBlockBytes;
        if (options_.read_only || std::memcmp(theirs, block, kBlockBytes) == 0) continue;
        std::memcpy(theirs, block, kBlockBytes);
        static_cast<void>(RunSyncOn(other.device, IoKind::kWrite,
                                    BlockOf(sb_.log_start) + sequence % ring, 1, theirs));
      }
      return block;
    }
    return nullptr;
  };

  // First pass: where the chain ends, and what each opening's blocks say was flushed.
  std::map<uint64_t, uint64_t> flushed;
  uint64_t end = sb_.log_sequence;
  uint32_t crc = sb_.log_predecessor_crc;
  uint64_t opening = sb_.log_opening;
  for (bool chained = true; chained && end - sb_.log_sequence < ring;) {
    uint32_t count = 0;
    read(end, &count);
    for (uint32_t i = 0; i < count && chained; ++i) {
      LogBlockHeader h;
      chained = end - sb_.log_sequence < ring &&
                find(end, i, [&](const uint8_t* block) {
                  return ParseLogBlock(block, sb_.store_id, &h) == Status::kOk &&
                         h.sequence == end && h.predecessor_crc == crc && h.opening >= opening;
                }) != nullptr;
      if (!chained) break;
      crc = h.crc;
      opening = h.opening;
      flushed[opening] = std::max(flushed[opening], h.flushed_up_to);
      ++end;
    }
  }
  // S6: a later block of the same opening that speaks of what is missing as flushed.
  const uint64_t tail = std::min(end + kTailBlocks, sb_.log_sequence + ring);
  for (uint64_t s = end + 1; s < tail;) {
    uint32_t count = 0;
    read(s, &count);
    for (uint32_t i = 0; i < count && s < tail; ++i, ++s) {
      for (const Side& side : sides) {
        LogBlockHeader h;
        if (ParseLogBlock(side.buffer->data + i * kBlockBytes, sb_.store_id, &h) != Status::kOk ||
            h.sequence != s || h.opening != opening) {
          continue;
        }
        flushed[opening] = std::max(flushed[opening], std::min(h.flushed_up_to, s));
        log_damaged_ |= h.flushed_up_to > end;
      }
    }
  }
  if (other_valid_ && other_.generation > sb_.generation) {
    // The newer superblock was written after a flush of everything before its cut.
    log_damaged_ |= other_.log_sequence > end;
    flushed[other_.log_opening] = std::max(flushed[other_.log_opening], other_.log_sequence);
    opening = std::max(opening, other_.log_opening);
  }
  opening_ = opening + 1;

  // Second pass.
  Replay replay;
  for (const Run& run : pending_old_) replay.pending[run.phys] = run.phys + run.blocks;
  uint32_t replayed_crc = sb_.log_predecessor_crc;
  for (uint64_t s = sb_.log_sequence; s < end;) {
    uint32_t count = 0;
    read(s, &count);
    count = static_cast<uint32_t>(std::min<uint64_t>(count, end - s));
    // The first side with them all: Prefetch only wants to know what is coming.
    Prefetch(sides[0].buffer->data, count);
    for (uint32_t i = 0; i < count; ++i, ++s) {
      LogBlockHeader h;
      const uint8_t* block = find(s, i, [&](const uint8_t* b) {
        return ParseLogBlock(b, sb_.store_id, &h) == Status::kOk && h.sequence == s &&
               h.predecessor_crc == replayed_crc;
      });
      if (block == nullptr) {
        *why = "a log block changed while it was read";
        return Status::kIoError;
      }
      replayed_crc = h.crc;
      ReplayBlock(&replay, block, s >= flushed[h.opening] && !Mutated(Mutant::kTornDataReplayed));
    }
  }
  pending_old_.clear();
  for (const auto& [from, to] : replay.pending) {
    // Runs stay inside groups: they were split when loaded, and only ever shrink.
    pending_old_.push_back({from, to - from});
  }
  for (const auto& v : volumes_) {
    if (v == nullptr || v->kind != RecordKind::kVolume) continue;
    v->progress.Recovered(v->version);
    v->durable_contig = v->progress.contig();
    MarkRecord(v.get());
  }
  next_sequence_ = apply_sequence_ = cut_sequence_ = end;
  log_tail_ = sb_.log_sequence;
  apply_crc_ = chain_crc_ = crc;
  return Status::kOk;
}

// Starts loading the leaves that the blocks' entries will want, all at once.
void PoolImpl::Prefetch(const uint8_t* blocks, uint32_t count) {
  for (uint32_t round = 0; round <= kMaxHeight; ++round) {
    bool loading = false;
    for (uint32_t b = 0; b < count; ++b) {
      const uint8_t* block = blocks + b * kBlockBytes;
      LogBlockHeader h;
      std::memcpy(&h, block, sizeof h);
      uint32_t offset = 0;
      LogEntry entry;
      for (uint32_t i = 0; i < h.entries; ++i) {
        if (!ParseLogEntry(block + sizeof h, h.entry_bytes, &offset, &entry)) break;
        VolumeState* v = FindTree(entry.header.tree);
        const LogKind kind = entry.header.kind;
        if (v == nullptr || (kind != LogKind::kWrite && kind != LogKind::kWriteAtomic &&
                             kind != LogKind::kInstall)) {
          continue;
        }
        if (entry.header.lba + entry.header.blocks > v->size_blocks) continue;
        const uint64_t last = (entry.header.lba + entry.header.blocks - 1) >> kLeafBits;
        for (uint64_t leaf = entry.header.lba >> kLeafBits; leaf <= last; ++leaf) {
          Page* page = nullptr;
          loading |= GetPage(&v->map, 0, leaf, nullptr, &page) == Got::kLoading;
        }
      }
    }
    if (!loading) return;
    while (loads_in_flight_ > 0) WaitIo();
  }
}

void PoolImpl::ReplayBlock(Replay* replay, const uint8_t* block, bool verify) {
  LogBlockHeader h;
  std::memcpy(&h, block, sizeof h);
  uint32_t offset = 0;
  for (uint32_t i = 0; i < h.entries; ++i) {
    LogEntry entry;
    if (!ParseLogEntry(block + sizeof h, h.entry_bytes, &offset, &entry)) return;
    ++replayed_entries_;
    const LogEntryHeader& e = entry.header;
    VolumeState* v = FindTree(e.tree);
    switch (e.kind) {
      case LogKind::kWrite:
      case LogKind::kWriteAtomic:
        ReplayWrite(replay, entry, verify);
        break;
      case LogKind::kInstall:
        ReplayInstall(replay, entry, verify);
        break;
      case LogKind::kUnmap:
        ReplayUnmap(entry);
        break;
      case LogKind::kMarks:
        if (v == nullptr) break;
        ApplyMarks(v, {(e.flags & 1) != 0, (e.flags & 2) != 0, e.count, e.version});
        break;
      case LogKind::kCreate: {
        // The slot it had may still be held by a volume whose deletion this replay takes up again:
        // any free one will do.
        const uint32_t slot = FreeSlot();
        if (v != nullptr || slot >= kMaxRecords) break;
        v = AddVolume(e.tree, slot, entry.create.id,
                      std::string(entry.name, entry.create.name_bytes), e.count);
        v->hole_floor = entry.create.hole_floor;
        MarkRecord(v);
        break;
      }
      case LogKind::kResize:
        if (v != nullptr && v->kind == RecordKind::kVolume && e.count > v->size_blocks) {
          SetSize(v, e.count);
        }
        break;
      case LogKind::kDelete:
        if (v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged) ApplyDelete(v);
        break;
      case LogKind::kSnapshot:
        ReplaySnapshot(replay, entry);
        break;
      case LogKind::kClone: {
        VolumeState* origin = FindTree(e.version);
        if (v != nullptr || origin == nullptr || origin->kind != RecordKind::kSnapshot) break;
        if (FreeSlot() >= kMaxRecords) break;
        // It was logged when both superblocks reached its snapshot.
        if (origin->supers < 2 || e.count != origin->size_blocks) break;
        v = AddVolume(e.tree, FreeSlot(), entry.create.id,
                      std::string(entry.name, entry.create.name_bytes), e.count);
        v->hole_floor = entry.create.hole_floor;
        v->origin = origin;
        v->origin_tree = e.version;
        origin->clones.push_back(v);
        ApplyClone(v);
        break;
      }
      case LogKind::kPromote:
        if (v == nullptr || v->kind != RecordKind::kVolume || v->origin == nullptr) break;
        if (v->origin->supers == 2) ApplyPromote(v);
        break;
      case LogKind::kRollback: {
        VolumeState* target = FindTree(e.count);
        if (v == nullptr || v->state != RecordState::kLive || target == nullptr) break;
        if (target->kind != RecordKind::kSnapshot || target->head != v) break;
        if (target->supers < 2 || target->delete_logged) break;
        v->rolling = true;
        ApplyRollback(v, target, e.version);
        break;
      }
      case LogKind::kRolledBack:
        if (v != nullptr && v->state == RecordState::kRollingBack) ApplyRolledBack(v);
        break;
      case LogKind::kDeleteSnapshot:
        if (v != nullptr && v->kind == RecordKind::kSnapshot && !v->delete_logged) {
          ApplyDeleteSnapshot(v);
        }
        break;
      case LogKind::kPutBlob:
        ReplayBlob(replay, entry, verify);
        break;
    }
  }
}

// Once the last of a group is here. An end of the log in between leaves none of it.
void PoolImpl::ReplaySnapshot(Replay* replay, const LogEntry& entry) {
  if (entry.snapshot.group_index != replay->group.size()) {
    replay->group.clear();
    replay->names.clear();
  }
  if (entry.snapshot.group_index != replay->group.size()) return;
  replay->group.push_back(entry);
  replay->names.emplace_back(entry.name, entry.snapshot.name_bytes);
  if (replay->group.size() < entry.snapshot.group_count) return;
  std::vector<ControlOp::Target> targets;
  for (size_t i = 0; i < replay->group.size(); ++i) {
    const LogSnapshot& record = replay->group[i].snapshot;
    VolumeState* v = FindTree(replay->group[i].header.tree);
    if (v == nullptr || v->kind != RecordKind::kVolume || v->delete_logged ||
        FindTree(record.snapshot_tree) != nullptr || FreeSlot() >= kMaxRecords) {
      continue;
    }
    const bool twice =
        std::any_of(targets.begin(), targets.end(), [v](const auto& t) { return t.volume == v; });
    if (twice) continue;
    VolumeState* s = AddRecord(RecordKind::kSnapshot, record.snapshot_tree, FreeSlot());
    s->head = v;
    s->head_tree = v->tree;
    s->id = record.id;
    s->name = replay->names[i];
    s->created_ms = record.created_ms;
    v->snapshots[s->name] = s;
    targets.push_back({v, s, replay->group[i].header.version});
  }
  if (!targets.empty()) ApplySnapshots(targets);
  replay->group.clear();
  replay->names.clear();
}

// Takes blocks that an entry names, as the write did. They are free, or were pending and have been
// reused since (the older superblock's view). Anything else is not a history that this engine
// writes.
bool PoolImpl::ReplayAlloc(Replay* replay, const std::vector<Run>& runs,
                           std::vector<PhysRun>* out) {
  std::vector<Run> parts;
  for (const Run& run : runs) {
    if (!range_.HoldsRun(run.phys, run.blocks)) return false;
    for (uint64_t phys = run.phys, left = run.blocks; left > 0;) {
      uint64_t n = std::min<uint64_t>(left, kGroupBlocks - BitOf(phys));
      parts.push_back({phys, n});
      phys += n;
      left -= n;
    }
  }
  auto pending = [replay](uint64_t phys) {
    auto it = replay->pending.upper_bound(phys);
    if (it == replay->pending.begin()) return replay->pending.end();
    --it;
    return phys < it->second ? it : replay->pending.end();
  };
  for (const Run& part : parts) {
    Page* leaf = nullptr;
    if (WaitPage(&space_, GroupOf(part.phys), true, &leaf) != Got::kHere) return false;
    for (uint64_t k = 0; k < part.blocks; ++k) {
      if (Group::AnySet(leaf->space_leaf(), BitOf(part.phys + k), 1) &&
          pending(part.phys + k) == replay->pending.end()) {
        return false;
      }
    }
  }
  // And each of them once.
  std::vector<Run> sorted = parts;
  std::sort(sorted.begin(), sorted.end(),
            [](const Run& a, const Run& b) { return a.phys < b.phys; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1].phys + sorted[i - 1].blocks > sorted[i].phys) return false;
  }
  for (const Run& part : parts) {
    Page* leaf = nullptr;
    if (WaitPage(&space_, GroupOf(part.phys), true, &leaf) != Got::kHere) return false;
    for (uint64_t phys = part.phys; phys < part.phys + part.blocks; ++phys) {
      auto it = pending(phys);
      if (it == replay->pending.end()) continue;
      const auto [from, to] = *it;
      replay->pending.erase(it);
      if (from < phys) replay->pending[from] = phys;
      if (phys + 1 < to) replay->pending[phys + 1] = to;
      --pending_blocks_;
      Touch(leaf);
      Group::ClearBits(leaf->space_leaf(), BitOf(phys), 1);
      --leaf->used;
      CountUsed(phys, -1);
    }
    Group* group = HoldGroup(GroupOf(part.phys), leaf);
    group->SetBusy(BitOf(part.phys), static_cast<uint32_t>(part.blocks));
    busy_ += part.blocks;
    out->push_back({part.phys, static_cast<uint32_t>(part.blocks), group});
  }
  return true;
}

// Whether all blocks of a run are there. On a mirror: on any side, and from here on on all.
bool PoolImpl::VerifyRunSync(const PhysRun& run, const uint32_t* crcs, uint8_t* data) {
  if (devices_.vdevs()[VdevOf(run.phys)].sides.size() > 1) {
    for (uint32_t k = 0; k < run.blocks; ++k) {
      if (!ReadGoodSync(run.phys + k, crcs[k], true, data)) return false;
    }
    return true;
  }
  // A run of an atomic write may be longer than the buffer.
  for (uint32_t at = 0; at < run.blocks; at += kLeafEntries) {
    const uint32_t count = std::min(kLeafEntries, run.blocks - at);
    if (!ReadSync(run.phys + at, count, data)) return false;
    for (uint32_t k = 0; k < count; ++k) {
      if (Crc32c(data + k * kBlockBytes, kBlockBytes) != crcs[at + k]) return false;
    }
  }
  return true;
}

bool PoolImpl::ReplayDataMatches(const std::vector<PhysRun>& runs,
                                 const std::vector<uint32_t>& crcs) {
  bool good = true;
  uint8_t* data = TakeBuffer();
  uint32_t first = 0;
  for (const PhysRun& run : runs) {
    good = good && VerifyRunSync(run, crcs.data() + first, data);
    first += run.blocks;
  }
  ReleaseBuffer(data);
  return good;
}

void PoolImpl::ReplayWrite(Replay* replay, const LogEntry& entry, bool verify) {
  const LogEntryHeader& e = entry.header;
  std::vector<Run> named;
  std::vector<uint32_t> crcs(e.blocks);
  for (uint32_t i = 0; i < e.runs; ++i) named.push_back({entry.Run(i).phys, entry.Run(i).blocks});
  for (uint32_t i = 0; i < e.blocks; ++i) crcs[i] = entry.Crc(i);
  std::vector<PhysRun> runs;
  if (!ReplayAlloc(replay, named, &runs)) {
    log_damaged_ = true;
    return;
  }
  // S7: data that no flush covered may be missing. The whole entry is dropped; its blocks wait like
  // freed ones (a second recovery reads them again).
  const bool drop = verify && !ReplayDataMatches(runs, crcs);
  dropped_entries_ += drop;
  VolumeState* v = FindTree(e.tree);
  Page* leaf = nullptr;
  const bool known = v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged &&
                     e.lba + e.blocks <= v->size_blocks;
  if (e.kind == LogKind::kWriteAtomic) {
    if (!drop && known && ReplayWriteAtomic(v, e, runs, crcs.data())) {
      v->progress.Replayed(e.version, entry.previous, 0, 1);
      return;
    }
  } else if (!drop && known && WaitPage(&v->map, e.lba >> kLeafBits, true, &leaf) == Got::kHere) {
    ApplyWrite(v, leaf, e.lba, e.blocks, e.version, runs, crcs.data());
    v->progress.Replayed(e.version, entry.previous, e.flags & 15, (e.flags >> 4) + 1);
    return;
  }
  for (const PhysRun& run : runs) {
    ApplyAlloc(run);
    FreeRun(run.phys, run.blocks);
  }
}

void PoolImpl::ReplayUnmap(const LogEntry& entry) {
  const LogEntryHeader& e = entry.header;
  VolumeState* v = FindTree(e.tree);
  if (v == nullptr || v->kind != RecordKind::kVolume || v->delete_logged) return;
  UnmapRange(v, e.lba, e.count, e.version, true);
  if ((e.flags & 1) != 0) v->progress.Replayed(e.version, entry.previous, 0, 1);
}

void PoolImpl::ReplayBlob(Replay* replay, const LogEntry& entry, bool verify) {
  // The value is kept in memory: it is read, and so checked, in any case.
  const LogEntryHeader& e = entry.header;
  VolumeState* v = e.tree == 0 ? nullptr : FindTree(e.tree);
  BlobStore* store = e.tree == 0 ? &pool_blobs_ : v != nullptr ? &v->blobs : nullptr;
  std::vector<Run> named;
  for (uint32_t i = 0; i < e.blocks; ++i) named.push_back({entry.blob.phys[i], 1});
  std::vector<PhysRun> runs;
  if (!ReplayAlloc(replay, named, &runs)) {
    log_damaged_ = true;
    return;
  }
  AlignedBlocks buffer(kBlobBlocks);
  bool good = true;
  for (uint32_t i = 0; i < e.blocks; ++i) {
    uint8_t* at = buffer.data + i * kBlockBytes;
    good = good && ReadGoodSync(entry.blob.phys[i], entry.blob.crc[i], verify, at);
  }
  for (const PhysRun& run : runs) ApplyAlloc(run);
  const bool usable = store != nullptr && e.lba < kMaxBlobs &&
                      (v == nullptr || (v->kind == RecordKind::kVolume && !v->delete_logged));
  if (!good || !usable) {
    dropped_entries_ += !good;
    for (const PhysRun& run : runs) FreeRun(run.phys, run.blocks);
    return;
  }
  ApplyBlob(store, std::string(entry.blob.key, entry.blob.key_bytes), e.lba,
            {buffer.data, buffer.data + e.count}, entry.blob.phys, entry.blob.crc);
}

}  // namespace ashlar
