// Checkpoints. Prepare: load the space map pages that will change. Cut: in one step, without I/O,
// everything dirty gets new addresses and is frozen, and the log position is noted. Then, while
// operations go on: write the frozen pages (children first, each page's checksum goes into its
// parent), flush, superblock at both ends, flush, read back (S4), release what the generation
// before last held (S13).
#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr uint32_t kItemsInFlight = 64;
constexpr uint32_t kItemsAStep = 32;  // At most kLeafEntries: they share a buffer.
constexpr uint8_t kTries = 3;
// Freed blocks come back two superblocks later (S13): a checkpoint in good time, before writes must
// wait for it. Fewer than this many, 32 MiB, are not worth one.
constexpr uint64_t kPendingFloor = 8192;
}  // namespace

bool PoolImpl::CheckpointWanted() const {
  return want_checkpoint_ || !checkpoint_waiters_.empty() || !waiting_controls_.empty() ||
         cache_.dirty_pages() >= soft_dirty_ ||
         next_sequence_ - cut_sequence_ > sb_.log_blocks / 4 || freed_now_.size() > (1u << 18) ||
         pending_blocks_ - lost_pending_ > std::max<uint64_t>(kPendingFloor, FreeNow() / 4);
}

void PoolImpl::StepCheckpoint() {
  if (Faulted()) return;
  if (stage_ == CheckpointStage::kIdle && CheckpointWanted()) {
    want_checkpoint_ = false;
    std::sort(pending_old_.begin(), pending_old_.end(),
              [](const Run& a, const Run& b) { return a.phys < b.phys; });
    stage_ = CheckpointStage::kPrepare;
  }
  if (stage_ == CheckpointStage::kPrepare &&
      (BetweenBlocks() || Mutated(Mutant::kCutInsideBlock)) && PrepareCheckpoint()) {
    Cut();
  }
  if (stage_ == CheckpointStage::kWrite && !Faulted()) WriteItems();
}

// True when the cut can be made without waiting. Groups are bounded, so that a pool of any size
// clears its pending frees within the cache; what is left over stays pending for the next.
bool PoolImpl::PrepareCheckpoint() {
  const size_t max_groups = std::max<size_t>(16, cache_.capacity() / 16);
  bool loading = false;
  uint64_t last = ~0ull;
  for (const Run& run : pending_old_) {
    const uint64_t group = GroupOf(run.phys);
    if (group == last) continue;
    last = group;
    if (prepared_.count(group) != 0 || IsLost(group)) continue;
    if (prepared_.size() >= max_groups) break;
    Page* leaf = nullptr;
    Got got = GetPage(&space_, 0, group, nullptr, &leaf);
    loading |= got == Got::kLoading;
    if (got == Got::kBad) LoseSpace(group);
    if (got != Got::kHere) continue;
    ++leaf->pins;
    prepared_[group] = leaf;
  }
  if (!PrepareLines() || loading || rebuild_wanted_) return false;
  const uint64_t need = CheckpointNeed() + 2 * prepared_.size();
  for (AllocClass* c : {&meta_[0], &meta_[1]}) {
    if (!EnsureFree(c, need / 2 + 1) && !c->exhausted) return false;
  }
  // Where groups are scarce the classes share them, and each counts the same blocks: what the cut
  // can draw on in all is what must suffice.
  for (AllocClass* c : {&meta_[0], &meta_[1]}) {
    for (uint64_t room = RoomForPages(); room < need && !c->exhausted; room = RoomForPages()) {
      if (!EnsureFree(c, c->free_blocks() + need - room) && !c->exhausted) return false;
    }
  }
  return !rebuild_wanted_;
}

// Blocks that AllocMeta can find, each counted once.
uint64_t PoolImpl::RoomForPages() const {
  std::vector<const Group*> groups;
  for (const AllocClass* c : {&meta_[0], &meta_[1], &data_}) {
    groups.insert(groups.end(), c->groups.begin(), c->groups.end());
  }
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  uint64_t room = 0;
  for (const Group* group : groups) room += group->free_blocks();
  return room;
}

