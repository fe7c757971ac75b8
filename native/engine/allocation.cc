// Taking and giving back blocks. See space.h for what is free, docs/on-disk-format.md for when a
// freed block may be used again.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

Group* PoolImpl::HoldGroup(uint64_t index, Page* leaf) {
  auto& group = groups_[index];
  if (group == nullptr) {
    group = std::make_unique<Group>();
    group->index = index;
    group->leaf = leaf;
    group->start = range_.AddressOf(index, 0);
    group->capacity = range_.Capacity(index);
    ++leaf->pins;
  }
  return group.get();
}

void PoolImpl::DropGroup(Group* group) {
  if (group->busy_count > 0 || group->holders > 0) return;
  --group->leaf->pins;
  groups_.erase(group->index);
}

// --- Where to look ---

// The order in which groups are tried: where there are several regions, in turns by their sizes, so
// that any stretch of the order has its share of each.
void PoolImpl::LayOutGroups() {
  const PhysRange active{regions_, active_regions_};
  alloc_blocks_ = active.Blocks();
  order_.clear();
  uint32_t half = 0;
  data_vdevs_ = 0;
  bool seen[kMaxVdevs] = {};
  for (uint32_t r = 0; r < active_regions_; ++r) {
    const uint32_t vdev = VdevOf(regions_[r].start);
    if (seen[vdev]) continue;
    seen[vdev] = true;
    vdev_half_[vdev] = static_cast<uint8_t>(half++ & 1);
    ++data_vdevs_;
  }
  data_.width = std::min<uint32_t>(data_vdevs_, 8);
  meta_[0].half = 0;
  meta_[1].half = 1;
  for (AllocClass* c : {&data_, &meta_[0], &meta_[1]}) c->exhausted = false;
  if (active_regions_ < 2) return;
  struct Place {
    double at;
    uint32_t group;
  };
  std::vector<Place> places;
  uint32_t group = 0;
  for (uint32_t r = 0; r < active_regions_; ++r) {
    const uint64_t groups = PhysRange::GroupsOf(regions_[r]);
    for (uint64_t i = 0; i < groups; ++i) {
      places.push_back({(static_cast<double>(i) + 0.5) / static_cast<double>(groups), group++});
    }
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const Place& a, const Place& b) { return a.at < b.at; });
  for (const Place& p : places) order_.push_back(p.group);
}

uint64_t PoolImpl::VdevFree(uint32_t vdev) const {
  uint64_t free = 0;
  for (uint32_t r = 0; r < active_regions_; ++r) {
    if (VdevOf(regions_[r].start) == vdev) free += regions_[r].blocks - regions_[r].used;
  }
  return free;
}

void PoolImpl::CountUsed(uint64_t phys, int64_t blocks) {
  bits_used_ += static_cast<uint64_t>(blocks);
  uint32_t r = 0;
  while (r + 1 < range_.count &&
         (phys < regions_[r].start || phys - regions_[r].start >= regions_[r].blocks)) {
    ++r;
  }
  regions_[r].used += static_cast<uint64_t>(blocks);
}

// Whether a group there would let the class draw on one vdev more.
bool PoolImpl::WantsWidth(const AllocClass* c, uint32_t vdev) const {
  if (c->groups.size() >= c->width || VdevFree(vdev) < kGroupBlocks / 16) return false;
  return std::none_of(c->groups.begin(), c->groups.end(),
                      [vdev](const Group* g) { return VdevOf(g->start) == vdev; });
}

bool PoolImpl::WrongHalf(const AllocClass* c, uint32_t vdev) const {
  return data_vdevs_ > 1 && c->half != kAnyHalf && vdev_half_[vdev] != c->half;
}

