// Pages of trees: found in the cache, loaded from either copy (H6), made, marked dirty, dropped.
// What a snapshot shares with its head is versions.cc's.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

PoolImpl::Got PoolImpl::GetPage(Tree* tree, uint32_t level, uint64_t index, Waiter* waiter,
                                Page** page) {
  Page* at = cache_.Find(tree, level, index);
  if (at != nullptr && at->bad) {
    if (waiter == nullptr) return Got::kBad;
    cache_.Remove(at);
    at = nullptr;
  }
  if (at == nullptr) {
    // The nearest ancestor in memory says where the next page down is.
    uint32_t l = level + 1;
    for (; l <= tree->root.height; ++l) {
      at = cache_.Find(tree, l, index >> (kFanOutBits * (l - level)));
      if (at == nullptr) continue;
      if (!at->bad) break;
      if (waiter == nullptr) return Got::kBad;
      cache_.Remove(at);
      at = nullptr;
    }
    if (at == nullptr) {
      if (tree->root.ptr.null() || level > tree->root.height) return Got::kNull;
      at = cache_.Create(tree, tree->root.height, 0, nullptr);
      StartLoad(at, tree->root.ptr);
    } else if (!at->loading) {
      uint64_t child = index >> (kFanOutBits * (l - 1 - level));
      const PagePtr ptr = at->inner()->slots[child & (kFanOut - 1)];
      if (ptr.null()) return Got::kNull;
      at = cache_.Create(tree, l - 1, child, at);
      StartLoad(at, ptr);
    }
  } else if (!at->loading) {
    at->referenced = true;
    if (level == 0 && tree->share != nullptr) ++tree->share->hits;
    *page = at;
    return Got::kHere;
  }
  if (waiter != nullptr) {
    waiter->next_waiter = nullptr;
    (at->waiters_tail != nullptr ? at->waiters_tail->next_waiter : at->waiters) = waiter;
    at->waiters_tail = waiter;
  }
  ++loads_awaited_;
  return Got::kLoading;
}

PoolImpl::Got PoolImpl::GetOrCreate(Tree* tree, uint64_t index, Waiter* waiter, Page** page) {
  Got got = GetPage(tree, 0, index, waiter, page);
  if (got != Got::kNull) return got;
  *page = MakePath(tree, 0, index);
  return Got::kHere;
}

// A page that is not there, and what is missing above it. Clean and empty until something is
// written there: evicted before that, it was never made. Below a hole (W6) it is full of it.
Page* PoolImpl::MakePath(Tree* tree, uint32_t to_level, uint64_t index) {
  Page* parent = nullptr;
  for (uint32_t level = tree->root.height;; --level) {
    const uint64_t i = index >> (kFanOutBits * (level - to_level));
    Page* at = cache_.Find(tree, level, i);
    if (at == nullptr) {
      const PagePtr* ptr =
          parent == nullptr ? &tree->root.ptr : &parent->inner()->slots[i & (kFanOut - 1)];
      const PagePtr hole = tree->role == Role::kMap ? HoleOf(*ptr) : PagePtr{};
      at = cache_.Create(tree, level, i, parent);
      if (hole.max_version != 0 && level > 0) {
        std::fill_n(at->inner()->slots, kFanOut, hole);
      } else if (hole.max_version != 0) {
        std::fill_n(at->map_leaf()->kind, kLeafEntries, static_cast<uint8_t>(kEntryHole));
        std::fill_n(at->map_leaf()->version, kLeafEntries, hole.max_version);
        std::fill_n(at->map_leaf()->born, kLeafEntries, hole.born);
        at->holes = kLeafEntries;
      }
    }
    if (level == to_level) return at;
    parent = at;
  }
}

// What a null pointer says of what is below it.
PagePtr PoolImpl::HoleOf(const PagePtr& ptr) {
  PagePtr hole;
  hole.max_version = ptr.max_version;
  hole.born = ptr.max_version == 0 ? 0 : ptr.born;
  return hole;
}

// The version of the hole that a leaf which is not there is part of. 0: none.
uint64_t PoolImpl::NullVersion(Tree* tree, uint64_t leaf) {
  for (uint32_t level = 1; level <= tree->root.height; ++level) {
    const Page* page = cache_.Find(tree, level, leaf >> (kFanOutBits * level));
    if (page == nullptr) continue;
    return page->inner()->slots[(leaf >> (kFanOutBits * (level - 1))) & (kFanOut - 1)].max_version;
  }
  return tree->root.ptr.max_version;
}