void PoolImpl::Cut() {
  ++cuts_;
  carried_.clear();
  for (const Run& run : pending_old_) {
    auto it = prepared_.find(GroupOf(run.phys));
    if (it == prepared_.end()) {
      carried_.push_back(run);
      continue;
    }
    Page* leaf = it->second;
    Touch(leaf);
    const auto blocks = static_cast<uint32_t>(run.blocks);
    const uint32_t cleared = Group::ClearBits(leaf->space_leaf(), BitOf(run.phys), blocks);
    // Two places named the block, or one that the space map calls free.
    if (cleared != blocks) return Fault("the metadata contradict each other: a block freed twice");
    leaf->used -= cleared;
    CountUsed(run.phys, -int64_t{cleared});
    if (Mutated(Mutant::kReuseEarly)) {
      pending_blocks_ -= blocks;
      continue;
    }
    HoldGroup(it->first, leaf)->SetBusy(BitOf(run.phys), blocks);
    busy_ += blocks;
    pending_blocks_ -= blocks;
    releasing_.push_back(run);
    releasing_count_ += blocks;
  }
  for (auto& [group, leaf] : prepared_) --leaf->pins;
  prepared_.clear();
  for (uint64_t addr : pending_pages_) {
    FreeRun(addr, 1);
    --metadata_blocks_;
  }
  DropEmptyPages();
  // From here on records only change inside: what is written of them is filled in at the end.
  for (VolumeState* v : cut_records_) {
    v->dirty = true;
    Touch(v->record);
  }
  const size_t records = dirty_records_.size();
  items_.clear();
  bool placed = AssignAddresses();
  for (VolumeState* v : cut_records_) placed = placed && AppendDead(v->dead.get());
  placed = placed && AssignAddresses();
  for (VolumeState* v : cut_records_) FillRecord(v);
  if (!placed || !PlacePending()) {
    no_room_ = true;
    return Fault("no space left to write a checkpoint");
  }
  // Placing pages changed a record that the preparation did not know of: a block of somebody
  // else's.
  if (dirty_records_.size() != records) {
    return Fault("the metadata contradict each other: a page of another volume");
  }
  dirty_records_.clear();
  for (VolumeState* v : cut_records_) {
    v->dirty = false;
    if (v->kind == RecordKind::kVolume) {
      v->cut.swap(v->pending);
      v->pending.clear();
      v->map.barrier = 0;
    } else if (v->dead->tail != nullptr) {
      --v->dead->tail->pins;  // Closed: nothing is appended any more.
      v->dead->tail = nullptr;
    }
  }
  for (CheckpointItem& item : items_) {
    item.page->assigned = false;
    item.page->in_checkpoint = true;
    item.parent = item.page->parent;
    item.ptr = *LiveSlot(item.page);
    // A list may have another owner by the time that its root is written.
    if (item.parent == nullptr && item.tree->owner != nullptr)
      item.record = item.tree->owner->record;
  }
  // The catalog's records carry the roots of the volumes' trees: they come after them. Of what may
  // go together, neighbours on the medium: they are written in one request.
  std::sort(items_.begin(), items_.end(), [](const CheckpointItem& a, const CheckpointItem& b) {
    if (a.rank != b.rank) return a.rank < b.rank;
    if (a.level != b.level) return a.level < b.level;
    return a.ptr.addr[0] < b.ptr.addr[0];
  });
  items_next_ = 0;
  sb_next_ = sb_;
  sb_next_.generation = generation_;
  if (!lost_.empty()) {
    sb_next_.compatible_features |= kFeatureSpaceLost;
  } else {
    sb_next_.compatible_features &= ~kFeatureSpaceLost;
  }
  if (space_guessed_) {
    sb_next_.compatible_features |= kFeatureSpaceGuessed;
  } else {
    sb_next_.compatible_features &= ~kFeatureSpaceGuessed;
  }
  sb_next_.log_sequence = cut_sequence_ = apply_sequence_;
  sb_next_.log_predecessor_crc = apply_crc_;
  sb_next_.log_opening = opening_;
  sb_next_.catalog = catalog_.root;
  sb_next_.space = space_.root;
  sb_next_.pending = pending_.root;
  sb_next_.blobs = pool_blobs_.tree.root;
  sb_next_.next_tree = next_tree_;
  sb_next_.metadata_blocks = metadata_blocks_;
  sb_next_.pending_runs = pending_next_.size();
  sb_next_.pending_blocks = pending_blocks_;
  std::copy(std::begin(regions_), std::end(regions_), std::begin(sb_next_.regions));
  sb_next_.region_count = range_.count;
  sb_next_.growth_limit_percent = growth_limit_;
  sb_next_.scrub = KeptRecord(scrub_);
  sb_next_.resilver = KeptRecord(resilver_);
  sb_next_.rebalance = KeptRecord(rebalance_);
  sb_next_.size_blocks = 0;
  for (uint32_t v = 0; v < devices_.vdevs().size(); ++v) {
    if (!devices_.vdevs()[v].sides.empty()) sb_next_.size_blocks += devices_.VdevBlocks(v);
  }
  ++generation_;
  stage_ = CheckpointStage::kWrite;
}

