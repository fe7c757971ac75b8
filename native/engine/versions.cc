// What a snapshot shares with its head (S12).
//
// A snapshot is a retained root, taken without a walk: pages that are dirty at that moment belong
// to both, until the head changes one. Then the head's page goes on with a copy, and the image as
// of the snapshot becomes a page of the snapshot's own tree (Preserve). The next checkpoint places
// every image once, and tells each parent that has it where it lies: the head's page to every
// snapshot not older than its `birth`, an image of the snapshot's own to the snapshots from its
// `birth` to its `until`.
//
// An inner page is never older than what is below it, so where an image was preserved, the pages
// above it were too.
//
// What leaves the head, data or page, is free if it was born after the newest snapshot, else it is
// put on the deadlist of the interval in which it left.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

// `page`, of a head, is about to change, and a snapshot since its birth has it as it is.
void PoolImpl::Preserve(Page* page) {
  if (Mutated(Mutant::kSharedPageChanged) && page->level == 0) return;
  VolumeState* head = page->tree->owner;
  const auto first = std::find_if(head->pending.begin(), head->pending.end(),
                                  [page](VolumeState* s) { return s->birth >= page->birth; });
  assert(first != head->pending.end());
  Tree* tree = &(*first)->map;
  Page* parent = nullptr;
  if (page->level < tree->root.height) {
    parent = cache_.Find(tree, page->level + 1u, page->index >> kFanOutBits);
    assert(parent != nullptr);
  }
  ++page->pins;
  Page* own = cache_.Create(tree, page->level, page->index, parent);
  --page->pins;
  std::memcpy(own->data, page->data, kBlockBytes);
  own->used = page->used;
  own->holes = page->holes;
  own->birth = page->birth;
  own->since = page->since;
  own->until = page->tree->barrier;
  own->grows = true;
  ++unplaced_pages_;
  cache_.AddDirty(own);
  page->birth = generation_;
}

// Both copies of a page that is no longer what its tree has there.
void PoolImpl::RetirePage(Tree* tree, const PagePtr& ptr, uint64_t at) {
  for (uint64_t addr : ptr.addr) {
    if (tree->role == Role::kMap && tree->owner != nullptr) {
      Retire(tree->owner, addr, 1 | kDeadPages, ptr.born, at);
    } else {
      FreeRun(addr, 1);
      --metadata_blocks_;
    }
  }
}

// Blocks that the head stopped naming at generation `at`.
void PoolImpl::Retire(VolumeState* head, uint64_t phys, uint32_t blocks, uint64_t born,
                      uint64_t at) {
  const bool pages = (blocks & kDeadPages) != 0;
  const uint32_t count = blocks & ~kDeadPages;
  VolumeState* owner = head;
  VolumeState* last = head->newest;
  uint64_t prev = head->prev_birth;
  if (at <= head->map.barrier && head->state != RecordState::kDeleting) {
    // In an interval that a snapshot not yet cut has ended.
    const auto ended = std::find_if(head->pending.begin(), head->pending.end(),
                                    [at](VolumeState* s) { return s->birth >= at; });
    if (ended == head->pending.end()) return Fault("a snapshot is missing from its line");
    owner = *ended;
    last = nullptr;
    for (VolumeState* s : head->line) {
      const bool kept = s->kind == RecordKind::kSnapshot && s->state != RecordState::kCondemned;
      if (s->birth < at && kept) last = s;
    }
    prev = last != nullptr ? last->birth : head->origin_birth;
  }
  if (born > prev) {
    FreeRun(phys, count);
    if (pages) metadata_blocks_ -= count;
    return;
  }
  // What a deleted clone has from its origin stays the origin's.
  if (head->state == RecordState::kDeleting) return;
  if (!damage_.empty() && last != nullptr) HandDamageOn(head->tree, last, phys, count);
  DeadList* list = owner->dead.get();
  list->now.push_back({phys, born, blocks});
  list->blocks += count;
  dead_blocks_ += count;
  ++dead_now_;
  MarkRecord(owner);
  if (last != nullptr && born > last->pred_birth) {
    last->unique += count;
    if (!pages) last->unique_data += count;
    MarkRecord(last);
  }
}

// The snapshot's parent of `page`, where it has one of its own, gets the pointer.
void PoolImpl::SetSlot(VolumeState* snapshot, const Page* page, const PagePtr& ptr) {
  Tree* tree = &snapshot->map;
  if (page->level == tree->root.height) {
    tree->root.ptr = ptr;
    return;
  }
  Page* parent = cache_.Find(tree, page->level + 1u, page->index >> kFanOutBits);
  if (parent != nullptr) parent->inner()->slots[page->slot()] = ptr;
}

// A page of the head has its place: so have the snapshots that share it.
void PoolImpl::PlaceShared(Page* page, const PagePtr& ptr) {
  for (VolumeState* s : page->tree->owner->pending) {
    if (s->birth >= page->birth) SetSlot(s, page, ptr);
  }
}

// An image of a snapshot's own has its place. The head has none of it: it died when it was made.
void PoolImpl::PlacePreserved(Page* page, const PagePtr& ptr) {
  VolumeState* head = page->tree->owner->head;
  for (VolumeState* s : head->pending) {
    if (s->birth >= page->birth && s->birth <= page->until) SetSlot(s, page, ptr);
  }
  for (uint64_t addr : ptr.addr) {
    Retire(head, addr, 1 | kDeadPages, ptr.born, page->until + 1);
  }
}

