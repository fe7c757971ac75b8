// What the bytes on the medium mean, save for the log (log_format.h): superblock, pages, mapping
// leaves, records. Little endian. docs/on-disk-format.md says the same in words. Parse functions
// take raw bytes and trust none of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "native/engine/pool.h"

namespace ashlar {

inline constexpr uint32_t kFormatVersion = 1;

// Physical addresses: device in the top 16 bits (0: pools of one device), block below. Block 0 is a
// superblock, so 0 means "none".
inline constexpr uint64_t kPhysBlockMask = (1ull << 48) - 1;

// --- Places
// -------------------------------------------------------------------------------------------------------------------
// Blocks 0 and 1 and the last two are superblock slots; generation g lives in slot g & 1, at both
// ends (S3).
inline constexpr uint64_t kSuperFrontBlocks = 2;
inline constexpr uint64_t kMinPoolBlocks = 1024;
inline constexpr uint64_t kMinLogBlocks = 64;
inline constexpr uint64_t kMaxLogBlocks = 131072;  // 512 MiB: bounds the time of a replay.

struct PagePtr {
  uint64_t addr[2] = {0, 0};  // Two copies (H6). 0, 0: no page.
  uint32_t crc =
      0;  // CRC32C of the page's 4096 bytes (S2: beside the pointer, not beside the data).
  uint32_t flags = 0;        // Zero so far.
  uint64_t born = 0;         // Generation that wrote it (S1).
  uint64_t max_version = 0;  // Highest version below (S1: resync prunes by it).
  uint64_t aux = 0;  // Sum below: mapped blocks in a volume map, blocks in use in the space map.
  bool null() const { return addr[0] == 0 && addr[1] == 0; }
};
static_assert(sizeof(PagePtr) == 48 && std::is_trivially_copyable_v<PagePtr>);

struct TreeRoot {
  PagePtr ptr;
  uint32_t height = 0;  // Inner levels above the leaves: a tree covers 64^height leaves.
  uint32_t reserved = 0;
};
static_assert(sizeof(TreeRoot) == 56);

struct Superblock {
  char magic[8];
  uint32_t format_version;
  uint32_t reserved0;
  uint64_t incompatible_features;  // One unknown bit set: not opened.
  uint64_t compatible_features;
  Uuid store_id;  // E6.
  char name[64];  // Zero-terminated.
  uint64_t generation;
  uint64_t size_blocks;  // Of the medium, as formatted.
  uint64_t log_start;    // In blocks.
  uint64_t log_blocks;   // A count. Log block `sequence` lies at log_start + sequence % log_blocks.
  uint64_t alloc_start;  // First block the space map speaks of.
  uint64_t alloc_blocks;  // A count.
  uint64_t log_sequence;  // Replay begins here.
  uint64_t log_opening;   // The opening (E7, counted) that wrote this superblock.
  uint32_t log_predecessor_crc;
  uint32_t open_id_count;
  TreeRoot catalog, space, pending, blobs;
  uint64_t next_tree;        // Tree ids are never reused.
  uint64_t metadata_blocks;  // Page copies in use.
  uint64_t pending_runs;     // In the pending-free pages.
  uint64_t pending_blocks;
  Uuid open_ids[16];  // Newest last (E7).
  uint8_t reserved[4096 - 700];
  uint32_t crc;  // Last field: of every byte before it.
};
static_assert(offsetof(Superblock, crc) == kBlockBytes - 4);
static_assert(sizeof(Superblock) == kBlockBytes && std::is_trivially_copyable_v<Superblock>);

void SealSuperblock(Superblock* superblock);
// kNotAPool: nothing of ours, or torn. kVersion: ours, but newer.
Status ParseSuperblock(const uint8_t* block, Superblock* out);

// --- Pages
// --------------------------------------------------------------------------------------------------------------------
enum class Role : uint8_t { kMap = 1, kCatalog = 2, kSpace = 3, kPending = 4, kBlob = 5 };
inline constexpr uint32_t kMaxHeight = 7;  // 64^7 leaves of 128 blocks: past 2^48 blocks.
inline constexpr uint32_t kFanOut = 64;
inline constexpr uint32_t kFanOutBits = 6;

struct PageHeader {
  uint32_t magic;
  Role role;
  uint8_t level;  // 0: leaf.
  uint16_t reserved0;
  Uuid store_id;
  uint64_t tree;   // 0 for the pool's own trees, else the volume's tree id.
  uint64_t index;  // Among the pages of its level.
  uint64_t born;   // Equals PagePtr::born.
  uint64_t reserved1[2];
};
static_assert(sizeof(PageHeader) == 64);
inline constexpr uint32_t kPageMagic = 0x50485341;  // "ASHP"

struct InnerPage {
  PageHeader header;
  PagePtr slots[kFanOut];
  uint8_t reserved[kBlockBytes - 64 - kFanOut * 48];
};
static_assert(sizeof(InnerPage) == kBlockBytes);

// A volume map's leaf: 128 mapping entries as a structure of arrays (S1).
inline constexpr uint32_t kLeafEntries = 128;
inline constexpr uint32_t kLeafBits = 7;
enum EntryKind : uint8_t {
  kEntryEmpty = 0,
  kEntryData = 1,
  kEntryHole = 2
};  // Hole: with a version (W6).
struct MapLeaf {
  PageHeader header;
  uint64_t phys[kLeafEntries];
  uint64_t version[kLeafEntries];
  uint64_t born[kLeafEntries];
  uint32_t crc[kLeafEntries];
  uint8_t kind[kLeafEntries];            // Low 4 bits EntryKind; high 4 for compression's kind.
  uint8_t physical_bytes[kLeafEntries];  // Reserved: compressed length in 16-byte units less one.
                                         // 255: whole.
  uint8_t key_id[kLeafEntries];          // Reserved for encryption. 0: none.
  uint8_t reserved[64];
};
static_assert(sizeof(MapLeaf) == kBlockBytes);

// A leaf of the space map: bit i is set if block alloc_start + index * kGroupBlocks + i is in use
// or waits to be freed.
inline constexpr uint32_t kGroupBlocks = 31744;
inline constexpr uint32_t kGroupWords = kGroupBlocks / 64;
struct SpaceLeaf {
  PageHeader header;
  uint64_t words[kGroupWords];
  uint8_t reserved[kBlockBytes - 64 - kGroupWords * 8];
};
static_assert(sizeof(SpaceLeaf) == kBlockBytes);

// Blocks freed but not yet reusable (S13), as runs.
inline constexpr uint32_t kPendingRuns = 330;
struct PendingLeaf {
  PageHeader header;
  uint32_t count;
  uint32_t reserved0;
  uint64_t phys[kPendingRuns];
  uint32_t blocks[kPendingRuns];
  uint8_t reserved[kBlockBytes - 72 - kPendingRuns * 12];
};
static_assert(sizeof(PendingLeaf) == kBlockBytes);

enum class RecordState : uint8_t { kFree = 0, kLive = 1, kDeleting = 2 };
// A leaf of the catalog: one volume. `kind` leaves room for snapshots and clones.
struct CatalogLeaf {
  PageHeader header;
  uint8_t kind;  // 1: volume.
  RecordState state;
  uint16_t name_bytes;
  uint32_t reserved0;
  Uuid id;
  uint64_t tree;
  uint64_t size_blocks;
  uint64_t mapped_blocks;
  uint64_t version;     // Highest applied.
  uint64_t hole_floor;  // Holes of a version at or below it are dropped at once (B7). All ones: a
                        // stand-alone volume.
  uint64_t created_generation;
  uint64_t origin_tree;  // Reserved for clones.
  TreeRoot map;
  TreeRoot blobs;
  char name[256];
  uint8_t reserved[kBlockBytes - 64 - 8 - 16 - 56 - 112 - 256];
};
static_assert(sizeof(CatalogLeaf) == kBlockBytes);

inline constexpr uint32_t kBlobBlocks = 16;
inline constexpr uint32_t kBlobKeyBytes = 63;
inline constexpr uint32_t kBlobBytes = kBlobBlocks * kBlockBytes;
// A leaf of a blob tree: one blob.
struct BlobLeaf {
  PageHeader header;
  uint32_t bytes;  // 0: no blob here.
  uint8_t key_bytes;
  char key[63];
  uint32_t reserved0;
  uint64_t phys[kBlobBlocks];
  uint32_t crc[kBlobBlocks];
  uint8_t reserved[kBlockBytes - 136 - kBlobBlocks * 12];
};
static_assert(sizeof(BlobLeaf) == kBlockBytes);

// Where a page should be, and so what its header must say (S2: a misdirected or lost write shows).
struct PageIdentity {
  Uuid store_id;
  Role role;
  uint8_t level;
  uint64_t tree;
  uint64_t index;
};

// Whether the 4096 bytes are the page that `ptr` names.
bool PageMatches(const uint8_t* page, const PageIdentity& identity, const PagePtr& ptr);
void WriteHeader(uint8_t* page, const PageIdentity& identity, uint64_t born);

// Bounds of physical addresses that pages may name.
struct PhysRange {
  uint64_t start = 0;
  uint64_t end = 0;
  bool Holds(uint64_t phys) const { return phys >= start && phys < end; }
  bool HoldsRun(uint64_t phys, uint64_t blocks) const {
    return phys >= start && phys < end && blocks <= end - phys;
  }
};

// Whether every number inside a page with a right checksum can be used: no address outside `range`,
// no count past its array.
bool PageIsSound(const uint8_t* page, Role role, uint8_t level, PhysRange range);

}  // namespace ashlar