// Nothing in it, or one hole all of it: its pointer can say that (W6).
bool PoolImpl::PageIsEmpty(Page* page, PagePtr* hole) const {
  *hole = PagePtr{};
  if (page->children > 0 || page->pins > 0) return false;
  // An image of a snapshot's own stays what it is.
  const VolumeState* owner = page->tree->owner;
  if (owner != nullptr && owner->kind == RecordKind::kSnapshot && page->tree->role == Role::kMap) {
    return false;
  }
  if (page->level > 0) {
    const PagePtr* slots = page->inner()->slots;
    *hole = HoleOf(slots[0]);
    return std::all_of(slots, slots + kFanOut, [hole](const PagePtr& p) {
      return p.null() && p.max_version == hole->max_version && HoleOf(p).born == hole->born;
    });
  }
  switch (page->tree->role) {
    case Role::kMap: {
      if (page->used + page->holes == 0) return true;
      if (page->holes < kLeafEntries) return false;
      const MapLeaf* leaf = page->map_leaf();
      hole->max_version = leaf->version[0];
      hole->born = leaf->born[0];
      bool same = true;
      for (uint32_t e = 1; e < kLeafEntries; ++e) {
        same &= leaf->version[e] == hole->max_version && leaf->born[e] == hole->born;
      }
      return same;
    }
    case Role::kSpace:
      return page->used == 0;
    case Role::kBlob:
      return reinterpret_cast<const BlobLeaf*>(page->data)->bytes == 0;
    case Role::kDead:
      return page->used == 0;
    default:
      return false;
  }
}

// Pages that hold nothing any more leave their trees, leaves first. Those somebody is about to
// write to stay.
void PoolImpl::DropEmptyPages() {
  for (uint32_t level = 0; level <= kMaxHeight; ++level) {
    Page* next = nullptr;
    for (Page* page = cache_.dirty_head(); page != nullptr; page = next) {
      next = page->dirty_next;
      // Dropping one may put its parent at the list's head: never in between.
      PagePtr hole;
      if (page->level == level && PageIsEmpty(page, &hole)) DropPage(page, hole);
    }
  }
}