// How many leaves, an aligned span around `leaf`, are missing together. 0: this one may be there.
uint64_t PoolImpl::NullSpan(Tree* tree, uint64_t leaf) {
  for (uint32_t level = 0; level <= tree->root.height; ++level) {
    Page* page = nullptr;
    if (GetPage(tree, level, leaf >> (kFanOutBits * level), nullptr, &page) != Got::kNull) {
      return level == 0 ? 0 : LeafSpan(level - 1);
    }
  }
  return LeafSpan(tree->root.height);
}

// How many leaves, an aligned span around `leaf`, are below a page that cannot be read.
uint64_t PoolImpl::BadSpan(Tree* tree, uint64_t leaf) {
  uint64_t span = 1;
  for (uint32_t level = 0; level <= tree->root.height; ++level) {
    const Page* page = cache_.Find(tree, level, leaf >> (kFanOutBits * level));
    if (page != nullptr && page->bad) span = LeafSpan(level);
  }
  return span;
}

// One step of a walk that looks only at what is newer than `bound`: the leaf, in memory (kHere); or
// how many leaves, an aligned span around it, are missing (`absent`), not newer, or unreadable
// together.
PoolImpl::Got PoolImpl::Descend(Tree* tree, uint64_t leaf, Newness by, uint64_t bound,
                                uint64_t* span, Page** page, bool* absent) {
  if (leaf >= LeafSpan(tree->root.height)) {  // The tree was never that large.
    *span = LeafSpan(tree->root.height);
    if (absent != nullptr) *absent = true;
    return Got::kNull;
  }
  Page* above = nullptr;
  for (int l = static_cast<int>(tree->root.height); l >= 0; --l) {
    const auto level = static_cast<uint32_t>(l);
    const uint64_t index = leaf >> (kFanOutBits * level);
    *span = LeafSpan(level);
    const PagePtr& ptr =
        above == nullptr ? tree->root.ptr : above->inner()->slots[index & (kFanOut - 1)];
    Page* here = cache_.Find(tree, level, index);
    const bool settled = here == nullptr || (!here->dirty && !here->in_checkpoint);
    // A clean page where the pointer is null was made for a change that has not come, or never did:
    // it says nothing that the pointer does not.
    if (settled && ptr.null()) {
      if (absent != nullptr) *absent = true;
      return Got::kNull;
    }
    if (settled && (by == Newness::kBorn ? ptr.born : ptr.max_version) <= bound) return Got::kNull;
    Got got = GetPage(tree, level, index, nullptr, &here);
    if (got != Got::kHere) return got;
    above = here;
  }
  *page = above;
  return Got::kHere;
}

// Lets go of what is in memory of a tree that is not walked any more. False: some of it is in use.
bool PoolImpl::ForgetPages(Tree* tree, uint32_t level, uint64_t index) {
  Page* page = cache_.Find(tree, level, index);
  if (page == nullptr) return true;
  if (level > 0 && !page->loading && !page->bad) {
    for (uint64_t i = 0; i < kFanOut && page->children > 0; ++i) {
      if (!ForgetPages(tree, level - 1, index * kFanOut + i)) return false;
    }
  }
  if (page->pins > 0 || page->children > 0 || page->dirty || page->in_checkpoint || page->loading) {
    return false;
  }
  cache_.Remove(page);
  return true;
}

void PoolImpl::StartLoad(Page* page, const PagePtr& ptr) {
  page->loading = true;
  page->load_ptr = ptr;
  if (page->tree->share != nullptr) ++page->tree->share->misses;
  ++loads_in_flight_;
  SubmitIo(IoKind::kRead, ptr.addr[0], 1, page->data, page, &PoolImpl::FinishLoad);
}

void PoolImpl::FinishLoad(EngineIo* io) {
  Page* page = static_cast<Page*>(io->owner);
  const int32_t result = io->request.result;
  FreeIo(io);
  const PageIdentity identity{sb_.store_id, page->tree->role, page->level, page->tree->id,
                              page->index};
  const bool good = result == 0 && PageMatches(page->data, identity, page->load_ptr) &&
                    PageIsSound(page->data, page->tree->role, page->level, range_);
  if (good) return EndLoad(page, true);
  ++(result != 0 ? io_errors_ : checksum_errors_);
  RepairPage(page->load_ptr, identity, page, &PoolImpl::LoadRepaired);
}

