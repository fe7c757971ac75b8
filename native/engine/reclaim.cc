// Deletion in the background (S13), some steps at each Poll; what a checkpoint writes is what is
// left, so after a crash the work goes on from there.
//
// A snapshot: it leaves its line (condemned), so that what leaves the head from then on is free
// without it. What only it had is on the deadlists between it and the next snapshot, born after the
// one before: those blocks are freed (swept), the rest of the lists belongs to the next one. Then
// its neighbours' unique blocks are counted anew. Lists that the head still appends to are closed
// first, as a segment, so that each list is either swept or appended to.
//
// A volume: its leaves are emptied and its pages dropped, down to what it has from its origin; the
// lists of its line are freed whole; the record goes last.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr int kLeavesAStep = 32;
constexpr uint64_t kLeavesAhead = 32;
// The pages above a leaf that change with it.
constexpr int64_t kAbove = kMaxHeight + 1;
constexpr int kEndsAStep = 16;
// Those that wait for pages take them from each other, where the cache is small.
constexpr int kMostLoading = 4;
// Checkpoints without a step between two of them, after which a turn is due; and what it may
// change.
constexpr uint64_t kWaits = 3;
constexpr uint64_t kTurnPages = 64;
constexpr size_t kMaxFreedRuns = 1 << 16;
}  // namespace

bool PoolImpl::HasLiveClones(const VolumeState* snapshot) {
  return std::any_of(snapshot->clones.begin(), snapshot->clones.end(),
                     [](const VolumeState* clone) { return !clone->delete_logged; });
}

void PoolImpl::StepReclaim() {
  if (reclaim_.empty()) {
    reclaim_room_ = 0;
    return;
  }
  // Writes that are under way pass the limit, so those that never cease would keep this below it.
  const bool turn = stage_ == CheckpointStage::kIdle && checkpoints_ >= reclaim_turn_ + kWaits;
  const uint64_t most =
      turn ? std::max(hard_dirty_, cache_.dirty_pages() + kTurnPages) : hard_dirty_;
  int ended = 0, loading = 0;
  for (size_t i = 0; i < reclaim_.size() && ended < kEndsAStep && loading < kMostLoading;) {
    if (freed_now_.size() > kMaxFreedRuns || cache_.dirty_pages() > most) {
      want_checkpoint_ = true;
      return;
    }
    if (!MayReclaim()) return;
    VolumeState* v = reclaim_[i];
    const uint64_t loads = loads_awaited_;
    const bool done = v->kind != RecordKind::kVolume       ? ReclaimSnapshot(v)
                      : v->state == RecordState::kDeleting ? DeleteStep(v)
                                                           : RollbackStep(v);
    if (!done) {
      ++i;
      loading += loads_awaited_ != loads;
      continue;
    }
    std::erase(reclaim_, v);
    want_checkpoint_ = true;
    ++ended;
  }
}

// Each leaf may be two pages to place, as those above them may. Short of room, as few as there is
// room for, after a checkpoint that leaves little else to place. Writes that never cease leave
// none: after some checkpoints without a step they leave as much as a step wants, for one of it.
bool PoolImpl::MayReclaim() {
  const int64_t room =
      static_cast<int64_t>(FreeNow()) - static_cast<int64_t>(CheckpointNeed() + 2 * owed_pages_);
  reclaim_leaves_ = static_cast<int>(std::clamp<int64_t>(room / 4 - kAbove, 0, kLeavesAStep));
  reclaim_stuck_ = false;
  if (reclaim_leaves_ > 0) {
    // The ends of some work need a time between two checkpoints: only there the turn is had.
    if (stage_ == CheckpointStage::kIdle) {
      reclaim_turn_ = checkpoints_;
      reclaim_room_ = 0;
    }
    reclaim_cut_ = ~0ull;
    return true;
  }
  if (stage_ != CheckpointStage::kIdle) return false;  // One is under way.
  // Two give back what waits to be freed.
  if (reclaim_cut_ == ~0ull) reclaim_cut_ = checkpoints_;
  const bool waited = checkpoints_ >= reclaim_cut_ + kWaits;
  if (!waited || cache_.dirty_pages() > kAbove || owed_pages_ > 0) {
    if (checkpoints_ >= reclaim_turn_ + kWaits) {
      reclaim_room_ = std::min<uint64_t>(4 * (kAbove + kLeavesAStep), reserve_ / 8);
    }
    want_checkpoint_ = true;
    return false;
  }
  reclaim_stuck_ = room < 2 * kAbove;  // Only what is deleted by somebody helps.
  if (reclaim_stuck_) return false;
  reclaim_leaves_ = 1;
  reclaim_turn_ = checkpoints_;
  reclaim_room_ = 0;
  return true;
}

