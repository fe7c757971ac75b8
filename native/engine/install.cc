// Copies from a peer: blocks that bring versions of their own (B4, H3). An install is a write whose
// guard looks at each block's version when it is applied, in the order of the log, so that live
// changes beside it always win, and a replay decides the same.
#include <algorithm>
#include <cassert>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {

// An unmap goes step by step, so that what is submitted after it may be applied before its last
// step. Versions make that good for changes; an install that goes back to an older version must see
// what came before it. It waits for the unmaps that were submitted before it, and for no other: one
// that came after may be waiting for a snapshot that waits for the install.
void PoolImpl::StartInstall(OpState* state) {
  VolumeState* v = state->volume;
  state->unmap = v->unmaps_begun;
  v->installs.push_back(state);
  PassInstalls(v);
}

void PoolImpl::UnmapEnded(OpState* state) {
  state->volume->unmaps.erase(state->unmap);
  PassInstalls(state->volume);
}

void PoolImpl::PassInstalls(VolumeState* v) {
  while (!v->installs.empty()) {
    OpState* state = v->installs.front();
    if (!Faulted() && !v->unmaps.empty() && *v->unmaps.begin() < state->unmap) return;
    v->installs.pop_front();
    if (Faulted()) {
      state->status = Status::kIoError;
      FinishOp(state);
    } else {
      StartWrite(state);
    }
  }
}

// The bytes are what their sender says they are (H1), each of them, before anything is changed.
bool PoolImpl::TagsMatch(const Op* op, uint64_t* bad_lba) const {
  for (uint64_t i = 0; i < op->blocks; ++i) {
    const BlockTag& tag = op->tags[i];
    if (op->guard != Guard::kNewer && tag.kind != BlockKind::kData) continue;
    if (Crc32c(op->data + i * kBlockBytes, kBlockBytes) == tag.crc) continue;
    *bad_lba = op->lba + i;
    return false;
  }
  return true;
}

// W9: what no copy can deliver any more is data whose checksum its bytes do not have. It reads as
// damaged, a rebuild and a recovery see its version, and whatever is written there ends it.
void PoolImpl::SpoilUnknown(const Op* op) {
  if (op->guard == Guard::kNewer) return;
  for (uint64_t i = 0; i < op->blocks; ++i) {
    BlockTag& tag = op->tags[i];
    if (tag.kind != BlockKind::kUnknown) continue;
    tag.kind = BlockKind::kData;
    tag.crc = ~Crc32c(op->data + i * kBlockBytes, kBlockBytes);
  }
}

bool PoolImpl::InstallIsSound(const Op* op) {
  if (op->guard == Guard::kNewer) return true;
  if (op->tags == nullptr) return false;
  for (uint64_t i = 0; i < op->blocks; ++i) {
    const BlockTag& tag = op->tags[i];
    if (tag.kind > BlockKind::kUnknown) return false;
    if (tag.kind == BlockKind::kUnknown && tag.version == 0) return false;
    if (tag.kind == BlockKind::kEmpty && tag.version != 0) return false;
    if (op->guard >= Guard::kExact && tag.kind != BlockKind::kData) return false;
  }
  return true;
}

// Takes blocks for the piece's data and logs it. False: the pool has faulted.
bool PoolImpl::LogInstall(Piece* piece) {
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  const BlockTag* tags = piece->op->op->tags + (piece->lba - piece->op->op->lba);
  for (uint32_t at = 0; at < blocks;) {
    if (tags[at].kind != BlockKind::kData) {
      ++at;
      continue;
    }
    uint32_t end = at + 1;
    while (end < blocks && tags[end].kind == BlockKind::kData) ++end;
    for (; at < end; at += piece->runs.back().blocks) {
      if ((piece->op->op->flags & kOpMove) != 0) PreferEmptier();
      PhysRun run{};
      if (!AllocRun(&data_, end - at, &run)) {
        Fault("space map: free blocks miscounted");
        return false;
      }
      piece->runs.push_back(run);
    }
  }
  const auto runs = static_cast<uint32_t>(piece->runs.size());
  const uint32_t bytes = InstallEntryBytes(runs, blocks);
  uint8_t* at = AppendEntry(piece, bytes);
  LogEntryHeader header{};
  header.kind = LogKind::kInstall;
  header.flags = static_cast<uint8_t>(piece->op->op->guard);
  header.bytes = static_cast<uint16_t>(bytes);
  header.runs = static_cast<uint16_t>(runs);
  header.blocks = static_cast<uint16_t>(blocks);
  header.tree = piece->volume->tree;
  header.lba = piece->lba;
  header.version = piece->version;
  std::memcpy(at, &header, sizeof header);
  at += sizeof header;
  for (const PhysRun& run : piece->runs) {
    const LogRun logged{run.phys, run.blocks, 0};
    std::memcpy(at, &logged, sizeof logged);
    at += sizeof logged;
  }
  for (uint32_t i = 0; i < blocks; ++i) {
    std::memcpy(at + i * 8, &tags[i].version, 8);
    std::memcpy(at + blocks * 8 + i * 4, &tags[i].crc, 4);
    at[blocks * 12 + i] = static_cast<uint8_t>(tags[i].kind);
  }
  return true;
}