// The record as of the cut. Roots have their addresses; what is not known of them yet is put here
// when they are written.
void PoolImpl::FillRecord(VolumeState* v) {
  auto* leaf = reinterpret_cast<CatalogLeaf*>(v->record->data);
  const PageHeader kept = leaf->header;
  *leaf = CatalogLeaf{};
  leaf->header = kept;
  leaf->kind = v->kind;
  leaf->state = v->state;
  leaf->name_bytes = static_cast<uint16_t>(v->name.size());
  leaf->flags = v->recount ? kRecordRecount : 0;
  leaf->id = v->id;
  leaf->tree = v->tree;
  leaf->size_blocks = v->size_blocks;
  leaf->mapped_blocks = v->mapped;
  leaf->version = v->version;
  leaf->hole_floor = v->hole_floor;
  leaf->created_generation = v->created_generation;
  leaf->origin_tree = v->origin_tree;
  leaf->map = v->map.root;
  leaf->blobs = v->blobs.tree.root;
  std::memcpy(leaf->name, v->name.data(), v->name.size());
  v->progress.Save(&leaf->progress);
  LineRecord& line = leaf->line;
  line.head_tree = v->head_tree;
  line.map_tree = v->map.id;
  line.birth = v->birth;
  line.origin_birth = v->origin_birth;
  line.version_base = v->version_base;
  line.created_ms = v->created_ms;
  line.written = v->written;
  line.unique = v->unique;
  line.unique_data = v->unique_data;
  line.inherited = v->inherited;
  line.dead_tree = v->dead->tree.id;
  line.dead_leaves = v->dead->leaves;
  line.dead_blocks = v->dead->blocks;
  line.rollback_version = v->rollback_version;
  line.dead = v->dead->tree.root;
}

// Gives every dirty page its two places. That sets bits in space pages, which may make more pages
// dirty: until there are none. False: no space.
bool PoolImpl::AssignAddresses() {
  while (Page* page = cache_.dirty_head()) {
    cache_.RemoveDirty(page);
    page->assigned = true;
    const uint64_t first = AllocMeta(0);
    const uint64_t second = first == 0 ? 0 : AllocMeta(1, VdevOf(first));
    if (second == 0) return false;
    if (page->grows) --unplaced_pages_;
    PagePtr fresh;
    fresh.addr[0] = first;
    fresh.addr[1] = second;
    VolumeState* owner = page->tree->owner;
    const bool map = page->tree->role == Role::kMap && owner != nullptr;
    if (map && owner->kind == RecordKind::kSnapshot) {
      fresh.born = page->birth;
      PlacePreserved(page, fresh);
    } else {
      const bool shared = map && page->birth <= page->tree->barrier;
      fresh.born = shared ? page->birth : generation_;
      PagePtr* slot = LiveSlot(page);
      if (!slot->null()) RetirePage(page->tree, *slot, page->since);
      *slot = fresh;
      if (shared) PlaceShared(page, fresh);
    }
    CheckpointItem item;
    item.page = page;
    item.tree = page->tree;
    item.level = page->level;
    item.index = page->index;
    item.rank = page->tree == &catalog_ ? 1 : 0;
    items_.push_back(item);
  }
  return true;
}

// The list of pending frees is written whole, into a new tree. Placing its pages may free a few
// more.
bool PoolImpl::PlacePending() {
  pending_.root = TreeRoot{};
  pending_.root_page = nullptr;
  uint64_t leaves = (carried_.size() + freed_now_.size() + 64) / kPendingRuns + 1;
  pending_.root.height = HeightFor(leaves * 2);
  std::vector<Page*> pages;
  while (pages.size() < leaves) {
    Page* page = nullptr;
    if (GetOrCreate(&pending_, pages.size(), nullptr, &page) != Got::kHere) return false;
    ++page->pins;
    pages.push_back(page);
    MarkDirty(page);
    if (!AssignAddresses()) return false;
    leaves = std::max<uint64_t>(leaves, (carried_.size() + freed_now_.size()) / kPendingRuns + 1);
    if (leaves > LeafSpan(pending_.root.height)) return false;
  }
  pending_next_ = carried_;
  pending_next_.insert(pending_next_.end(), freed_now_.begin(), freed_now_.end());
  freed_now_.clear();
  for (size_t i = 0; i < pending_next_.size(); ++i) {
    auto* leaf = reinterpret_cast<PendingLeaf*>(pages[i / kPendingRuns]->data);
    leaf->phys[leaf->count] = pending_next_[i].phys;
    leaf->blocks[leaf->count] = static_cast<uint32_t>(pending_next_[i].blocks);
    ++leaf->count;
  }
  pending_pages_next_.clear();
  for (const CheckpointItem& item : items_) {
    if (item.tree != &pending_) continue;
    if (item.level > 0) ++item.page->pins;  // Until the checkpoint is done with the tree.
    pending_pages_next_.push_back(LiveSlot(item.page)->addr[0]);
    pending_pages_next_.push_back(LiveSlot(item.page)->addr[1]);
  }
  return true;
}