// --- Snapshots ---

// True when nothing is left to do for it.
bool PoolImpl::ReclaimSnapshot(VolumeState* s) {
  VolumeState* head = s->head;
  if (head->state == RecordState::kDeleting) return true;  // It goes with its volume.
  if (s->supers == 0 || s->in_flight > 0) return false;
  if (s->delete_logged && !s->clones.empty()) return false;  // They are on their way out.
  if (head->walk.target != 0 && head->walk.target != s->tree) return false;
  if (s->state == RecordState::kDeleting && !s->recount) {
    // First the counts that its going changes must be right.
    for (const VolumeState* other : head->line) {
      if (other->recount || other->state == RecordState::kCondemned) return false;
    }
    Condemn(s);
  }
  const bool sweep = s->state == RecordState::kCondemned;
  if (!sweep && !s->recount) return true;
  if (!sweep) {
    // Behind the sweep that made it necessary, and behind the cut of a snapshot that has come after
    // it: placing the pages that the two share puts those the head has no more on that one's list,
    // which is walked, and counts them too.
    for (const VolumeState* other : head->line) {
      const bool next = other->kind == RecordKind::kSnapshot && other->pred_birth == s->birth;
      if (other->state == RecordState::kCondemned || (next && other->supers == 0)) return false;
    }
  }
  if (head->walk.target == 0) StartLineWalk(s);
  if (!StepLineWalk(s)) return false;
  if (!sweep) {
    head->walk = LineWalk{};
    s->recount = false;
    MarkRecord(s);
    return s->state == RecordState::kLive;
  }
  // A checkpoint under way may still write pages of its tree.
  if (stage_ != CheckpointStage::kIdle || !ForgetPages(&s->map, s->map.root.height, 0))
    return false;
  if (Mutated(Mutant::kListLost)) {
    dead_blocks_ -= s->dead->blocks;
    s->dead->tree.root.ptr = PagePtr{};
    s->dead->blocks = s->dead->leaves = 0;
  }
  s->map.root.ptr = PagePtr{};
  s->kind = RecordKind::kSegment;
  s->state = RecordState::kLive;
  s->name.clear();
  s->mapped = s->written = s->unique = s->unique_data = 0;
  MarkRecord(s);
  head->walk = LineWalk{};
  DropEmptySegments(head);
  return true;
}

// Takes a snapshot out of its line. From now on nothing is kept for it.
void PoolImpl::Condemn(VolumeState* s) {
  VolumeState* head = s->head;
  VolumeState* before = nullptr;
  VolumeState* after = nullptr;
  bool newest_after = true;
  for (VolumeState* other : head->line) {
    if (other->kind != RecordKind::kSnapshot || other == s) continue;
    if (other->birth < s->birth) {
      before = other;
    } else if (after == nullptr) {
      after = other;
    } else {
      newest_after = false;
    }
  }
  // What is counted or swept next must not be appended to.
  if (after == nullptr || newest_after) CloseSegment(head);
  // Data of the successor born since `before`: its own, and what it shares with s alone.
  VolumeState* heir = after != nullptr ? after : head;
  heir->written += s->written - s->unique_data;
  MarkRecord(heir);
  for (VolumeState* other : {before, after}) {
    if (other == nullptr) continue;
    other->recount = true;
    MarkRecord(other);
    if (std::find(reclaim_.begin(), reclaim_.end(), other) == reclaim_.end()) {
      reclaim_.push_back(other);
    }
  }
  s->state = RecordState::kCondemned;
  MarkRecord(s);
  Relink(head);
  GoBack(s, heir);
}

// The head's list becomes a segment of its own, and a new one begins.
void PoolImpl::CloseSegment(VolumeState* head) {
  if (head->dead->blocks == 0) return;
  VolumeState* segment = AddRecord(RecordKind::kSegment, next_tree_, FreeSlot());
  segment->head = head;
  segment->head_tree = head->tree;
  segment->birth = generation_;
  segment->size_blocks = head->size_blocks;
  segment->supers = 2;
  segment->dead = std::move(head->dead);
  segment->dead->tree.owner = segment;
  if (segment->dead->now.empty() && segment->dead->tail != nullptr) {
    --segment->dead->tail->pins;
    segment->dead->tail = nullptr;
  }
  head->dead = NewDeadList(head, head->tree);
  head->line.push_back(segment);
  MarkRecord(segment);
  MarkRecord(head);
  // By two: the next superblock keeps its slot (S3).
  generation_ += 2;
}