// Submits the data of a logged install, run by run; holes lie between them.
void PoolImpl::SendInstallData(Piece* piece) {
  const BlockTag* tags = piece->op->op->tags + (piece->lba - piece->op->op->lba);
  uint32_t at = 0;
  const size_t runs = piece->runs.size();
  for (size_t i = 0; i < runs; ++i) {
    const PhysRun run = piece->runs[i];
    while (tags[at].kind != BlockKind::kData) ++at;
    SubmitIo(IoKind::kWrite, run.phys, run.blocks, piece->data + uint64_t{at} * kBlockBytes, piece,
             &PoolImpl::WriteIoDone);
    at += run.blocks;
  }
}

// `tags` say what comes, `runs` where the data of those that are data lies.
void PoolImpl::ApplyInstall(VolumeState* volume, Page* page, uint64_t lba, uint32_t blocks,
                            Guard guard, uint64_t joined, const std::vector<PhysRun>& runs,
                            BlockTag* tags) {
  Touch(page);
  MapLeaf* leaf = page->map_leaf();
  size_t run = 0;
  uint32_t in_run = 0;
  if (!runs.empty()) ApplyAlloc(runs[0]);
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t e = static_cast<uint32_t>(lba & (kLeafEntries - 1)) + i;
    BlockTag& tag = tags[i];
    uint64_t phys = 0;
    if (tag.kind == BlockKind::kData) {
      if (in_run == runs[run].blocks) {
        ApplyAlloc(runs[++run]);
        in_run = 0;
      }
      phys = runs[run].phys + in_run++;
    }
    const bool empty = leaf->kind[e] == kEntryEmpty || IsInherited(volume, leaf->born[e]);
    const uint64_t has = empty ? 0 : leaf->version[e];
    // A repair goes by the version that reads show, also of what a clone has from its origin.
    // A block may have been repaired between a move's read and its turn.
    const bool exact = leaf->kind[e] == kEntryData && leaf->version[e] == tag.version &&
                       (guard != Guard::kSame || leaf->crc[e] == tag.crc);
    const bool take =
        guard == Guard::kJoin ? has != tag.version && (has < joined || has < tag.version) : exact;
    tag.result = take ? kTagInstalled : 0;
    if (!take) {
      if (phys != 0) FreeRun(phys, 1);
      continue;
    }
    const bool was_data = leaf->kind[e] == kEntryData;
    if (was_data) RetireData(volume, leaf->phys[e], leaf->born[e]);
    page->holes -= leaf->kind[e] == kEntryHole;
    if (tag.kind == BlockKind::kData) {
      SetEntry(leaf, e, phys, tag.version, tag.crc);
      ++volume->written;
      page->used += !was_data;
      volume->mapped += !was_data;
      data_mapped_ += !was_data;
      volume->version = std::max(volume->version, tag.version);
      continue;
    }
    page->used -= was_data;
    volume->mapped -= was_data;
    data_mapped_ -= was_data;
    ClearEntry(volume, page, e, tag.version);
  }
  MarkRecord(volume);
}

void PoolImpl::ReplayInstall(Replay* replay, const LogEntry& entry, bool verify) {
  const LogEntryHeader& e = entry.header;
  std::vector<Run> named;
  std::vector<BlockTag> tags(e.blocks);
  std::vector<uint32_t> crcs;
  for (uint32_t i = 0; i < e.runs; ++i) named.push_back({entry.Run(i).phys, entry.Run(i).blocks});
  for (uint32_t i = 0; i < e.blocks; ++i) {
    tags[i].version = entry.Version(i);
    tags[i].crc = entry.Crc(i);
    tags[i].kind = static_cast<BlockKind>(entry.kinds[i]);
    if (tags[i].kind == BlockKind::kData) crcs.push_back(tags[i].crc);
  }
  std::vector<PhysRun> runs;
  if (!ReplayAlloc(replay, named, &runs)) {
    log_damaged_ = true;
    return;
  }
  const bool drop = verify && !ReplayDataMatches(runs, crcs);  // S7.
  dropped_entries_ += drop;
  VolumeState* v = FindTree(e.tree);
  Page* leaf = nullptr;
  const bool known =
      v != nullptr && v->state == RecordState::kLive && e.lba + e.blocks <= v->size_blocks;
  if (!drop && known && WaitPage(&v->map, e.lba >> kLeafBits, true, &leaf) == Got::kHere) {
    ApplyInstall(v, leaf, e.lba, e.blocks, static_cast<Guard>(e.flags), e.version, runs,
                 tags.data());
    return;
  }
  for (const PhysRun& run : runs) {
    ApplyAlloc(run);
    FreeRun(run.phys, run.blocks);
  }
}

}  // namespace ashlar
