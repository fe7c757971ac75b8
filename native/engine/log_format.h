// The intent log's blocks and entries (S5). A log block is 4096 bytes: a header, then entries back
// to back, then zeros.
//
// Block `sequence` lies at log_start + sequence % log_blocks. Its predecessor_crc is the `crc` of
// block sequence - 1, so a stale block of an earlier pass, or of a tail that an earlier recovery
// cut off, never continues the chain.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "native/engine/format.h"
#include "native/engine/pool.h"

namespace ashlar {

struct LogBlockHeader {
  uint32_t magic;
  uint32_t crc;  // Of the block with this field zero.
  Uuid store_id;
  uint64_t sequence;
  uint64_t opening;  // Counts openings of the pool: `flushed_up_to` speaks of blocks of the same
                     // opening only.
  uint64_t flushed_up_to;  // Every block below this sequence, and its data, was covered by a
                           // completed flush.
  uint64_t flushed_entries;  // Of block `flushed_up_to` itself, so many of its entries, and their
                             // data, too: it was applied up to there.
  uint32_t predecessor_crc;
  uint16_t entry_bytes;  // Of all entries together.
  uint16_t entries;
};
static_assert(sizeof(LogBlockHeader) == 64);
inline constexpr uint32_t kLogMagic = 0x4C485341;  // "ASHL"
inline constexpr uint32_t kLogEntrySpace = kBlockBytes - sizeof(LogBlockHeader);

enum class LogKind : uint8_t {
  kWrite = 1,
  kUnmap = 2,
  kCreate = 3,
  kResize = 4,
  kDelete = 5,
  kPutBlob = 6,
  kWriteAtomic = 7,
  kInstall = 16,  // B4, H3: blocks and holes with versions of their own.
  kMarks = 17,
  kSnapshot = 32,
  kDeleteSnapshot = 33,
  kClone = 34,
  kPromote = 35,
  kRollback = 36,    // Begun.
  kRolledBack = 37,  // Done, and in both superblocks.
};

// Every entry begins with this; `bytes` includes it and what follows, and is a multiple of 8.
struct LogEntryHeader {
  LogKind kind;
  uint8_t
      flags;  // kWrite: which part of its op (low half) and how many parts less one (high half).
              // kUnmap: 1, the op's last part. kInstall: Guard. kMarks: 1 floor, 2 contig.
  uint16_t bytes;
  uint16_t runs;    // kWrite, kWriteAtomic, kInstall: physical runs that follow.
  uint16_t blocks;  // kWrite, kInstall: 1..128, inside one leaf. kWriteAtomic: 1..256. kPutBlob:
                    // 0..16.
  uint64_t tree;
  uint64_t lba;      // kWrite, kWriteAtomic, kUnmap, kInstall. kPutBlob: the leaf of the blob tree.
                     // kCreate: the leaf of the catalog.
  uint64_t version;  // kWrite, kWriteAtomic, kUnmap, kSnapshot, kRollback. kInstall: `j` of B4.
                     // kMarks: contig. kClone: the tree of its origin.
  uint64_t count;  // kUnmap: blocks. kCreate, kResize: size in blocks. kPutBlob: bytes. kWrite,
                   // kWriteAtomic: the version of the op submitted before this one. kMarks: the
                   // hole floor.
};
static_assert(sizeof(LogEntryHeader) == 40);

// kWrite: `runs` of these, then `blocks` checksums.
struct LogRun {
  uint64_t phys;
  uint32_t blocks;
  uint32_t reserved;
};
static_assert(sizeof(LogRun) == 16);

// kWriteAtomic: one entry for a write of several leaves, since an entry is what recovery keeps or
// drops as a whole (S7). `runs` of u64, a physical run each: the block on its vdev in the low 48
// bits, the count in the 10 above, the vdev in the high 6; then `blocks` checksums.
inline constexpr uint32_t kPackedCountBits = 10;
static_assert(kMaxAtomicBlocks < 1u << kPackedCountBits);
static_assert(kMaxVdevs <= 1u << (64 - kVdevShift - kPackedCountBits));
inline uint64_t PackRun(uint64_t phys, uint32_t blocks) {
  return BlockOf(phys) | (VdevOf(phys) << kPackedCountBits | uint64_t{blocks}) << kVdevShift;
}
// kUnmap: follows the header.
struct LogUnmapBody {
  uint64_t previous;  // As kWrite's count.
};

// kInstall: `runs` of LogRun for the blocks that are data, then for each of `blocks` its version
// (8 bytes), its checksum (4) and its BlockKind (1).

// kCreate, kClone: follows the header, then the name.
struct LogCreate {
  Uuid id;
  uint64_t hole_floor;
  uint32_t name_bytes;
  uint32_t reserved;
};
static_assert(sizeof(LogCreate) == 32);

// kSnapshot: follows the header, then the name. A group of snapshots is as many entries in a row,
// perhaps in several blocks: only all of them together count.
struct LogSnapshot {
  uint64_t snapshot_tree;
  uint64_t created_ms;
  Uuid id;
  uint32_t group_index;  // From 0.
  uint32_t group_count;
  uint32_t name_bytes;
  uint32_t reserved;
};
static_assert(sizeof(LogSnapshot) == 48);

// kPutBlob: follows the header.
struct LogBlob {
  uint8_t key_bytes;
  char key[63];
  uint64_t phys[16];
  uint32_t crc[16];
};
static_assert(sizeof(LogBlob) == 256);

inline uint32_t WriteEntryBytes(uint32_t runs, uint32_t blocks) {
  return (sizeof(LogEntryHeader) + runs * sizeof(LogRun) + blocks * 4 + 7) & ~7u;
}
inline uint32_t WriteAtomicEntryBytes(uint32_t runs, uint32_t blocks) {
  return (sizeof(LogEntryHeader) + runs * 8 + blocks * 4 + 7) & ~7u;
}
// The worst cases, every block a run of its own, fit one block.
static_assert(sizeof(LogEntryHeader) + 128 * sizeof(LogRun) + 128 * 4 <= kLogEntrySpace);
static_assert(sizeof(LogEntryHeader) + kMaxAtomicBlocks * (8 + 4) <= kLogEntrySpace);
inline uint32_t InstallEntryBytes(uint32_t runs, uint32_t blocks) {
  return (sizeof(LogEntryHeader) + runs * sizeof(LogRun) + blocks * 13 + 7) & ~7u;
}
static_assert(sizeof(LogEntryHeader) + 128 * sizeof(LogRun) + 128 * 13 <= kLogEntrySpace);

// Stamps magic and crc.
void SealLogBlock(uint8_t* block);
// Whether this is block `sequence` of the store's log and every entry in it lies inside it. Chain
// and opening are the caller's to compare.
Status ParseLogBlock(const uint8_t* block, const Uuid& store_id, LogBlockHeader* out);

// One entry, its parts found and bounded. Pointers lead into the block.
struct LogEntry {
  LogEntryHeader header;
  const uint8_t* runs = nullptr;      // LogRun, or packed (kWriteAtomic); unaligned.
  const uint8_t* crcs = nullptr;      // uint32_t, unaligned.
  const uint8_t* versions = nullptr;  // kInstall: uint64_t, unaligned.
  const uint8_t* kinds = nullptr;     // kInstall: BlockKind.
  uint64_t previous = 0;              // kWrite, kWriteAtomic, kUnmap.
  LogCreate create{};
  LogSnapshot snapshot{};
  const char* name = nullptr;
  LogBlob blob{};

  LogRun Run(uint32_t i) const {
    LogRun run{};
    if (header.kind == LogKind::kWriteAtomic) {
      uint64_t packed;
      std::memcpy(&packed, runs + i * sizeof packed, sizeof packed);
      run.phys = PhysAt(packed >> (kVdevShift + kPackedCountBits), BlockOf(packed));
      run.blocks = static_cast<uint32_t>(packed >> kVdevShift) & ((1u << kPackedCountBits) - 1);
    } else {
      std::memcpy(&run, runs + i * sizeof run, sizeof run);
    }
    return run;
  }
  uint32_t Crc(uint32_t i) const {
    uint32_t crc;
    std::memcpy(&crc, crcs + i * 4, 4);
    return crc;
  }
  uint64_t Version(uint32_t i) const {
    uint64_t version;
    std::memcpy(&version, versions + i * 8, 8);
    return version;
  }
};

// Reads the entry at `offset` of the entry area. False: malformed. On success *offset is the next
// one's.
bool ParseLogEntry(const uint8_t* area, uint32_t area_bytes, uint32_t* offset, LogEntry* out);

}  // namespace ashlar