// Over the lists between the snapshot and the next: to free what was born after the one before it,
// or to count that.
void PoolImpl::StartLineWalk(VolumeState* s) {
  VolumeState* head = s->head;
  LineWalk& walk = head->walk;
  walk = LineWalk{};
  walk.target = s->tree;
  walk.older = head->origin_birth;
  walk.low = s->birth;
  walk.high = ~0ull;
  for (const VolumeState* other : head->line) {
    if (other == s || other->kind != RecordKind::kSnapshot) continue;
    if (other->birth < s->birth) walk.older = other->birth;
    if (other->birth > s->birth && walk.high == ~0ull) walk.high = other->birth;
  }
  if (s->state != RecordState::kCondemned) {
    // What leaves from now on is counted as it leaves.
    if (walk.high == ~0ull) CloseSegment(head);
    s->unique = s->unique_data = 0;
    MarkRecord(s);
  }
  // The list of a snapshot taken meanwhile, maybe in this generation, is not of them.
  if (walk.high == ~0ull) walk.high = generation_ - 1;
  walk.list = walk.low;
}

// True when the walk is through.
bool PoolImpl::StepLineWalk(VolumeState* s) {
  LineWalk& walk = s->head->walk;
  const bool sweep = s->state == RecordState::kCondemned;
  int budget = reclaim_leaves_;
  for (;;) {
    // The list under way is the first whose birth is above walk.list.
    VolumeState* record = nullptr;
    for (VolumeState* other : s->head->line) {
      if (other->birth > walk.list && other->birth <= walk.high) {
        record = other;
        break;
      }
    }
    if (record == nullptr) return true;
    DeadList* list = record->dead.get();
    if (!list->now.empty()) {
      // Not on its pages yet: the next cut puts it there.
      want_checkpoint_ = true;
      return false;
    }
    while (walk.leaf < list->leaves) {
      if (--budget < 0) return false;
      uint64_t span = 1;
      Page* page = nullptr;
      Got got = Descend(&list->tree, walk.leaf, Newness::kMaxVersion, walk.older, &span, &page);
      if (got == Got::kLoading) return false;
      if (got == Got::kHere) {
        if (sweep) {
          SweepLeaf(list, page, walk.older, false);
        } else {
          CountLeaf(page, s);
        }
        span = 1;
      }
      // An unreadable one: what it names can't be known; the offline check counts it as leaked.
      walk.leaf = (walk.leaf / span + 1) * span;
    }
    walk.list = record->birth;
    walk.leaf = 0;
  }
}

// Frees what was born after `older`; the rest stays, or (all) is another line's.
void PoolImpl::SweepLeaf(DeadList* list, Page* page, uint64_t older, bool all) {
  const auto* before = reinterpret_cast<const DeadLeaf*>(page->data);
  bool any = all;
  for (uint32_t i = 0; i < before->count && !any; ++i) any = before->born[i] > older;
  if (!any) return;
  Touch(page);
  auto* leaf = reinterpret_cast<DeadLeaf*>(page->data);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < leaf->count; ++i) {
    const uint32_t blocks = leaf->blocks[i] & ~kDeadPages;
    if (leaf->born[i] > older) {
      FreeRun(leaf->phys[i], blocks);
      if ((leaf->blocks[i] & kDeadPages) != 0) metadata_blocks_ -= blocks;
    } else if (!all) {
      leaf->phys[kept] = leaf->phys[i];
      leaf->born[kept] = leaf->born[i];
      leaf->blocks[kept] = leaf->blocks[i];
      ++kept;
      continue;
    }
    list->blocks -= blocks;
    dead_blocks_ -= blocks;
  }
  page->used = leaf->count = kept;
  MarkRecord(list->tree.owner);
  if (kept == 0) DropUpward(page);
}

void PoolImpl::CountLeaf(const Page* page, VolumeState* s) {
  const auto* leaf = reinterpret_cast<const DeadLeaf*>(page->data);
  for (uint32_t i = 0; i < leaf->count; ++i) {
    if (leaf->born[i] <= s->head->walk.older || leaf->born[i] > s->birth) continue;
    const uint32_t blocks = leaf->blocks[i] & ~kDeadPages;
    s->unique += blocks;
    if ((leaf->blocks[i] & kDeadPages) == 0) s->unique_data += blocks;
  }
}

