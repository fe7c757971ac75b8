// UNMAP of any length: one log entry for each 64 leaves that have anything in them. Where holes
// have no versions, what is not mapped is skipped, a subtree a step. Where they have (W6), a late
// copy must find them on blocks that were never written too: a subtree that is not there becomes
// one hole, its version in the null pointer's max_version, and pages made below it later inherit
// it.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr uint64_t kSpanBlocks = static_cast<uint64_t>(kLeafEntries) * kFanOut;
}

void PoolImpl::StepUnmap(OpState* state) {
  const uint64_t end = state->op->lba + state->op->blocks;
  while (state->cursor < end && state->status == Status::kOk) {
    Piece* piece = NewPiece(PieceKind::kUnmap, state);
    piece->lba = state->cursor;
    piece->blocks = end - piece->lba;
    piece->version = state->op->version;
    state->stepping = true;
    // Behind whatever waits: a write that was submitted before must not be overtaken. Yet before a
    // snapshot that waits for us.
    if (BeforeASnapshot(state)) {
      if (!ready_.empty() || TryStartUnmap(piece) == Admission::kWait) ready_.Push(piece);
    } else if (!ready_.empty() || !stalled_.empty()) {
      stalled_.Push(piece);
    } else if (TryStartUnmap(piece) == Admission::kWait) {
      stalled_.Push(piece);
    }
    state->stepping = false;
    if (state->pieces > 0) return;
  }
  FinishOp(state);
}

PoolImpl::Admission PoolImpl::TryStartUnmap(Piece* piece) {
  OpState* state = piece->op;
  Tree* tree = &piece->volume->map;
  const uint64_t end = state->op->lba + state->op->blocks;
  const bool keep = piece->version > piece->volume->hole_floor;
  uint64_t lba = state->cursor;
  uint64_t absent = keep ? NullSpan(tree, lba >> kLeafBits) : 0;
  while (!keep && lba < end) {
    const uint64_t span = NullSpan(tree, lba >> kLeafBits);
    if (span == 0) break;
    lba = ((lba >> kLeafBits) / span + 1) * span << kLeafBits;
  }
  state->cursor = std::min(lba, end);
  if (lba >= end) {
    FinishPiece(piece, Status::kOk);
    return Admission::kDone;
  }
  piece->lba = lba;
  // A subtree larger than what one inner page speaks of goes whole: there is nothing to look at.
  const uint64_t step = std::max<uint64_t>(kSpanBlocks, absent << kLeafBits);
  piece->blocks = std::min(end, (lba / step + 1) * step) - lba;
  if (absent >= kFanOut) return LogUnmap(piece);
  // What the try before this one found stays until this one has looked: the part of the cache that
  // is this volume's may be smaller than what other reads of it bring in meanwhile.
  std::vector<Page*> held;
  held.swap(piece->leaves);
  const uint64_t last = (lba + piece->blocks - 1) >> kLeafBits;
  bool loading = false;
  for (uint64_t index = lba >> kLeafBits; index <= last; ++index) {
    Page* leaf = nullptr;
    Got got = GetPage(tree, 0, index, nullptr, &leaf);
    if (got == Got::kLoading) {
      loading = true;
    } else if (got == Got::kHere) {
      ++leaf->pins;
      piece->leaves.push_back(leaf);
    } else if (got == Got::kBad) {
      for (Page* page : held) --page->pins;
      FailPiece(piece, Status::kDamaged);
      return Admission::kDone;
    }
  }
  for (Page* page : held) --page->pins;
  return loading ? Admission::kWait : LogUnmap(piece);
}

PoolImpl::Admission PoolImpl::LogUnmap(Piece* piece) {
  constexpr uint32_t kBytes = sizeof(LogEntryHeader) + sizeof(LogUnmapBody);
  const Admission room = HasRoom(0, kBytes, PagesOf(piece));
  if (room == Admission::kWait) return room;
  OpState* state = piece->op;
  // A hole with a version may need pages. It gives blocks back, so it may use more of the reserve
  // than a write.
  // Pages that a snapshot has are needed twice from then on, whatever the hole is.
  const VolumeState* v = piece->volume;
  const bool grows = piece->version > v->hole_floor || v->prev_birth > 0 || v->origin != nullptr;
  const uint64_t needs = reserve_ / 4 + 4 * (kMaxHeight + 1);
  if (grows && (room == Admission::kDone || FreeSoon() < needs + OwedBlocks())) {
    if (owed_pages_ > 0) return Admission::kWait;
    FinishPiece(piece, Status::kNoSpace, piece->lba);
    return Admission::kDone;
  }
  Tree* tree = &piece->volume->map;
  // What the application will look at stays in memory: the leaves, and above what is not there the
  // page that says so.
  for (uint32_t level = 1; level <= tree->root.height; ++level) {
    Page* above = cache_.Find(tree, level, piece->lba >> kLeafBits >> (kFanOutBits * level));
    if (above == nullptr) continue;
    ++above->pins;
    piece->leaves.push_back(above);
    break;
  }
  state->cursor = piece->lba + piece->blocks;
  uint8_t* at = AppendEntry(piece, kBytes);
  LogEntryHeader header{};
  header.kind = LogKind::kUnmap;
  header.flags = state->cursor == state->op->lba + state->op->blocks ? 1 : 0;
  header.bytes = kBytes;
  header.tree = piece->volume->tree;
  header.lba = piece->lba;
  header.count = piece->blocks;
  header.version = piece->version;
  std::memcpy(at, &header, sizeof header);
  std::memcpy(at + sizeof header, &state->previous, sizeof state->previous);
  if (state->cursor >= state->op->lba + state->op->blocks) OpLogged(state);
  return Admission::kGo;
}

