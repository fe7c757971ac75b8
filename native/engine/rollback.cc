// Rollback of a volume to its newest snapshot, and promotion of a clone.
//
// A rollback is logged, then carried out leaf by leaf in the background: every block that differs
// names the snapshot's again, under the rollback's version (P4), so that a replica that missed it
// looks older. Operations end with kBusy meanwhile. It ends with a second record, logged when both
// superblocks reach the result: so whatever a replay meets after that record was made on top of it.
// A crash before leaves the volume rolling back, and the opening goes on with it.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

void PoolImpl::RollbackVolume(uint32_t handle, uint32_t snapshot, uint64_t version,
                              bool delete_later, DoneFn done, void* context) {
  Enter();
  VolumeState* v = FindVolume(handle);
  VolumeState* s = FindVolume(snapshot);
  Status status = MayChange();
  if (status != Status::kOk) {
  } else if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged ||
             s == nullptr || s->head != v || s->creating || s->delete_logged) {
    status = Status::kNotFound;
  } else if (v->state != RecordState::kLive || v->rolling || v->promoting ||
             v->in_flight > v->moves) {
    // A rebalance's moves end by themselves, and no more of them begin.
    status = Status::kBusy;
  } else {
    for (const VolumeState* later : v->line) {
      if (later->birth <= s->birth || later->kind != RecordKind::kSnapshot) continue;
      if (later->delete_logged) continue;
      if (!delete_later) status = Status::kLaterSnapshots;
      if (HasLiveClones(later)) status = Status::kHasClones;
      if (status == Status::kHasClones) break;
    }
    // One that is being made is not in the line yet.
    for (const auto& [name, other] : v->snapshots) {
      if (other->creating) status = Status::kBusy;
    }
  }
  if (status == Status::kOk) {
    v->rolling = true;
    auto* control = new ControlOp;
    control->kind = LogKind::kRollback;
    control->volume = v;
    control->snapshot = s;
    control->version = version;
    control->done = done;
    control->context = context;
    if (!MustWait(s, control)) {
      StartControl(control);
    } else {
      ++in_flight_ops_;
      waiting_controls_.emplace_back(s, control);
    }
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::ApplyRollback(VolumeState* v, VolumeState* s, uint64_t version) {
  v->state = RecordState::kRollingBack;
  v->rollback_version = version;
  v->version = std::max(v->version, version);
  for (VolumeState* later : v->line) {
    const bool goes = later->birth > s->birth && later->kind == RecordKind::kSnapshot;
    if (goes && !later->delete_logged) ApplyDeleteSnapshot(later);
  }
  MarkRecord(v);
  reclaim_.push_back(v);
}

void PoolImpl::ApplyRolledBack(VolumeState* v) {
  v->state = RecordState::kLive;
  v->rolling = false;
  v->rolled_cut = 0;
  std::erase(reclaim_, v);
  MarkRecord(v);
}

// True when the end of it is logged.
bool PoolImpl::RollbackStep(VolumeState* v) {
  if (v->in_flight > 0 || !v->pending.empty() || !v->cut.empty() || v->walk.target != 0) {
    return false;
  }
  VolumeState* s = nullptr;
  for (VolumeState* other : v->line) {
    if (other->kind == RecordKind::kSnapshot && !other->delete_logged) s = other;
  }
  if (s == nullptr) {
    Fault("a volume is rolling back, and has no snapshot");
    return false;
  }
  // Later ones go first.
  for (const VolumeState* other : v->line) {
    if (other->kind == RecordKind::kSnapshot && other->birth > s->birth) return false;
  }
  if (s->recount) return false;
  if (v->rolled_cut == 0) {
    if (!RollbackLeaves(v, s) || !RollbackLists(v, s)) return false;
    // Its tree keeps its height.
    v->size_blocks = v->pending_size = s->size_blocks;
    MarkRecord(v);
    s->unique = s->unique_data = 0;
    s->recount = true;
    MarkRecord(s);
    if (std::find(reclaim_.begin(), reclaim_.end(), s) == reclaim_.end()) reclaim_.push_back(s);
    v->delete_cursor = 0;
    v->rolled_cut = cuts_ + 2;
    want_checkpoint_ = true;
    return false;
  }
  if (stage_ != CheckpointStage::kIdle) return false;
  if (cuts_ < v->rolled_cut) {
    want_checkpoint_ = true;
    return false;
  }
  auto* control = new ControlOp;
  control->kind = LogKind::kRolledBack;
  control->volume = v;
  control->done = v->rolled_done;
  control->context = v->rolled_context;
  v->rolled_done = nullptr;
  StartControl(control);
  return true;
}

// Every leaf that differs becomes the snapshot's. False: more to do.
bool PoolImpl::RollbackLeaves(VolumeState* v, VolumeState* s) {
  int budget = reclaim_leaves_;
  Tree* tree = &v->map;
  const uint64_t leaves = LeafSpan(tree->root.height);
  const uint64_t sized =
      (std::max(v->size_blocks, s->size_blocks) + kLeafEntries - 1) / kLeafEntries;
  while (v->delete_cursor < std::min(leaves, sized)) {
    if (--budget < 0) return false;
    const uint64_t at = v->delete_cursor;
    uint64_t span = 1;
    bool absent = false;
    Page* page = nullptr;
    Page* then = nullptr;
    Got got = Descend(tree, at, Newness::kBorn, s->birth, &span, &page, &absent);
    if (got == Got::kLoading) return false;
    if (got == Got::kNull && !absent) {
      v->delete_cursor = (at / span + 1) * span;
      continue;
    }
    uint64_t earlier = 1;
    const Got old = Descend(&s->map, at, Newness::kBorn, 0, &earlier, &then);
    if (old == Got::kLoading) return false;
    if (got == Got::kNull && old == Got::kNull) {
      span = std::min(span, earlier);
      v->delete_cursor = (at / span + 1) * span;
      continue;
    }
    if (got == Got::kBad || old == Got::kBad) {
      // What cannot be read stays as it is: damaged here or there, and reported when it is read.
      if (got != Got::kBad) span = earlier;
      v->delete_cursor = (at / span + 1) * span;
      continue;
    }
    if (then != nullptr) ++then->pins;
    if (page == nullptr) {
      const Got made = GetOrCreate(tree, at, nullptr, &page);
      if (made != Got::kHere) {
        if (then != nullptr) --then->pins;
        if (made == Got::kLoading) return false;
        v->delete_cursor = at + 1;
        continue;
      }
    }
    ++page->pins;
    RollbackLeaf(v, page, then);
    --page->pins;
    if (then != nullptr) --then->pins;
    v->delete_cursor = at + 1;
  }
  return true;
}

void PoolImpl::RollbackLeaf(VolumeState* v, Page* page, const Page* then) {
  static const MapLeaf kNothing{};
  const MapLeaf* want = then != nullptr ? then->map_leaf() : &kNothing;
  for (uint32_t e = 0; e < kLeafEntries; ++e) {
    const MapLeaf* has = page->map_leaf();
    const bool is = has->kind[e] == kEntryData;
    const bool was = want->kind[e] == kEntryData;
    if (is == was && (!is || has->phys[e] == want->phys[e])) continue;
    Touch(page);
    MapLeaf* leaf = page->map_leaf();
    if (is) {
      RetireData(v, leaf->phys[e], leaf->born[e]);
      --page->used;
      --v->mapped;
      --data_mapped_;
    } else {
      page->holes -= leaf->kind[e] == kEntryHole;
    }
    if (!was) {
      ClearEntry(v, page, e, v->rollback_version);
      continue;
    }
    SetEntry(leaf, e, want->phys[e], v->rollback_version, want->crc[e]);
    leaf->born[e] = want->born[e];
    ++page->used;
    ++v->mapped;
    ++data_mapped_;
    if (leaf->born[e] <= v->origin_birth && v->inherited != kUnknown) ++v->inherited;
  }
}

// The data on the lists since the snapshot is the head's again; pages stay the snapshot's alone.
bool PoolImpl::RollbackLists(VolumeState* v, const VolumeState* s) {
  int budget = reclaim_leaves_;
  for (size_t i = 0; i <= v->line.size(); ++i) {
    VolumeState* record = i < v->line.size() ? v->line[i] : v;
    const uint64_t birth = record != v ? record->birth : ~0ull;
    if (birth <= std::max(s->birth, v->lists_done)) continue;
    DeadList* list = record->dead.get();
    const auto data = [](const DeadRun& run) { return (run.blocks & kDeadPages) == 0; };
    for (const DeadRun& run : list->now) {
      if (!data(run)) continue;
      list->blocks -= run.blocks;
      dead_blocks_ -= run.blocks;
      --dead_now_;
    }
    std::erase_if(list->now, data);
    // The leaf that is appended to goes like any other when nothing is left in it.
    if (list->tail != nullptr) {
      --list->tail->pins;
      list->tail = nullptr;
    }
    // By the pages' own birth: also those with nothing on them.
    for (uint64_t& leaf = v->list_leaf; leaf < list->leaves;) {
      uint64_t span = 1;
      Page* page = nullptr;
      Got got = Descend(&list->tree, leaf, Newness::kBorn, 0, &span, &page);
      if (got == Got::kLoading || --budget < 0) return false;
      if (got == Got::kHere) {
        span = 1;
        KeepPages(list, page);
      }
      leaf = (leaf / span + 1) * span;
    }
    // It goes on behind the last leaf that there is: a cut must find that one.
    while (list->leaves > 0) {
      uint64_t span = 1;
      Page* page = nullptr;
      Got got = Descend(&list->tree, list->leaves - 1, Newness::kBorn, 0, &span, &page);
      if (got == Got::kLoading || --budget < 0) return false;
      if (got != Got::kNull) break;
      list->leaves = (list->leaves - 1) / span * span;
      MarkRecord(record);
    }
    v->lists_done = birth;
    v->list_leaf = 0;
  }
  v->lists_done = 0;
  return true;
}

// Takes the data off a leaf of a deadlist.
void PoolImpl::KeepPages(DeadList* list, Page* page) {
  const auto* before = reinterpret_cast<const DeadLeaf*>(page->data);
  bool any = false;
  for (uint32_t i = 0; i < before->count; ++i) any |= (before->blocks[i] & kDeadPages) == 0;
  if (!any && before->count > 0) return;
  Touch(page);
  auto* leaf = reinterpret_cast<DeadLeaf*>(page->data);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < leaf->count; ++i) {
    if ((leaf->blocks[i] & kDeadPages) == 0) {
      list->blocks -= leaf->blocks[i];
      dead_blocks_ -= leaf->blocks[i];
      continue;
    }
    leaf->phys[kept] = leaf->phys[i];
    leaf->born[kept] = leaf->born[i];
    leaf->blocks[kept] = leaf->blocks[i];
    ++kept;
  }
  page->used = leaf->count = kept;
  MarkRecord(list->tree.owner);
  if (kept == 0) DropUpward(page);
}