// --- Writing ---

bool PoolImpl::MoreItems() const {
  return items_next_ < items_.size() && items_in_flight_ + kItemsAStep <= kItemsInFlight;
}

// A page is 4 KiB and there may be two for each block written: one by one they would cost the
// medium more requests than the data. So their images are put side by side, and those whose places
// are neighbours go in one request.
void PoolImpl::WriteItems() {
  if (!MoreItems()) return;
  CheckpointItem* first = &items_[items_next_];
  const auto count =
      static_cast<uint32_t>(std::min<size_t>(kItemsAStep, items_.size() - items_next_));
  first->buffer = TakeBuffer();
  first->left = count;
  for (uint32_t i = 0; i < count; ++i) {
    CheckpointItem* item = first + i;
    SerializeItem(item);
    std::memcpy(first->buffer + i * kBlockBytes, item->page->image(), kBlockBytes);
    item->place = i;
    item->copies_left = 2;
  }
  items_next_ += count;
  items_in_flight_ += count;
  for (const int copy : {0, 1}) SendItems(first, count, copy);
}

void PoolImpl::SendItems(CheckpointItem* first, uint32_t count, int copy) {
  for (uint32_t at = 0; at < count;) {
    CheckpointItem* item = first + at;
    const uint64_t addr = item->ptr.addr[copy];
    uint32_t n = 1;
    while (at + n < count && item[n].ptr.addr[copy] == addr + n) ++n;
    SubmitIo(IoKind::kWrite, addr, n, (item - item->place)->buffer + item->place * kBlockBytes,
             item, &PoolImpl::ItemIoDone, static_cast<uint32_t>(copy));
    at += n;
  }
}

// Everything below the page is written or on its way: its sums and its checksum can be made.
void PoolImpl::SerializeItem(CheckpointItem* item) {
  Page* page = item->page;
  uint8_t* image = page->image();
  item->ptr.aux = item->ptr.max_version = 0;
  if (page->level > 0) {
    for (const PagePtr& slot : reinterpret_cast<const InnerPage*>(image)->slots) {
      item->ptr.aux += slot.aux;
      item->ptr.max_version = std::max(item->ptr.max_version, slot.max_version);
    }
  } else if (item->tree->role == Role::kMap) {
    const auto* leaf = reinterpret_cast<const MapLeaf*>(image);
    for (uint32_t i = 0; i < kLeafEntries; ++i) {
      item->ptr.aux += leaf->kind[i] == kEntryData;
      item->ptr.max_version = std::max(item->ptr.max_version, leaf->version[i]);
    }
  } else if (item->tree->role == Role::kSpace) {
    for (uint64_t word : reinterpret_cast<const SpaceLeaf*>(image)->words) {
      item->ptr.aux += static_cast<uint32_t>(__builtin_popcountll(word));
    }
  } else if (item->tree->role == Role::kDead) {
    const auto* leaf = reinterpret_cast<const DeadLeaf*>(image);
    for (uint32_t i = 0; i < leaf->count; ++i) {
      item->ptr.aux += leaf->blocks[i] & ~kDeadPages;
      item->ptr.max_version = std::max(item->ptr.max_version, leaf->born[i]);
    }
  }
  const PageIdentity identity{sb_.store_id, item->tree->role, page->level, item->tree->id,
                              page->index};
  WriteHeader(image, identity, item->ptr.born);
  item->ptr.crc = Crc32c(image, kBlockBytes);
  PatchSlot(item);
}

