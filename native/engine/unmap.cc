// UNMAP of any length: one log entry for each 64 leaves that have anything in them. What is not
// mapped is skipped, a subtree a step.
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
    // Behind whatever waits: a write that was submitted before must not be overtaken.
    if (!ready_.empty() || !stalled_.empty()) {
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
  uint64_t lba = state->cursor;
  while (lba < end) {
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
  piece->blocks = std::min(end, (lba / kSpanBlocks + 1) * kSpanBlocks) - lba;
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
      FailPiece(piece, Status::kDamaged);
      return Admission::kDone;
    }
  }
  Admission room = loading ? Admission::kWait : HasRoom(0, sizeof(LogEntryHeader));
  if (room == Admission::kWait) {
    for (Page* leaf : piece->leaves) --leaf->pins;
    piece->leaves.clear();
    return room;
  }
  uint8_t* at = AppendEntry(piece, sizeof(LogEntryHeader));
  LogEntryHeader header{};
  header.kind = LogKind::kUnmap;
  header.bytes = sizeof header;
  header.tree = tree->id;
  header.lba = piece->lba;
  header.count = piece->blocks;
  header.version = piece->version;
  std::memcpy(at, &header, sizeof header);
  state->cursor = piece->lba + piece->blocks;
  return Admission::kGo;
}

void PoolImpl::ApplyUnmapLeaf(VolumeState* volume, Page* page, uint64_t lba, uint64_t blocks,
                              uint64_t version) {
  const uint64_t base = page->index << kLeafBits;
  const uint64_t begin = std::max(lba, base);
  const uint64_t end = std::min(lba + blocks, base + kLeafEntries);
  if (begin >= end || page->used + page->holes == 0) return;
  Touch(page);
  MapLeaf* leaf = page->map_leaf();
  for (uint64_t e = begin - base; e < end - base; ++e) {
    if (leaf->kind[e] == kEntryEmpty || leaf->version[e] > version) continue;  // W2
    if (leaf->kind[e] == kEntryData) {
      FreeRun(leaf->phys[e], 1);
      --page->used;
      --volume->mapped;
      --data_mapped_;
    } else {
      --page->holes;
    }
    leaf->phys[e] = leaf->born[e] = 0;
    leaf->crc[e] = 0;
    leaf->physical_bytes[e] = leaf->key_id[e] = 0;
    // B7: at or below the floor no one will ask for the hole's version.
    const bool keep = version > volume->hole_floor;
    leaf->kind[e] = keep ? kEntryHole : kEntryEmpty;
    leaf->version[e] = keep ? version : 0;
    page->holes += keep;
  }
}

}  // namespace ashlar