// --- Promotion ---

void PoolImpl::PromoteVolume(uint32_t handle, DoneFn done, void* context) {
  Enter();
  VolumeState* v = FindVolume(handle);
  Status status = MayChange();
  if (status != Status::kOk) {
  } else if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged) {
    status = Status::kNotFound;
  } else if (v->origin == nullptr) {
    status = Status::kInvalid;
  } else {
    status = MayPromote(v);
  }
  if (status == Status::kOk) {
    auto* control = new ControlOp;
    control->kind = LogKind::kPromote;
    control->volume = v;
    control->from = v->origin->head;
    v->promoting = control->from->promoting = true;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

// Neither line may be under work, and no name may meet its like.
Status PoolImpl::MayPromote(const VolumeState* v) const {
  const VolumeState* from = v->origin->head;
  for (const VolumeState* head : {v, from}) {
    if (head->state != RecordState::kLive || head->delete_logged || head->rolling ||
        head->promoting || head->walk.target != 0 || !head->pending.empty() || !head->cut.empty()) {
      return Status::kBusy;
    }
    for (const VolumeState* s : head->line) {
      // A segment was a snapshot that is gone: that it was deleted says nothing any more.
      const bool goes = s->kind == RecordKind::kSnapshot && s->delete_logged;
      if (s->state != RecordState::kLive || goes || s->recount || s->supers < 2) {
        return Status::kBusy;
      }
    }
    for (const auto& [name, s] : head->snapshots) {
      if (s->creating) return Status::kBusy;
    }
  }
  for (const VolumeState* s : from->line) {
    if (s->birth <= v->origin->birth && s->kind == RecordKind::kSnapshot &&
        v->snapshots.find(s->name) != v->snapshots.end()) {
      return Status::kExists;
    }
  }
  return Status::kOk;
}

// The origin and all before it become the clone's; the volume they were of becomes a clone of it.
void PoolImpl::ApplyPromote(VolumeState* v) {
  VolumeState* s = v->origin;
  VolumeState* from = s->head;
  std::vector<VolumeState*> moved;
  for (VolumeState* r : from->line) {
    if (r->birth <= s->birth) moved.push_back(r);
  }
  std::erase_if(from->line, [s](const VolumeState* r) { return r->birth <= s->birth; });
  for (VolumeState* r : moved) {
    if (r->kind == RecordKind::kSnapshot) from->snapshots.erase(r->name);
    r->head = v;
    r->head_tree = v->tree;
    if (r->kind == RecordKind::kSnapshot) v->snapshots[r->name] = r;
    MarkRecord(r);
  }
  v->line.insert(v->line.begin(), moved.begin(), moved.end());
  std::erase(s->clones, v);
  s->clones.push_back(from);
  v->origin = from->origin;
  v->origin_tree = from->origin_tree;
  v->origin_birth = from->origin_birth;
  if (v->origin != nullptr) {
    std::replace(v->origin->clones.begin(), v->origin->clones.end(), from, v);
  }
  from->origin = s;
  from->origin_tree = s->tree;
  from->origin_birth = s->birth;
  Relink(v);
  Relink(from);
  v->inherited = v->origin == nullptr ? 0 : kUnknown;
  from->inherited = from->newest == nullptr ? from->mapped - from->written : kUnknown;
  // The last one that moved has another neighbour now.
  s->recount = true;
  reclaim_.push_back(s);
  MarkRecord(v);
  MarkRecord(from);
}

}  // namespace ashlar