// Into the parent's image of the cut, and into the live one if it still means this page.
void PoolImpl::PatchSlot(CheckpointItem* item) {
  Page* page = item->page;
  const uint32_t slot = page->slot();
  if (item->parent != nullptr) {
    reinterpret_cast<InnerPage*>(item->parent->image())->slots[slot] = item->ptr;
  } else if (item->tree == &catalog_) {
    sb_next_.catalog.ptr = item->ptr;
  } else if (item->tree == &space_) {
    sb_next_.space.ptr = item->ptr;
  } else if (item->tree == &pending_) {
    sb_next_.pending.ptr = item->ptr;
  } else if (item->tree == &pool_blobs_.tree) {
    sb_next_.blobs.ptr = item->ptr;
  } else {
    auto* record = reinterpret_cast<CatalogLeaf*>(item->record->image());
    TreeRoot* root = item->tree->role == Role::kMap    ? &record->map
                     : item->tree->role == Role::kBlob ? &record->blobs
                                                       : &record->line.dead;
    root->ptr = item->ptr;
  }
  if (item->tree->role == Role::kMap) PatchShared(item);
  if (page->orphan) return;
  PagePtr* live = LiveSlot(page);
  if (live->addr[0] == item->ptr.addr[0]) *live = item->ptr;
}

void PoolImpl::ItemIoDone(EngineIo* io) {
  auto* first = static_cast<CheckpointItem*>(io->owner);
  const uint32_t count = io->request.bytes / kBlockBytes;
  const auto copy = static_cast<int>(io->first);
  const bool good = io->request.result == 0;
  if (!good) {
    ++io_errors_;
    if (++io->tries < kTries && !Faulted()) return Resubmit(io);
  }
  FreeIo(io);
  if (!good && count > 1 && !Faulted()) {
    // One bad place is not to take its neighbours with it.
    for (uint32_t i = 0; i < count; ++i) SendItems(first + i, 1, copy);
    return;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (good) ++first[i].copies_good;
    if (--first[i].copies_left == 0) ItemWritten(first + i);
  }
  if (Faulted() || items_next_ < items_.size() || items_in_flight_ > 0) return;
  stage_ = CheckpointStage::kFlush;
  if (Mutated(Mutant::kSuperblockWithoutFlush)) return CheckpointFlushed(nullptr, Status::kOk);
  RequestFlush(&PoolImpl::CheckpointFlushed, nullptr);
}

// Both copies have ended.
void PoolImpl::ItemWritten(CheckpointItem* item) {
  --items_in_flight_;
  CheckpointItem* leader = item - item->place;
  if (--leader->left == 0) {
    ReleaseBuffer(leader->buffer);
    leader->buffer = nullptr;
  }
  Page* page = item->page;
  page->in_checkpoint = false;
  if (page->orphan) {
    cache_.Free(page);
  } else if (page->frozen != nullptr) {
    cache_.ReleaseFrame(page->frozen);
    page->frozen = nullptr;
  }
  // One copy that could not be written leaves the other (H6).
  if (item->copies_good == 0) Fault("a metadata page could not be written");
}

// Every device that is written to gets the superblock, at both ends.
void PoolImpl::CheckpointFlushed(void*, Status status) {
  if (status != Status::kOk) return;
  stage_ = CheckpointStage::kSuper;
  SealSuperblock(&sb_next_);
  std::memcpy(sb_buffer_, &sb_next_, sizeof sb_next_);
  sb_ios_ = 1;  // Not to end before the last one is out.
  sb_good_ = sb_asked_ = 0;
  for (uint16_t d = 0; d < devices_.devices().size(); ++d) {
    const DeviceSet::Device* device = devices_.device(d);
    if (device == nullptr || !device->Writable()) continue;
    sb_asked_ |= uint64_t{1} << d;
    for (const bool back : {false, true}) {
      ++sb_ios_;
      SubmitToDevice(d, IoKind::kWrite,
                     SuperPlace(sb_next_.generation, back, device->record.size_blocks), 1,
                     sb_buffer_, nullptr, &PoolImpl::SuperIoDone);
    }
  }
  SuperStep();
}

