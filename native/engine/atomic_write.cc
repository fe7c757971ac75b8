// Atomic writes (C7): all or nothing after a crash, up to kMaxAtomicBlocks anywhere in a volume.
//
// What recovery keeps or drops as a whole is a log entry (S7). A write inside one leaf is one entry
// anyway; one that reaches into more gets a single entry of a kind of its own, and stays one piece:
// its leaves are held together, and change together when it is applied.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {

// Whether an ordinary write would be more than one entry.
bool PoolImpl::NeedsAtomicEntry(const Op* op) const {
  const uint64_t last = op->lba + op->blocks - 1;
  return (op->flags & kOpAtomic) != 0 && op->lba >> kLeafBits != last >> kLeafBits;
}

// All leaves that the piece changes, or none.
PoolImpl::Got PoolImpl::PinLeaves(Piece* piece) {
  const uint64_t last = (piece->lba + piece->blocks - 1) >> kLeafBits;
  Got worst = Got::kHere;
  for (uint64_t index = piece->lba >> kLeafBits; index <= last; ++index) {
    Page* leaf = nullptr;
    // No early end: what is missing is loaded all at once.
    Got got = GetOrCreate(&piece->volume->map, index, nullptr, &leaf);
    if (got == Got::kHere) {
      ++leaf->pins;
      piece->leaves.push_back(leaf);
    } else if (worst != Got::kBad) {
      worst = got;
    }
  }
  if (worst != Got::kHere) {
    for (Page* leaf : piece->leaves) --leaf->pins;
    piece->leaves.clear();
  }
  return worst;
}

void PoolImpl::ApplyWriteAtomic(VolumeState* volume, const std::vector<Page*>& leaves, uint64_t lba,
                                uint64_t version, const std::vector<PhysRun>& runs,
                                const uint32_t* crc) {
  // Each leaf gets the parts of the runs that lie in it.
  std::vector<PhysRun> parts;
  size_t next = 0;
  uint32_t taken = 0;  // Of runs[next].
  for (Page* leaf : leaves) {
    parts.clear();
    const auto room = static_cast<uint32_t>(kLeafEntries - (lba & (kLeafEntries - 1)));
    uint32_t blocks = 0;
    while (blocks < room && next < runs.size()) {
      const PhysRun& run = runs[next];
      const uint32_t count = std::min(room - blocks, run.blocks - taken);
      parts.push_back({run.phys + taken, count, run.group});
      blocks += count;
      taken += count;
      if (taken == run.blocks) {
        ++next;
        taken = 0;
      }
    }
    ApplyWrite(volume, leaf, lba, blocks, version, parts, crc);
    lba += blocks;
    crc += blocks;
  }
}

// False, and nothing changed: a leaf cannot be read.
bool PoolImpl::ReplayWriteAtomic(VolumeState* volume, const LogEntryHeader& header,
                                 const std::vector<PhysRun>& runs, const uint32_t* crc) {
  const uint64_t last = (header.lba + header.blocks - 1) >> kLeafBits;
  std::vector<Page*> leaves;
  bool good = true;
  for (uint64_t index = header.lba >> kLeafBits; good && index <= last; ++index) {
    Page* leaf = nullptr;
    good = WaitPage(&volume->map, index, true, &leaf) == Got::kHere;
    if (!good) break;
    ++leaf->pins;  // Loading the next one must not drop it.
    leaves.push_back(leaf);
  }
  if (good) ApplyWriteAtomic(volume, leaves, header.lba, header.version, runs, crc);
  for (Page* leaf : leaves) --leaf->pins;
  return good;
}

}  // namespace ashlar
