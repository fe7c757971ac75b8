// Taking and giving back blocks. See space.h for what is free, docs/on-disk-format.md for when a
// freed block may be used again.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

uint32_t PoolImpl::GroupCapacity(uint64_t index) const {
  return static_cast<uint32_t>(
      std::min<uint64_t>(kGroupBlocks, sb_.alloc_blocks - index * kGroupBlocks));
}

Group* PoolImpl::HoldGroup(uint64_t index, Page* leaf) {
  auto& group = groups_[index];
  if (group == nullptr) {
    group = std::make_unique<Group>();
    group->index = index;
    group->leaf = leaf;
    group->capacity = GroupCapacity(index);
    ++leaf->pins;
  }
  return group.get();
}

void PoolImpl::DropGroup(Group* group) {
  if (group->busy_count > 0 || group->holders > 0) return;
  --group->leaf->pins;
  groups_.erase(group->index);
}

// Sees to it that the class can give `blocks`. False: not yet (a page is being loaded) or not at
// all (c->exhausted).
bool PoolImpl::EnsureFree(AllocClass* c, uint64_t blocks) {
  const uint64_t total = GroupCount();
  int budget = 512;
  while (c->free_blocks() < blocks) {
    if (c->exhausted) return false;
    // First lap: groups with room to be contiguous in, that no other class draws on. Second: any
    // that no other class draws on. Third: what there is.
    if (c->searched >= 3 * total) {
      c->exhausted = true;
      c->searched = 0;
      return false;
    }
    if (--budget == 0) return false;
    const uint64_t index = c->search;
    const uint32_t threshold = c->searched < total ? kGroupBlocks / 16 : 1;
    const uint32_t capacity = GroupCapacity(index);
    auto skip = [&] {
      c->search = (index + 1) % total;
      ++c->searched;
    };
    if (std::any_of(c->groups.begin(), c->groups.end(),
                    [&](Group* g) { return g->index == index; })) {
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
      if (got == Got::kLoading) return false;
      if (got == Got::kHere) {
        uint64_t used = parent->inner()->slots[index & (kFanOut - 1)].aux;
        if (capacity < used + std::min(threshold, capacity)) {
          skip();
          continue;
        }
      }
    }
    Got got = GetOrCreate(&space_, index, nullptr, &leaf);
    if (got == Got::kLoading) return false;
    auto known = groups_.find(index);
    uint32_t busy = known == groups_.end() ? 0 : known->second->busy_count;
    if (capacity < leaf->used + busy + std::min(threshold, capacity)) {
      skip();
      continue;
    }
    Group* group = HoldGroup(index, leaf);
    ++group->holders;
    if (c->groups.empty()) c->bit = 0;
    c->groups.push_back(group);
    c->search = (index + 1) % total;
    c->searched = 0;
  }
  return true;
}

bool PoolImpl::AllocRun(AllocClass* c, uint32_t want, PhysRun* out) {
  while (!c->groups.empty()) {
    Group* group = c->groups.front();
    uint32_t start = 0;
    uint32_t got = group->Take(&c->bit, want, &start);
    if (got > 0) {
      *out = {sb_.alloc_start + group->index * kGroupBlocks + start, got, group};
      busy_ += got;
      return true;
    }
    c->groups.erase(c->groups.begin());
    c->bit = 0;
    --group->holders;
    DropGroup(group);
  }
  return false;
}

// A block for a page's copy, marked in use at once: this happens inside a cut only. 0: none, which
// the cut's preparation excludes.
uint64_t PoolImpl::AllocMeta(int copy) {
  PhysRun run;
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
  uint32_t changed = Group::SetBits(run.group->leaf->space_leaf(), bit, run.blocks);
  assert(changed == run.blocks);
  run.group->leaf->used += changed;
  bits_used_ += changed;
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
    if (!c->groups.empty() && c->groups.front() == group && bit < c->bit) c->bit = bit;
    c->exhausted = false;
  }
}

// From now on waiting: the bit stays set until the next superblock but one (S13).
void PoolImpl::FreeRun(uint64_t phys, uint64_t blocks) {
  pending_blocks_ += blocks;
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
  const uint64_t pages = cache_.dirty_pages() + groups + 2 * space_.root.height +
                         (freed_now_.size() + pending_old_.size()) / kPendingRuns + 8;
  return 2 * pages;
}

}  // namespace ashlar
