// Changed-since (B2): a walk of a volume's map for blocks and holes above a version, pruned by the
// highest version below each page.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
// Leaves looked at for one call, and pages asked for ahead.
constexpr uint32_t kMaxLeaves = 4096;
constexpr uint32_t kAhead = 64;
}  // namespace

// What is known without loading: `span` leaves from `leaf` on, aligned, have nothing above `since`
// (kSkip), or are one hole of *version (kHole); or the leaf must be looked at (kLook).
PoolImpl::Below PoolImpl::LookBelow(Tree* tree, uint64_t leaf, uint64_t since, uint64_t* span,
                                    uint64_t* version) {
  const PagePtr* ptr = &tree->root.ptr;
  for (uint32_t level = tree->root.height;; --level) {
    const uint64_t index = leaf >> (kFanOutBits * level);
    *span = LeafSpan(level);
    Page* page = cache_.Find(tree, level, index);
    if (page == nullptr) {
      *version = ptr->max_version;
      if (ptr->max_version <= since) return Below::kSkip;
      return ptr->null() ? Below::kHole : Below::kLook;
    }
    // A page not written yet: its pointer knows nothing of what is in it. It may only be too high,
    // after a block went back to an older version.
    const bool fresh = page->dirty || page->assigned || page->in_checkpoint || page->loading;
    if (!fresh && !ptr->null() && ptr->max_version <= since) return Below::kSkip;
    if (level == 0 || page->loading || page->bad) return Below::kLook;
    ptr = &page->inner()->slots[(leaf >> (kFanOutBits * (level - 1))) & (kFanOut - 1)];
  }
}

void PoolImpl::ChangedSince(uint32_t handle, uint64_t since, uint64_t lba, uint32_t max_runs,
                            std::vector<ChangedRun>* runs, uint64_t* next, DoneFn done,
                            void* context) {
  Enter();
  runs->clear();
  const VolumeState* v = FindVolume(handle);
  Status status = Status::kOk;
  if (Faulted()) {
    status = Status::kIoError;
  } else if (state_ == PoolState::kClosed || closing_) {
    status = Status::kOffline;
  } else if (v == nullptr || v->kind == RecordKind::kSegment || v->creating ||
             v->state != RecordState::kLive) {
    status = Status::kNotFound;
  } else if (lba > v->size_blocks || max_runs == 0) {
    status = Status::kOutOfRange;
  }
  if (status == Status::kOk) {
    changed_.push_back({handle, since, lba, max_runs, runs, next, done, context, 0});
    StepChanged();
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::StepChanged() {
  while (!changed_.empty()) {
    ChangedOp& c = changed_.front();
    VolumeState* v = FindVolume(c.handle);
    const bool here = v != nullptr && v->state == RecordState::kLive;
    if (here && (!Readable(v) || !WalkChanged(v, &c))) return;
    if (here) *c.next = std::min(c.lba, v->size_blocks);
    CompleteControl(c.done, c.context, here ? Status::kOk : Status::kNotFound);
    changed_.erase(changed_.begin());
  }
}

// False: a page is on its way.
bool PoolImpl::WalkChanged(VolumeState* v, ChangedOp* c) {
  auto add = [c](uint64_t lba, uint64_t blocks, BlockKind kind, uint64_t version) {
    if (!c->runs->empty()) {
      ChangedRun& last = c->runs->back();
      if (last.kind == kind && last.version == version && last.lba + last.blocks == lba) {
        last.blocks += blocks;
        return true;
      }
    }
    if (c->runs->size() == c->max_runs) return false;
    c->runs->push_back({lba, blocks, version, kind});
    return true;
  };
  for (; c->lba < v->size_blocks && c->leaves < kMaxLeaves; ++c->leaves) {
    const uint64_t index = c->lba >> kLeafBits;
    uint64_t span = 0, version = 0;
    const Below below = LookBelow(&v->map, index, c->since, &span, &version);
    const uint64_t end = std::min((index / span + 1) * span << kLeafBits, v->size_blocks);
    if (below != Below::kLook) {
      if (below == Below::kHole && !add(c->lba, end - c->lba, BlockKind::kHole, version))
        return true;
      c->lba = end;
      continue;
    }
    Page* page = nullptr;
    const Got got = GetPage(&v->map, 0, index, nullptr, &page);
    if (got == Got::kLoading) {
      // And those the walk will want next: the medium has a queue.
      for (uint64_t i = index + 1; i < index + kAhead; ++i) {
        if ((i >> kFanOutBits) != (index >> kFanOutBits) || i << kLeafBits >= v->size_blocks) break;
        if (LookBelow(&v->map, i, c->since, &span, &version) != Below::kLook) continue;
        static_cast<void>(GetPage(&v->map, 0, i, nullptr, &page));
      }
      return false;
    }
    if (got == Got::kBad) {
      // H6: everything below the page that cannot be read.
      const uint64_t bad = BadSpan(&v->map, index);
      const uint64_t to = std::min((index / bad + 1) * bad << kLeafBits, v->size_blocks);
      if (!add(c->lba, to - c->lba, BlockKind::kUnknown, 0)) return true;
      c->lba = to;
      continue;
    }
    if (got == Got::kNull) continue;  // It went meanwhile: look again.
    const MapLeaf* leaf = page->map_leaf();
    const uint64_t to = std::min((index + 1) << kLeafBits, v->size_blocks);
    for (; c->lba < to; ++c->lba) {
      const uint64_t e = c->lba & (kLeafEntries - 1);
      if (leaf->kind[e] == kEntryEmpty || leaf->version[e] <= c->since) continue;
      const BlockKind kind = leaf->kind[e] == kEntryData ? BlockKind::kData : BlockKind::kHole;
      if (!add(c->lba, 1, kind, leaf->version[e])) return true;
    }
  }
  return true;
}

}  // namespace ashlar