void PoolImpl::SuperIoDone(EngineIo* io) {
  if (io->request.result != 0) {
    ++io_errors_;
    const DeviceSet::Device* device = devices_.device(io->device);
    if (++io->tries < kTries && !Faulted() && device != nullptr && device->Writable()) {
      return Resubmit(io);
    }
  } else {
    sb_good_ |= uint64_t{1} << io->device;
  }
  FreeIo(io);
  SuperStep();
}

// A device that has neither copy is out of its mirror; if it is alone, the pool is.
bool PoolImpl::SupersSuffice(const char* what) {
  for (uint16_t d = 0; d < devices_.devices().size(); ++d) {
    const uint64_t bit = uint64_t{1} << d;
    if ((sb_asked_ & bit) == 0 || (sb_good_ & bit) != 0) continue;
    const DeviceSet::Device* device = devices_.device(d);
    if (device == nullptr || !device->Writable()) continue;
    const std::string name = devices_.DeviceCount() > 1 ? " on " + devices_.Describe(*device) : "";
    if (devices_.TakeOut(d, DeviceState::kFaulted, std::string(what))) continue;
    Fault(std::string(what) + name);
    return false;
  }
  return true;
}

void PoolImpl::SuperStep() {
  if (--sb_ios_ > 0 || Faulted()) return;
  if (stage_ == CheckpointStage::kSuper) {
    if (!SupersSuffice("the superblock could not be written")) return;
    stage_ = CheckpointStage::kSuperFlush;
    RequestFlush(&PoolImpl::SuperFlushed, nullptr);
  } else {
    if (!SupersSuffice("the superblock was written but does not read back")) return;
    if (checkpoint_holds_ > 0) {
      finish_waiting_ = true;
    } else {
      FinishCheckpoint();
    }
  }
}

void PoolImpl::SuperFlushed(void*, Status status) {
  if (status != Status::kOk) return;
  stage_ = CheckpointStage::kReadBack;
  sb_ios_ = 1;
  const uint64_t written = sb_good_;  // Not those that have joined since.
  sb_good_ = sb_asked_ = 0;
  while (readback_.size() < 2 * devices_.devices().size()) {
    auto* buffer = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
    if (buffer == nullptr) std::abort();
    readback_.push_back(buffer);
  }
  for (uint16_t d = 0; d < devices_.devices().size(); ++d) {
    const DeviceSet::Device* device = devices_.device(d);
    if (device == nullptr || !device->Writable() || (written >> d & 1) == 0) continue;
    sb_asked_ |= uint64_t{1} << d;
    for (const bool back : {false, true}) {
      ++sb_ios_;
      uint8_t* buffer = readback_[2 * d + (back ? 1 : 0)];
      SubmitToDevice(d, IoKind::kRead,
                     SuperPlace(sb_next_.generation, back, device->record.size_blocks), 1, buffer,
                     buffer, &PoolImpl::ReadBackDone);
    }
  }
  SuperStep();
}

void PoolImpl::ReadBackDone(EngineIo* io) {
  if (io->request.result != 0) {
    ++io_errors_;
  } else if (std::memcmp(io->owner, sb_buffer_, kBlockBytes) != 0) {
    ++checksum_errors_;
  } else {
    sb_good_ |= uint64_t{1} << io->device;
  }
  FreeIo(io);
  SuperStep();
}