// `wait`: pages may have to be loaded, as only a replay can.
void PoolImpl::UnmapRange(VolumeState* volume, uint64_t lba, uint64_t blocks, uint64_t version,
                          bool wait) {
  Tree* tree = &volume->map;
  const bool keep = version > volume->hole_floor;
  const uint64_t end = std::min(lba + blocks, volume->size_blocks);
  for (uint64_t at = lba; at < end;) {
    const uint64_t index = at >> kLeafBits;
    Page* leaf = nullptr;
    const Got got =
        wait ? WaitPage(tree, index, false, &leaf) : GetPage(tree, 0, index, nullptr, &leaf);
    uint64_t next = (index + 1) << kLeafBits;
    if (got == Got::kHere) {
      ApplyUnmapLeaf(volume, leaf, at, end - at, version);
    } else if (got == Got::kBad) {
      const uint64_t span = BadSpan(tree, index);
      next = (index / span + 1) * span << kLeafBits;
    } else if (got == Got::kNull) {
      const uint64_t span = std::max<uint64_t>(1, NullSpan(tree, index));
      // The largest subtree that begins here and lies in the range. What is behind the volume's end
      // counts as in it.
      uint32_t level = 0;
      auto covered = [&](uint32_t l) {
        if (at != index << kLeafBits || (index & (LeafSpan(l) - 1)) != 0) return false;
        return std::min((index + LeafSpan(l)) << kLeafBits, volume->size_blocks) <= end;
      };
      if (!keep) {
        next = (index / span + 1) * span << kLeafBits;
      } else if (covered(0)) {
        while (LeafSpan(level + 1) <= span && level < tree->root.height && covered(level + 1)) {
          ++level;
        }
        MarkHole(tree, level, index >> (kFanOutBits * level), version);
        next = (index + LeafSpan(level)) << kLeafBits;
      } else if (GetOrCreate(tree, index, nullptr, &leaf) == Got::kHere) {
        ApplyUnmapLeaf(volume, leaf, at, end - at, version);
      }
    }
    at = next;
  }
  volume->version = std::max(volume->version, version);
  MarkRecord(volume);
}

// The subtree is not there, so its ancestors in memory say so. It is one hole from now on.
void PoolImpl::MarkHole(Tree* tree, uint32_t level, uint64_t index, uint64_t version) {
  if (level == tree->root.height) {
    SetHole(tree, &tree->root.ptr, version);
    return;
  }
  Page* parent = MakePath(tree, level + 1, index >> kFanOutBits);
  const uint64_t slot = index & (kFanOut - 1);
  PagePtr marked = parent->inner()->slots[slot];
  if (!SetHole(tree, &marked, version)) return;
  Touch(parent);
  parent->inner()->slots[slot] = marked;
}

// W2, for a hole that is a null pointer. False: it stays as it is.
bool PoolImpl::SetHole(const Tree* tree, PagePtr* ptr, uint64_t version) {
  const VolumeState* volume = tree->owner;
  if (ptr->max_version >= version && ptr->born > volume->version_base) return false;
  ptr->max_version = version;
  ptr->born = generation_;
  return true;
}

void PoolImpl::ApplyUnmapLeaf(VolumeState* volume, Page* page, uint64_t lba, uint64_t blocks,
                              uint64_t version) {
  const uint64_t base = page->index << kLeafBits;
  const uint64_t begin = std::max(lba, base);
  const uint64_t end = std::min(lba + blocks, base + kLeafEntries);
  const bool keep = version > volume->hole_floor;
  if (begin >= end || (!keep && page->used + page->holes == 0)) return;
  Touch(page);
  MapLeaf* leaf = page->map_leaf();
  for (uint64_t e = begin - base; e < end - base; ++e) {
    if (leaf->kind[e] == kEntryEmpty) {
      if (!keep) continue;
    } else if (leaf->version[e] > version && !IsInherited(volume, leaf->born[e])) {
      continue;  // W2
    }
    if (leaf->kind[e] == kEntryData) {
      RetireData(volume, leaf->phys[e], leaf->born[e]);
      --page->used;
      --volume->mapped;
      --data_mapped_;
    } else {
      page->holes -= leaf->kind[e] == kEntryHole;
    }
    ClearEntry(volume, page, static_cast<uint32_t>(e), version);
  }
}

// The entry's block is given up, and what it counted as. B7: at or below the floor no one will ask
// for the hole's version.
void PoolImpl::ClearEntry(const VolumeState* volume, Page* page, uint32_t e, uint64_t version) {
  MapLeaf* leaf = page->map_leaf();
  const bool keep = version > volume->hole_floor;
  leaf->phys[e] = 0;
  leaf->born[e] = keep ? generation_ : 0;
  leaf->crc[e] = 0;
  leaf->physical_bytes[e] = leaf->key_id[e] = 0;
  leaf->kind[e] = keep ? kEntryHole : kEntryEmpty;
  leaf->version[e] = keep ? version : 0;
  page->holes += keep;
}

void PoolImpl::SetEntry(MapLeaf* leaf, uint32_t e, uint64_t phys, uint64_t version, uint32_t crc) {
  leaf->kind[e] = kEntryData;
  leaf->physical_bytes[e] = 255;
  leaf->phys[e] = phys;
  leaf->version[e] = version;
  leaf->born[e] = generation_;
  leaf->crc[e] = crc;
}

}  // namespace ashlar