// With the last child of a page, the page goes.
void PoolImpl::DropUpward(Page* page) {
  while (page != nullptr && page->children == 0 && page->pins == 0) {
    if (page->level > 0 && !page->bad) {
      bool empty = true;
      for (const PagePtr& slot : page->inner()->slots) empty &= slot.null();
      if (!empty) return;
    }
    Page* parent = page->parent;
    DropPage(page);
    page = parent;
  }
}

// Segments with nothing left on them.
void PoolImpl::DropEmptySegments(VolumeState* head) {
  for (size_t i = 0; i < head->line.size();) {
    VolumeState* s = head->line[i];
    const bool empty = s->kind == RecordKind::kSegment && s->dead->blocks == 0 &&
                       s->dead->now.empty() && s->dead->tree.root.ptr.null() &&
                       s->dead->tree.root_page == nullptr;
    if (!empty || !RemoveRecord(s)) ++i;
  }
}

// The record leaves the catalog, its volume's line, and memory. False: a page is on its way.
bool PoolImpl::RemoveRecord(VolumeState* v) {
  assert(stage_ == CheckpointStage::kIdle || stage_ == CheckpointStage::kPrepare);
  Page* page = v->record;
  if (page == nullptr) {
    Got got = GetPage(&catalog_, 0, v->slot, nullptr, &page);
    if (got == Got::kLoading || got == Got::kBad) return false;
    if (got == Got::kNull) page = nullptr;
  } else {
    --page->pins;
    v->record = nullptr;
  }
  if (page != nullptr) DropPage(page);
  if (v->head != nullptr) std::erase(v->head->line, v);
  std::erase(dirty_records_, v);
  std::erase(cut_records_, v);
  std::erase(reclaim_, v);
  std::erase(fresh_, v);
  Untune(v);
  by_tree_.erase(v->tree);
  slot_hint_ = std::min(slot_hint_, v->slot);
  volumes_[v->slot].reset();
  return true;
}

// --- Volumes ---

// True once it is gone.
bool PoolImpl::DeleteStep(VolumeState* v) {
  if (v->in_flight > 0 || !v->pending.empty() || !v->cut.empty()) return false;
  for (const VolumeState* s : v->line) {
    if (s->in_flight > 0 || !s->clones.empty()) return false;
  }
  if (!DeleteTree(v, &v->map) || !DeleteTree(v, &v->blobs.tree) || !EraseLists(v)) return false;
  // A checkpoint under way may still write pages of its trees.
  if (stage_ != CheckpointStage::kIdle) return false;
  int budget = reclaim_leaves_;
  while (!v->line.empty()) {
    VolumeState* s = v->line.back();
    if (--budget < 0 || !ForgetPages(&s->map, s->map.root.height, 0) || !RemoveRecord(s)) {
      return false;
    }
  }
  if (v->origin != nullptr) std::erase(v->origin->clones, v);
  if (!RemoveRecord(v)) return false;
  return true;
}

// All lists of a deleted volume's line. True once they are empty.
bool PoolImpl::EraseLists(VolumeState* head) {
  int budget = reclaim_leaves_;
  for (size_t i = 0; i <= head->line.size(); ++i) {
    VolumeState* record = i < head->line.size() ? head->line[i] : head;
    const uint64_t birth = record != head ? record->birth : ~0ull;
    if (birth <= head->lists_done) continue;
    DeadList* list = record->dead.get();
    if (!list->now.empty()) {
      want_checkpoint_ = true;
      return false;
    }
    if (list->tail != nullptr) {
      --list->tail->pins;
      list->tail = nullptr;
    }
    for (uint64_t& leaf = head->list_leaf; leaf < list->leaves;) {
      uint64_t span = 1;
      Page* page = nullptr;
      // By the page's own birth, not by what is on it: one that a rollback had emptied goes too.
      Got got = Descend(&list->tree, leaf, Newness::kBorn, 0, &span, &page);
      if (got == Got::kLoading || --budget < 0) return false;
      if (got == Got::kHere) {
        SweepLeaf(list, page, head->origin_birth, true);
        span = 1;
      } else if (got == Got::kBad) {
        // What it named can't be known, as in DeleteTree. The page must not outlive its tree.
        uint32_t level = 0;
        while (LeafSpan(level) < span) ++level;
        DropUpward(cache_.Find(&list->tree, level, leaf >> (kFanOutBits * level)));
      }
      leaf = (leaf / span + 1) * span;
    }
    head->lists_done = birth;
    head->list_leaf = 0;
  }
  return true;
}