// Sees to it that the class can give `blocks`. False: not yet (a page is being loaded) or not at
// all (c->exhausted).
bool PoolImpl::EnsureFree(AllocClass* c, uint64_t blocks) {
  const uint64_t total = PhysRange{regions_, active_regions_}.Groups();
  int budget = 512;
  for (;;) {
    const bool enough = c->free_blocks() >= blocks;
    bool widen = false;
    if (enough && c->groups.size() < c->width) {
      for (uint32_t r = 0; r < active_regions_ && !widen; ++r) {
        widen = WantsWidth(c, VdevOf(regions_[r].start));
      }
    }
    if (enough && !widen) return true;
    if (c->exhausted) return enough;
    // First lap: groups with room to be contiguous in, that no other class draws on. Second: any
    // that no other class draws on. Third: what there is, wherever it is.
    if (c->searched >= 3 * total) {
      c->exhausted = true;
      c->searched = 0;
      return enough;
    }
    if (--budget == 0) return enough;
    if (c->search >= total) c->search = 0;
    const uint64_t index = order_.empty() ? c->search : order_[c->search];
    const uint32_t threshold = c->searched < total ? kGroupBlocks / 16 : 1;
    const uint32_t capacity = range_.Capacity(index);
    const uint32_t vdev = VdevOf(range_.AddressOf(index, 0));
    auto skip = [&] {
      c->search = (c->search + 1) % total;
      ++c->searched;
    };
    if (IsLost(index) || std::any_of(c->groups.begin(), c->groups.end(),
                                     [&](Group* g) { return g->index == index; })) {
      skip();
      continue;
    }
    if ((enough && !WantsWidth(c, vdev)) || (c->searched < 2 * total && WrongHalf(c, vdev))) {
      skip();
      continue;
    }
    const auto held = groups_.find(index);
    if (c->searched < 2 * total && held != groups_.end() && held->second->holders > 0) {
      skip();
      continue;
    }
    Page* leaf = cache_.Find(&space_, 0, index);
    if (leaf == nullptr && space_.root.height > 0) {
      // A leaf that is not in memory is as its parent's slot says.
      Page* parent = nullptr;
      Got got = GetPage(&space_, 1, index >> kFanOutBits, nullptr, &parent);
      if (got == Got::kLoading) return enough;
      if (got == Got::kHere) {
        uint64_t used = parent->inner()->slots[index & (kFanOut - 1)].aux;
        if (capacity < used + std::min(threshold, capacity)) {
          skip();
          continue;
        }
      }
    }
    Got got = GetOrCreate(&space_, index, nullptr, &leaf);
    if (got == Got::kLoading) return enough;
    if (got == Got::kBad) {  // Both copies: which of its blocks are free, nobody knows.
      LoseSpace(index);
      skip();
      continue;
    }
    auto known = groups_.find(index);
    uint32_t busy = known == groups_.end() ? 0 : known->second->busy_count;
    if (capacity < leaf->used + busy + std::min(threshold, capacity)) {
      skip();
      continue;
    }
    Group* group = HoldGroup(index, leaf);
    ++group->holders;
    c->groups.push_back(group);
    c->bits.push_back(0);
    c->search = (c->search + 1) % total;
    c->searched = 0;
  }
}

// --- Taking ---

bool PoolImpl::TakeFrom(AllocClass* c, size_t slot, uint32_t want, PhysRun* out) {
  Group* group = c->groups[slot];
  uint32_t start = 0;
  const uint32_t got = group->Take(&c->bits[slot], want, &start);
  if (got == 0) return false;
  *out = {group->start + start, got, group};
  busy_ += got;
  return true;
}

bool PoolImpl::AllocRun(AllocClass* c, uint32_t want, PhysRun* out) {
  while (!c->groups.empty()) {
    Group* group = c->groups.front();
    if (TakeFrom(c, 0, want, out)) {
      c->drawn += out->blocks;
      if (c->width > 1 && c->groups.size() > 1) RotateClass(c);
      return true;
    }
    c->groups.erase(c->groups.begin());
    c->bits.erase(c->bits.begin());
    c->drawn = 0;
    --group->holders;
    DropGroup(group);
  }
  return false;
}

