// Reads and verifies. Every block is checked against the CRC in its mapping entry (S2); what fails
// is looked up once more, because the block may have moved while the read was on its way; then all
// its places are tried, and the bad ones healed from a good one; without one it is answered as
// damaged (W9), zeroed.
#include <algorithm>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
bool TestBit(const uint64_t* bits, uint32_t i) { return (bits[i >> 6] >> (i & 63)) & 1; }
void SetBit(uint64_t* bits, uint32_t i) { bits[i >> 6] |= 1ull << (i & 63); }

BlockTag TagOf(const MapLeaf* leaf, uint32_t e) {
  BlockTag tag;
  tag.version = leaf->kind[e] == kEntryEmpty ? 0 : leaf->version[e];
  tag.crc = leaf->kind[e] == kEntryData ? leaf->crc[e] : 0;
  tag.kind = static_cast<BlockKind>(leaf->kind[e]);
  return tag;
}
}  // namespace

void PoolImpl::StartRead(OpState* state) {
  const Op* op = state->op;
  ++state->pieces;  // Not to end before the last piece is made.
  uint64_t lba = op->lba;
  const uint64_t end = op->lba + op->blocks;
  while (lba < end) {
    Piece* piece = NewPiece(PieceKind::kRead, state);
    piece->lba = lba;
    piece->blocks = std::min<uint64_t>(end - lba, kLeafEntries - (lba & (kLeafEntries - 1)));
    if (op->kind == OpKind::kRead) piece->data = op->data + (lba - op->lba) * kBlockBytes;
    lba += piece->blocks;
    ReadPiece(piece);
  }
  if (--state->pieces == 0) FinishOp(state);
}

void PoolImpl::ReadPiece(Piece* piece) {
  Page* page = nullptr;
  Got got = GetPage(&piece->volume->map, 0, piece->lba >> kLeafBits, piece, &page);
  if (got == Got::kLoading) return;
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  const bool verify = piece->kind == PieceKind::kVerify;
  BlockTag* const tags = verify || piece->op->op->tags == nullptr
                             ? nullptr
                             : piece->op->op->tags + (piece->lba - piece->op->op->lba);
  if (got == Got::kNull) {
    if (piece->data != nullptr) std::memset(piece->data, 0, blocks * kBlockBytes);
    if (tags != nullptr) {
      BlockTag tag;
      tag.version = NullVersion(&piece->volume->map, piece->lba >> kLeafBits);
      if (tag.version != 0) tag.kind = BlockKind::kHole;
      std::fill_n(tags, blocks, tag);
    }
    return FinishPiece(piece, Status::kOk);
  }
  const MapLeaf* leaf = page->map_leaf();
  const uint32_t base = piece->lba & (kLeafEntries - 1);
  const bool offers = !verify && (piece->op->op->flags & kOpOffer) != 0;
  const bool again = piece->retried;
  if (offers) piece->retried = true;  // All places are looked at right away.
  uint64_t wanted[2] = {piece->bad[0], piece->bad[1]};
  piece->bad[0] = piece->bad[1] = 0;
  piece->ios = 1;  // Not to end before the last I/O is out.
  for (uint32_t i = 0; i < blocks;) {
    if (again && !TestBit(wanted, i)) {
      ++i;
      continue;
    }
    const uint32_t e = base + i;
    if (tags != nullptr) tags[i] = TagOf(leaf, e);
    if (piece->data == nullptr) {
      ++i;
      continue;
    }
    if (leaf->kind[e] != kEntryData) {
      if (!verify && !offers) std::memset(piece->data + i * kBlockBytes, 0, kBlockBytes);
      ++i;
      continue;
    }
    if (again || offers) {
      ++piece->ios;
      RepairData(leaf->phys[e], leaf->crc[e], piece, &PoolImpl::ReadRepaired, i, false,
                 offers ? piece->data + i * kBlockBytes : nullptr);
      ++i;
      continue;
    }
    uint32_t n = 1;
    piece->crc[i] = leaf->crc[e];
    while (i + n < blocks && leaf->kind[e + n] == kEntryData &&
           leaf->phys[e + n] == leaf->phys[e] + n) {
      piece->crc[i + n] = leaf->crc[e + n];
      if (tags != nullptr) tags[i + n] = TagOf(leaf, e + n);
      ++n;
    }
    ++piece->ios;
    SubmitIo(IoKind::kRead, leaf->phys[e], n, piece->data + i * kBlockBytes, piece,
             &PoolImpl::ReadIoDone, i);
    i += n;
  }
  if (--piece->ios == 0) ReadDone(piece);
}