// True once the tree is gone. What a clone shares with its origin is let go of, a subtree a step.
bool PoolImpl::DeleteTree(VolumeState* volume, Tree* tree) {
  int budget = reclaim_leaves_;
  const uint64_t keep = tree->role == Role::kMap ? volume->origin_birth : 0;
  uint64_t at = volume->delete_cursor;
  const uint64_t leaves = LeafSpan(tree->root.height);
  while (at < leaves && (tree->root_page != nullptr || !tree->root.ptr.null())) {
    if (--budget < 0) return false;
    uint64_t span = 1;
    Page* page = nullptr;
    bool absent = false;
    Got got = Descend(tree, at, Newness::kBorn, keep, &span, &page, &absent);
    if (got == Got::kLoading) {
      // Ask for its neighbours too: the medium has a queue.
      for (uint64_t i = at + 1;
           i < at + kLeavesAhead && i < leaves && (i >> kFanOutBits) == (at >> kFanOutBits); ++i) {
        Page* other = nullptr;
        static_cast<void>(Descend(tree, i, Newness::kBorn, keep, &span, &other));
      }
      return false;
    }
    const uint64_t next = (at / span + 1) * span;
    if (got == Got::kNull) {
      if (!DropSubtree(tree, at, span)) return false;
      volume->delete_cursor = at = next;
      // What was emptied before is passed over on the way to the rest: with two trees a step begins
      // anew.
      if (absent) ++budget;
      continue;
    }
    if (got == Got::kBad) {
      // What it named can't be known: the offline check counts it as leaked. The rest is freed.
      uint32_t level = 0;
      while (LeafSpan(level) < span) ++level;
      page = cache_.Find(tree, level, at >> (kFanOutBits * level));
    } else if (tree->role == Role::kMap) {
      const MapLeaf* leaf = page->map_leaf();
      for (uint32_t e = 0; e < kLeafEntries; ++e) {
        if (leaf->kind[e] == kEntryData) RetireData(volume, leaf->phys[e], leaf->born[e]);
      }
      volume->mapped -= page->used;
      data_mapped_ -= page->used;
    } else {
      const auto* leaf = reinterpret_cast<const BlobLeaf*>(page->data);
      for (uint32_t i = 0; i * kBlockBytes < leaf->bytes; ++i) FreeRun(leaf->phys[i], 1);
      // Held since it was read or written; in a volume that was found deleted, by nobody.
      if (leaf->bytes > 0 && page->pins > 0) --page->pins;
    }
    DropUpward(page);
    volume->delete_cursor = at = next;
  }
  volume->delete_cursor = 0;
  return true;
}

// Lets go of a subtree that is an origin's, without freeing it. False: its pages are in use.
bool PoolImpl::DropSubtree(Tree* tree, uint64_t leaf, uint64_t span) {
  uint32_t level = 0;
  while (LeafSpan(level) < span) ++level;
  const uint64_t index = leaf >> (kFanOutBits * level);
  if (!ForgetPages(tree, level, index)) return false;
  PagePtr* slot = &tree->root.ptr;
  Page* parent = nullptr;
  if (level < tree->root.height) {
    parent = cache_.Find(tree, level + 1, index >> kFanOutBits);
    if (parent == nullptr) return true;
    slot = &parent->inner()->slots[index & (kFanOut - 1)];
  }
  if (slot->null()) {
    // A page of nothing but holes (W6) has no leaf whose going would take it along.
    if (parent != nullptr) DropUpward(parent);
    return true;
  }
  const uint64_t mapped = tree->role == Role::kMap ? slot->aux : 0;
  if (parent != nullptr) {
    Touch(parent);
    parent->inner()->slots[index & (kFanOut - 1)] = PagePtr{};
  } else {
    tree->root.ptr = PagePtr{};
  }
  VolumeState* v = tree->owner;
  v->mapped -= mapped;
  if (v->inherited != kUnknown) v->inherited -= mapped;
  data_mapped_ -= mapped;
  MarkRecord(v);
  if (parent != nullptr) DropUpward(parent);
  return true;
}

}  // namespace ashlar