// After a stretch that is longer the more free space the vdev has, the next vdev's group is drawn
// on: all of them fill up together, and a run stays long enough to be written in one go.
void PoolImpl::RotateClass(AllocClass* c) {
  constexpr uint64_t kStretch = 256;
  uint64_t most = 1;
  for (const Group* g : c->groups) most = std::max(most, VdevFree(VdevOf(g->start)));
  const uint64_t free = VdevFree(VdevOf(c->groups.front()->start));
  if (c->drawn < std::max<uint64_t>(kStretch / 16, kStretch * free / most)) return;
  c->drawn = 0;
  std::rotate(c->groups.begin(), c->groups.begin() + 1, c->groups.end());
  std::rotate(c->bits.begin(), c->bits.begin() + 1, c->bits.end());
}

// A block for a page's copy, marked in use at once: this happens inside a cut only. The second copy
// goes to another vdev than the first, as long as one has room (H6). 0: none, which the cut's
// preparation excludes.
uint64_t PoolImpl::AllocMeta(int copy, uint32_t avoid_vdev) {
  PhysRun run;
  if (data_vdevs_ > 1 && avoid_vdev != ~0u) {
    for (AllocClass* c : {&meta_[copy], &meta_[1 - copy], &data_}) {
      for (size_t slot = 0; slot < c->groups.size(); ++slot) {
        if (VdevOf(c->groups[slot]->start) == avoid_vdev || !TakeFrom(c, slot, 1, &run)) continue;
        ApplyAlloc(run);
        ++metadata_blocks_;
        return run.phys;
      }
    }
  }
  for (AllocClass* c : {&meta_[copy], &meta_[1 - copy], &data_}) {
    if (AllocRun(c, 1, &run)) {
      ApplyAlloc(run);
      ++metadata_blocks_;
      return run.phys;
    }
  }
  return 0;
}

void PoolImpl::ApplyAlloc(const PhysRun& run) {
  Touch(run.group->leaf);
  const uint32_t bit = BitOf(run.phys);
  const uint32_t changed = Group::SetBits(run.group->leaf->space_leaf(), bit, run.blocks);
  assert(changed == run.blocks);
  run.group->leaf->used += changed;
  CountUsed(run.phys, changed);
  ReleaseAlloc(run);
}

void PoolImpl::ReleaseAlloc(const PhysRun& run) {
  run.group->ClearBusy(BitOf(run.phys), run.blocks);
  busy_ -= run.blocks;
  DropGroup(run.group);
}

// The bits are free again: a class that has passed them goes back, so that what it counts as free
// is what it can find.
void PoolImpl::Rewind(Group* group, uint32_t bit) {
  for (AllocClass* c : {&data_, &meta_[0], &meta_[1]}) {
    for (size_t slot = 0; slot < c->groups.size(); ++slot) {
      if (c->groups[slot] == group && bit < c->bits[slot]) c->bits[slot] = bit;
    }
    c->exhausted = false;
  }
}

// From now on waiting: the bit stays set until the next superblock but one (S13).
void PoolImpl::FreeRun(uint64_t phys, uint64_t blocks) {
  if (!damage_.empty()) ForgetDamage(phys, blocks);
  pending_blocks_ += blocks;
  if (!lost_.empty() && IsLost(GroupOf(phys))) lost_pending_ += blocks;
  if (!freed_now_.empty()) {
    Run& last = freed_now_.back();
    if (last.phys + last.blocks == phys && last.blocks + blocks <= UINT32_MAX &&
        GroupOf(last.phys) == GroupOf(phys)) {
      last.blocks += blocks;
      return;
    }
  }
  freed_now_.push_back({phys, blocks});
}

// What a checkpoint taken now might need: two blocks for each page, for the space pages it touches
// besides, and for its pending list.
uint64_t PoolImpl::CheckpointNeed() const {
  const uint64_t groups =
      std::min<uint64_t>(GroupCount(), 4 + freed_now_.size() + pending_old_.size());
  // Records, and deadlists: what is on them now and what the placing of pages will add.
  const uint64_t lines =
      10 * dirty_records_.size() + 2 * (dead_now_ + 4 * cache_.dirty_pages()) / kDeadRuns;
  const uint64_t pages = cache_.dirty_pages() + groups + lines + 2 * space_.root.height +
                         (freed_now_.size() + pending_old_.size()) / kPendingRuns + 8;
  return 2 * pages;
}

}  // namespace ashlar