void PoolImpl::ReadIoDone(EngineIo* io) {
  Piece* piece = static_cast<Piece*>(io->owner);
  const uint32_t first = io->first;
  const uint32_t blocks = io->request.bytes / kBlockBytes;
  if (io->request.result != 0) {
    ++io_errors_;
    for (uint32_t i = first; i < first + blocks; ++i) SetBit(piece->bad, i);
  } else {
    const bool checked = io->checked;
    for (uint32_t i = first; i < first + blocks; ++i) {
      if (checked ? !TestBit(io->check.bad, i - first)
                  : Crc32c(piece->data + i * kBlockBytes, kBlockBytes) == piece->crc[i]) {
        continue;
      }
      SetBit(piece->bad, i);
      ++checksum_errors_;
    }
    // Which side it was, is counted when it is repaired.
  }
  FreeIo(io);
  if (--piece->ios == 0) ReadDone(piece);
}

void PoolImpl::ReadRepaired(Repair* repair) {
  Piece* piece = static_cast<Piece*>(repair->owner);
  const uint32_t i = repair->index;
  if (repair->good) {
    std::memcpy(piece->data + i * kBlockBytes, repair->buffer, kBlockBytes);
  } else {
    SetBit(piece->bad, i);
  }
  if (--piece->ios == 0) ReadDone(piece);
}

void PoolImpl::ReadDone(Piece* piece) {
  if ((piece->bad[0] | piece->bad[1]) == 0) return FinishPiece(piece, Status::kOk);
  if (!piece->retried && !Faulted()) {
    piece->retried = true;
    return ReadPiece(piece);
  }
  uint64_t failed = ~0ull;
  for (uint32_t i = 0; i < piece->blocks; ++i) {
    if (!TestBit(piece->bad, i)) continue;
    if (failed == ~0ull) failed = piece->lba + i;
    if (piece->kind == PieceKind::kRead && piece->op->op->tags != nullptr) {
      piece->op->op->tags[piece->lba + i - piece->op->op->lba].result = kTagDamaged;
    }
    std::memset(piece->data + i * kBlockBytes, 0, kBlockBytes);
  }
  FinishPiece(piece, Status::kDamaged, failed);
}

// One leaf at a time, so that any length takes one buffer. Subtrees that are not there cost one
// step.
void PoolImpl::StepVerify(OpState* state) {
  const uint64_t end = state->op->lba + state->op->blocks;
  while (state->cursor < end && state->status == Status::kOk) {
    const uint64_t leaf = state->cursor >> kLeafBits;
    if (const uint64_t span = NullSpan(&state->volume->map, leaf)) {
      state->cursor = (leaf / span + 1) * span << kLeafBits;
      continue;
    }
    Piece* piece = NewPiece(PieceKind::kVerify, state);
    piece->lba = state->cursor;
    piece->blocks =
        std::min<uint64_t>(end - piece->lba, kLeafEntries - (piece->lba & (kLeafEntries - 1)));
    piece->data = TakeBuffer();
    state->cursor += piece->blocks;
    state->stepping = true;
    ReadPiece(piece);
    state->stepping = false;
    if (state->pieces > 0) return;
  }
  FinishOp(state);
}

}  // namespace ashlar