// The page is complete, and with it its pointer: wherever a snapshot of the volume has its address.
void PoolImpl::PatchShared(const CheckpointItem* item) {
  VolumeState* owner = item->tree->owner;
  VolumeState* head = owner->head != nullptr ? owner->head : owner;
  for (const std::vector<VolumeState*>* list : {&head->cut, &head->pending}) {
    for (VolumeState* s : *list) {
      Tree* tree = &s->map;
      if (item->level == tree->root.height) {
        if (tree->root.ptr.addr[0] != item->ptr.addr[0]) continue;
        tree->root.ptr = item->ptr;
        if (list == &head->cut) {
          reinterpret_cast<CatalogLeaf*>(s->record->image())->map.ptr = item->ptr;
        }
        continue;
      }
      Page* parent = cache_.Find(tree, item->level + 1u, item->index >> kFanOutBits);
      if (parent == nullptr) continue;
      PagePtr* slot = &parent->inner()->slots[item->index & (kFanOut - 1)];
      if (slot->addr[0] == item->ptr.addr[0]) *slot = item->ptr;
    }
  }
}

// --- Deadlists ---

std::unique_ptr<DeadList> PoolImpl::NewDeadList(VolumeState* owner, uint64_t tree) {
  auto list = std::make_unique<DeadList>();
  list->tree.role = Role::kDead;
  list->tree.id = tree;
  list->tree.owner = owner;
  return list;
}

// The records that a cut would write, and the leaves that it would append to, come into memory.
// False: some are on their way.
bool PoolImpl::PrepareLines() {
  cut_records_ = dirty_records_;
  // Beside what is dirty: whose counts and lists the placing of pages may change.
  for (VolumeState* v : dirty_records_) {
    VolumeState* head = v->head != nullptr ? v->head : v;
    const std::vector<VolumeState*>& pending = head->pending;
    cut_records_.push_back(head);
    for (VolumeState* s : head->line) {
      if (s->kind != RecordKind::kSnapshot || s->state == RecordState::kCondemned) continue;
      const bool next_pending = !pending.empty() && s->birth < pending[0]->birth;
      if (s == head->newest || (next_pending && s->birth == pending[0]->pred_birth)) {
        cut_records_.push_back(s);
      }
    }
  }
  // Not by where they lie in memory: a run of a test is to be the same again.
  std::sort(cut_records_.begin(), cut_records_.end(),
            [](const VolumeState* a, const VolumeState* b) { return a->slot < b->slot; });
  cut_records_.erase(std::unique(cut_records_.begin(), cut_records_.end()), cut_records_.end());
  std::erase_if(cut_records_, [](VolumeState* v) { return v->creating; });
  bool loading = false;
  for (VolumeState* v : cut_records_) {
    if (v->record == nullptr) {
      Page* page = nullptr;
      Got got = GetOrCreate(&catalog_, v->slot, nullptr, &page);
      loading |= got == Got::kLoading;
      if (got == Got::kBad) {
        Fault("a catalog page cannot be read");
        return false;
      }
      if (got == Got::kHere) {
        v->record = page;
        ++page->pins;
      }
    }
    DeadList* list = v->dead.get();
    if (list == nullptr || list->leaves == 0 || list->tail != nullptr) continue;
    // One that no cut has written yet may get what the placing of pages retires, though there is
    // nothing so far: after an opening its list was never in memory.
    const bool closed = v->kind != RecordKind::kVolume && v->supers > 0;
    if (closed && list->now.empty()) continue;
    Page* page = nullptr;
    Got got = GetPage(&list->tree, 0, list->leaves - 1, nullptr, &page);
    loading |= got == Got::kLoading;
    if (got == Got::kHere) {
      list->tail = page;
      ++page->pins;
    }
  }
  return !loading;
}

// Inside a cut: what left the head since the last one goes to the list's end, by birth, so that a
// deletion finds together what it frees. False: the list cannot be reached.
bool PoolImpl::AppendDead(DeadList* list) {
  if (list->now.empty()) return true;
  std::sort(list->now.begin(), list->now.end(), [](const DeadRun& a, const DeadRun& b) {
    return a.born != b.born ? a.born < b.born : a.phys < b.phys;
  });
  dead_now_ -= list->now.size();
  Tree* tree = &list->tree;
  DeadLeaf* leaf = nullptr;
  if (list->tail != nullptr) {
    Touch(list->tail);
    leaf = reinterpret_cast<DeadLeaf*>(list->tail->data);
  }
  DeadRun* last = nullptr;
  auto put = [&](const DeadRun& run) {
    if (leaf == nullptr || leaf->count == kDeadRuns) {
      if (list->tail != nullptr) --list->tail->pins;
      Grow(tree, std::max(tree->root.height, HeightFor(list->leaves + 1)));
      Page* page = nullptr;
      if (GetOrCreate(tree, list->leaves, nullptr, &page) != Got::kHere) return false;
      ++list->leaves;
      list->tail = page;
      ++page->pins;
      Touch(page);
      leaf = reinterpret_cast<DeadLeaf*>(page->data);
    }
    leaf->phys[leaf->count] = run.phys;
    leaf->born[leaf->count] = run.born;
    leaf->blocks[leaf->count] = run.blocks;
    ++leaf->count;
    list->tail->used = leaf->count;
    return true;
  };
  for (DeadRun& run : list->now) {
    const bool follows = last != nullptr && last->born == run.born &&
                         ((last->blocks ^ run.blocks) & kDeadPages) == 0 &&
                         last->phys + (last->blocks & ~kDeadPages) == run.phys &&
                         GroupOf(last->phys) == GroupOf(run.phys);
    if (follows) {
      last->blocks += run.blocks & ~kDeadPages;
      continue;
    }
    if (last != nullptr && !put(*last)) return false;
    last = &run;
  }
  if (last != nullptr && !put(*last)) return false;
  list->now.clear();
  return true;
}

}  // namespace ashlar