// The other copy, or another side of the same (H6).
void PoolImpl::LoadRepaired(Repair* repair) {
  Page* page = static_cast<Page*>(repair->owner);
  if (repair->good) std::memcpy(page->data, repair->buffer, kBlockBytes);
  page->unread = !repair->good && repair->unread;
  EndLoad(page, repair->good);
}

void PoolImpl::EndLoad(Page* page, bool good) {
  --loads_in_flight_;
  page->loading = false;
  if (good) CountPage(page);
  WakeWaiters(page, good ? Status::kOk : Status::kDamaged);
}

void PoolImpl::WakeWaiters(Page* page, Status status) {
  Waiter* waiter = page->waiters;
  page->waiters = page->waiters_tail = nullptr;
  page->bad = status != Status::kOk;
  ++page->pins;
  while (waiter != nullptr) {
    Waiter* next = waiter->next_waiter;
    waiter->wake(waiter, status);
    waiter = next;
  }
  --page->pins;
}

void PoolImpl::CountPage(Page* page) {
  page->used = page->holes = 0;
  if (page->level != 0) return;
  if (page->tree->role == Role::kMap) {
    for (uint8_t kind : page->map_leaf()->kind) {
      page->used += kind == kEntryData;
      page->holes += kind == kEntryHole;
    }
  } else if (page->tree->role == Role::kSpace) {
    for (uint64_t word : page->space_leaf()->words) {
      page->used += static_cast<uint32_t>(__builtin_popcountll(word));
    }
  } else if (page->tree->role == Role::kDead) {
    page->used = reinterpret_cast<const DeadLeaf*>(page->data)->count;
  }
}

PagePtr* PoolImpl::LiveSlot(Page* page) {
  if (page->parent == nullptr) return &page->tree->root.ptr;
  return &page->parent->inner()->slots[page->slot()];
}

void PoolImpl::MarkDirty(Page* page) {
  Page* shared[kMaxHeight + 1];
  uint32_t count = 0;
  for (; page != nullptr && !page->assigned; page = page->parent) {
    if (page->dirty) {
      if (page->birth > page->tree->barrier) break;
      shared[count++] = page;
      continue;
    }
    cache_.AddDirty(page);
    page->birth = page->since = generation_;
    const PagePtr* slot = LiveSlot(page);
    page->grows = slot->null() || IsRetained(page->tree, slot->born);
    if (page->grows) ++unplaced_pages_;
    if (page->parent == nullptr && page->tree->owner != nullptr) MarkRecord(page->tree->owner);
  }
  while (count > 0) Preserve(shared[--count]);
}

void PoolImpl::Thaw(Page* page) {
  page->frozen = page->data;
  page->data = cache_.TakeFrame();
  std::memcpy(page->data, page->frozen, kBlockBytes);
}

void PoolImpl::DropPage(Page* page, const PagePtr& hole) {
  assert(page->children == 0);
  Page* parent = page->parent;
  if (parent != nullptr) Touch(parent);
  if (page->dirty && page->birth <= page->tree->barrier) Preserve(page);
  PagePtr* slot = LiveSlot(page);
  if (!slot->null()) {
    RetirePage(page->tree, *slot, page->dirty ? page->since : generation_);
  }
  *slot = hole;
  if (page->dirty && page->grows) --unplaced_pages_;
  if (parent == nullptr && page->tree->owner != nullptr) MarkRecord(page->tree->owner);
  cache_.Remove(page);
}

// Adds levels above the root. The old root's pointer moves into slot 0 of the new one.
void PoolImpl::Grow(Tree* tree, uint32_t height) {
  while (tree->root.height < height) {
    Page* old_root = tree->root_page;
    const PagePtr ptr = tree->root.ptr;
    ++tree->root.height;
    if (old_root == nullptr && ptr.null() && ptr.max_version == 0) continue;
    tree->root_page = nullptr;
    if (old_root != nullptr) ++old_root->pins;
    Page* above = cache_.Create(tree, tree->root.height, 0, nullptr);
    if (old_root != nullptr) {
      --old_root->pins;
      cache_.Raise(old_root, above);
    }
    above->inner()->slots[0] = ptr;
    tree->root.ptr = PagePtr{};
    MarkDirty(above);
  }
}

}  // namespace ashlar
