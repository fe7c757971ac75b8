// What changed between two snapshots, or a snapshot and its volume: a walk over what was born after
// the earlier one, beside the earlier one's map. What both share is passed by, a subtree a step.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr uint32_t kMaxLeaves = 1024;  // A call.
}  // namespace

// Whether `to` goes on from what `from` held.
bool PoolImpl::Precedes(const VolumeState* from, const VolumeState* to) {
  uint64_t before = to->kind == RecordKind::kSnapshot ? to->birth : ~0ull;
  for (const VolumeState* head = to->head != nullptr ? to->head : to; head != nullptr;) {
    if (from->head == head) return from->birth < before;
    if (head->origin == nullptr) return false;
    before = head->origin->birth + 1;
    head = head->origin->head;
  }
  return false;
}

void PoolImpl::Changed(uint32_t from, uint32_t to, uint64_t lba, uint32_t max_runs,
                       std::vector<MapRun>* runs, uint64_t* next, DoneFn done, void* context) {
  Enter();
  runs->clear();
  const VolumeState* a = from == 0 ? nullptr : FindVolume(from);
  const VolumeState* b = FindVolume(to);
  Status status = Status::kOk;
  auto usable = [](const VolumeState* v) {
    return v != nullptr && v->kind != RecordKind::kSegment && !v->creating && !v->delete_logged;
  };
  if (Faulted()) {
    status = Status::kIoError;
  } else if (state_ == PoolState::kClosed || closing_) {
    status = Status::kOffline;
  } else if (!usable(b) || (from != 0 && !usable(a))) {
    status = Status::kNotFound;
  } else if (b->rolling) {
    status = Status::kBusy;
  } else if (max_runs == 0 || (a != nullptr && !Precedes(a, b))) {
    status = Status::kInvalid;
  }
  if (status == Status::kOk) {
    diffs_.push_back({from, to, lba, max_runs, runs, next, done, context});
    StepDiff();
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::StepDiff() {
  while (!diffs_.empty()) {
    DiffOp& d = diffs_.front();
    VolumeState* a = d.from == 0 ? nullptr : FindVolume(d.from);
    VolumeState* b = FindVolume(d.to);
    Status status = Status::kOk;
    if (b == nullptr || b->delete_logged || (d.from != 0 && (a == nullptr || a->delete_logged))) {
      status = Status::kNotFound;
    } else if (!Readable(b) || (a != nullptr && !Readable(a)) || !WalkDiff(a, b, &d, &status)) {
      return;
    }
    if (status == Status::kOk) *d.next = std::min(d.lba, b->size_blocks);
    CompleteControl(d.done, d.context, status);
    diffs_.erase(diffs_.begin());
  }
}

// False: a page is on its way.
bool PoolImpl::WalkDiff(VolumeState* a, VolumeState* b, DiffOp* d, Status* status) {
  const uint64_t bound = a == nullptr ? 0 : a->birth;
  auto add = [d](uint64_t lba, bool mapped) {
    if (!d->runs->empty()) {
      MapRun& last = d->runs->back();
      if (last.mapped == mapped && last.lba + last.blocks == lba) {
        ++last.blocks;
        return true;
      }
    }
    if (d->runs->size() == d->max_runs) return false;
    d->runs->push_back({lba, 1, mapped});
    return true;
  };
  for (uint32_t leaves = 0; d->lba < b->size_blocks && leaves < kMaxLeaves;) {
    const uint64_t index = d->lba >> kLeafBits;
    uint64_t span = 1;
    bool absent = false;
    Page* now = nullptr;
    Page* then = nullptr;
    Got got = Descend(&b->map, index, Newness::kBorn, bound, &span, &now, &absent);
    if (got == Got::kNull && a != nullptr && absent) {
      // Nothing here any more: what was is a hole.
      uint64_t earlier = 1;
      const Got old = Descend(&a->map, index, Newness::kBorn, 0, &earlier, &then);
      if (old == Got::kNull) span = std::min(span, earlier);
      if (old != Got::kNull) got = old;
      if (old == Got::kHere) span = 1;
    } else if (got == Got::kHere && a != nullptr) {
      uint64_t earlier = 1;
      const Got old = Descend(&a->map, index, Newness::kBorn, 0, &earlier, &then);
      if (old != Got::kNull) got = old;
    }
    if (got == Got::kLoading) return false;
    if (got == Got::kBad) {
      *status = Status::kDamaged;
      return true;
    }
    if (got == Got::kNull) {
      d->lba = (index / span + 1) * span << kLeafBits;
      continue;
    }
    ++leaves;
    const uint64_t end = std::min((index + 1) << kLeafBits, b->size_blocks);
    for (; d->lba < end; ++d->lba) {
      const uint32_t e = d->lba & (kLeafEntries - 1);
      const bool is = now != nullptr && now->map_leaf()->kind[e] == kEntryData;
      const bool was = then != nullptr && then->map_leaf()->kind[e] == kEntryData;
      if (!is && !was) continue;
      if (is && was && now->map_leaf()->phys[e] == then->map_leaf()->phys[e]) continue;
      if (!add(d->lba, is)) return true;
    }
  }
  return true;
}

}  // namespace ashlar