void PoolImpl::FinishCheckpoint() {
  log_tail_ = sb_.log_sequence;
  sb_ = sb_next_;
  devices_.set_durable_generation(sb_.generation);
  ++checkpoints_;
  for (const Run& run : releasing_) {
    Group* group = groups_[GroupOf(run.phys)].get();
    const uint32_t bit = BitOf(run.phys);
    group->ClearBusy(bit, static_cast<uint32_t>(run.blocks));
    busy_ -= run.blocks;
    Rewind(group, bit);
    DropGroup(group);
  }
  releasing_.clear();
  releasing_count_ = 0;
  pending_old_.swap(pending_next_);
  pending_next_.clear();
  pending_pages_.swap(pending_pages_next_);
  for (const CheckpointItem& item : items_) {
    if (item.tree != &pending_) continue;
    --item.page->pins;
    cache_.Remove(item.page);  // Leaves come before their parents.
  }
  items_.clear();
  for (VolumeState* s : fresh_) s->supers = 2;
  fresh_.clear();
  for (VolumeState* v : cut_records_) {
    if (v->kind == RecordKind::kVolume) {
      for (VolumeState* s : v->cut) s->supers = 1;
      fresh_.insert(fresh_.end(), v->cut.begin(), v->cut.end());
      v->cut.clear();
      continue;
    }
    --v->record->pins;
    v->record = nullptr;
  }
  cut_records_.clear();
  stage_ = CheckpointStage::kIdle;
  ActivateRegions();
  ServeParked();
  StartWaitingControls();
  std::vector<CheckpointWaiter> later;
  for (const CheckpointWaiter& w : checkpoint_waiters_) {
    if (w.cut > cuts_) {
      later.push_back(w);
      continue;
    }
    if (w.close) state_ = PoolState::kClosed;
    CompleteControl(w.done, w.context, Status::kOk);
  }
  checkpoint_waiters_.swap(later);
}

// --- Asked for ---

void PoolImpl::Checkpoint(DoneFn done, void* context) {
  Enter();
  Status status = Status::kOk;
  if (Faulted()) {
    status = Status::kIoError;
  } else if (state_ == PoolState::kClosed || closing_) {
    status = Status::kOffline;
  } else if (options_.read_only) {
    status = Status::kReadOnly;
  }
  if (status == Status::kOk) {
    checkpoint_waiters_.push_back({cuts_ + 1, done, context, false});
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::Close(DoneFn done, void* context) {
  Enter();
  if (Faulted()) {
    CompleteControl(done, context, Status::kIoError);
  } else if (state_ == PoolState::kClosed || closing_) {
    CompleteControl(done, context, Status::kOffline);
  } else if (options_.read_only) {
    state_ = PoolState::kClosed;
    CompleteControl(done, context, Status::kOk);
  } else {
    closing_ = true;
    close_done_ = done;
    close_context_ = context;
  }
  Leave();
}

// What is asked goes on over many polls; a pool that ends answers no more.
void PoolImpl::EndQuestions(Status status) {
  for (const MapStatusOp& m : map_status_) CompleteControl(m.done, m.context, status);
  map_status_.clear();
  for (const DiffOp& d : diffs_) CompleteControl(d.done, d.context, status);
  diffs_.clear();
  for (const ChangedOp& c : changed_) CompleteControl(c.done, c.context, status);
  changed_.clear();
}

void PoolImpl::StepClose() {
  if (!closing_ || close_started_ || Faulted()) return;
  if (in_flight_ops_ > 0 || log_head_ != nullptr || stage_ != CheckpointStage::kIdle) return;
  close_started_ = true;
  EndQuestions(Status::kOffline);
  for (const auto& [name, v] : by_name_) {
    // It goes on at the next opening.
    if (v->rolled_done != nullptr) {
      CompleteControl(v->rolled_done, v->rolled_context, Status::kOffline);
    }
    v->rolled_done = nullptr;
  }
  checkpoint_waiters_.push_back({cuts_ + 1, close_done_, close_context_, true});
}

}  // namespace ashlar
