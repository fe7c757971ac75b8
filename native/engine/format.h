// What the bytes on the medium mean, save for the log (log_format.h): superblock, pages, mapping
// leaves, records. Little endian. docs/on-disk-format.md says the same in words. Parse functions
// take raw bytes and trust none of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "native/engine/pool.h"
#include "native/engine/progress.h"

namespace ashlar {

// 2: devices carry labels, addresses name vdevs, space is made of regions.
inline constexpr uint32_t kFormatVersion = 2;

// Physical addresses: the vdev (a device, or the devices of one mirror) in the top 16 bits, a block
// of it below. Block 0 is a superblock, so 0 means "none".
inline constexpr uint32_t kVdevShift = 48;
inline constexpr uint64_t kPhysBlockMask = (1ull << kVdevShift) - 1;
inline constexpr uint32_t kMaxVdevs = 64;
inline constexpr uint32_t VdevOf(uint64_t phys) {
  return static_cast<uint32_t>(phys >> kVdevShift);
}
inline constexpr uint64_t BlockOf(uint64_t phys) { return phys & kPhysBlockMask; }
inline constexpr uint64_t PhysAt(uint64_t vdev, uint64_t block) {
  return vdev << kVdevShift | block;
}

// --- Places
// -------------------------------------------------------------------------------------------------------------------
// Blocks 0 and 1 of every device and its last two are superblock slots; generation g lives in slot
// g & 1, at both ends (S3). Beside them, inward, lie two label slots (label.h); label `sequence`
// lives in slot sequence & 1.
inline constexpr uint64_t kSuperSlots = 2;
inline constexpr uint64_t kLabelBlocks = 4;
inline constexpr uint64_t kEndBlocks = kSuperSlots + 2 * kLabelBlocks;  // At either end.
inline constexpr uint64_t kMinPoolBlocks = 1024;
inline constexpr uint64_t kMinLogBlocks = 64;
inline constexpr uint64_t kMaxLogBlocks = 131072;  // 512 MiB: bounds the time of a replay.

struct PagePtr {
  uint64_t addr[2] = {0, 0};  // Two copies (H6). 0, 0: no page.
  uint32_t crc =
      0;  // CRC32C of the page's 4096 bytes (S2: beside the pointer, not beside the data).
  uint32_t flags = 0;  // Zero so far.
  uint64_t born = 0;   // Generation that wrote it (S1); not later than the first snapshot that
                       // has it (S12).
  uint64_t max_version = 0;  // Highest version below (S1: resync prunes by it), or higher. Of a
                             // null one in a map: all below is one hole of this version (W6). Of a
                             // deadlist: the highest `born` below.
  uint64_t aux = 0;  // Sum below: mapped blocks in a volume map, blocks in use in the space map,
                     // blocks in a deadlist.
  bool null() const { return addr[0] == 0 && addr[1] == 0; }
};
static_assert(sizeof(PagePtr) == 48 && std::is_trivially_copyable_v<PagePtr>);

struct TreeRoot {
  PagePtr ptr;
  uint32_t height = 0;  // Inner levels above the leaves: a tree covers 64^height leaves.
  uint32_t reserved = 0;
};
static_assert(sizeof(TreeRoot) == 56);

// A stretch of blocks that the space map speaks of. Regions only ever grow in number: a vdev that
// is added, or that grew, brings one.
struct Region {
  uint64_t start = 0;   // An address.
  uint64_t blocks = 0;  // A count.
  uint64_t used = 0;    // Bits set in its leaves of the space map.
};
static_assert(sizeof(Region) == 24 && std::is_trivially_copyable_v<Region>);
inline constexpr uint32_t kMaxRegions = 64;

// A walk over everything (scrub, resilver, rebalance), as far as it got: it goes on from here.
struct WalkRecord {
  uint64_t tree = 0;          // Of the next leaf to look at, in the order of the walk.
  uint64_t leaf = 0;          // Its index.
  uint64_t since = 0;         // Only what was born after this generation is looked at.
  uint64_t cursor_since = 0;  // What is before the cursor: seen as of this generation.
  uint64_t started_s = 0;     // Unix time. 0: never.
  uint64_t ended_s = 0;       // Unix time. 0: not yet.
  uint64_t done_blocks = 0;   // Looked at.
  uint64_t total_blocks = 0;  // As estimated at the start.
  uint64_t healed_blocks = 0;
  uint64_t damaged_blocks = 0;  // Not healed.
  uint32_t state = 0;           // WalkState in pool_devices.h.
  uint32_t reserved = 0;
};
static_assert(sizeof(WalkRecord) == 88 && std::is_trivially_copyable_v<WalkRecord>);

struct Superblock {
  char magic[8];
  uint32_t format_version;
  uint32_t reserved0;
  uint64_t incompatible_features;  // One unknown bit set: not opened.
  uint64_t compatible_features;
  Uuid store_id;  // E6.
  char name[64];  // Zero-terminated.
  uint64_t generation;
  uint64_t size_blocks;  // Of all vdevs together.
  uint64_t log_start;    // An address.
  uint64_t log_blocks;   // A count. Log block `sequence` lies at log_start + sequence % log_blocks.
  uint32_t region_count;  // See regions.
  uint32_t
      growth_limit_percent;  // Writes that grow end when so much is in use. 100: at the reserve.
  uint64_t reserved1;
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
  uint8_t reserved[4096 - 704 - 3 * sizeof(WalkRecord) - kMaxRegions * sizeof(Region)];
  WalkRecord scrub, resilver, rebalance;
  Region regions[kMaxRegions];
  uint32_t reserved2;
  uint32_t crc;  // Last field: of every byte before it.
};
// Superblock::compatible_features: pages of the space map could not be read. The next opening that
// may write makes them anew (H6).
inline constexpr uint64_t kFeatureSpaceLost = 1;
// Pages of it were made anew while not all owners were known: more may be marked there than is in
// use. The next opening tries to find out again.
inline constexpr uint64_t kFeatureSpaceGuessed = 2;
static_assert(offsetof(Superblock, crc) == kBlockBytes - 4);
static_assert(sizeof(Superblock) == kBlockBytes && std::is_trivially_copyable_v<Superblock>);

void SealSuperblock(Superblock* superblock);
// kNotAPool: nothing of ours, or torn. kVersion: ours, but newer.
Status ParseSuperblock(const uint8_t* block, Superblock* out);

// --- Pages
// --------------------------------------------------------------------------------------------------------------------
enum class Role : uint8_t {
  kMap = 1,
  kCatalog = 2,
  kSpace = 3,
  kPending = 4,
  kBlob = 5,
  kDead = 6
};
inline constexpr uint32_t kMaxHeight = 7;  // 64^7 leaves of 128 blocks: past 2^48 blocks.
inline constexpr uint32_t kFanOut = 64;
inline constexpr uint32_t kFanOutBits = 6;
inline constexpr uint32_t kCatalogHeight = 3;
inline constexpr uint32_t kMaxRecords = kFanOut * kFanOut * kFanOut;  // Volumes and snapshots.
inline constexpr uint32_t kBlobHeight = 2;
inline constexpr uint32_t kMaxBlobs = kFanOut * kFanOut;  // Of a volume, and of the pool.
// Generations, sequences and tree ids count up one by one: what is not below was made up, and
// would wrap.
inline constexpr uint64_t kMaxCount = 1ull << 60;

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

// Blocks that a volume's head no longer names and a snapshot does (S12), in the order they left it.
inline constexpr uint32_t kDeadRuns = 200;
inline constexpr uint32_t kDeadPages = 1u << 31;  // In `blocks`: they hold pages, not data.
struct DeadLeaf {
  PageHeader header;
  uint32_t count;
  uint32_t reserved0;
  uint64_t phys[kDeadRuns];
  uint64_t born[kDeadRuns];
  uint32_t blocks[kDeadRuns];
  uint8_t reserved[kBlockBytes - 72 - kDeadRuns * 20];
};
static_assert(sizeof(DeadLeaf) == kBlockBytes);

enum class RecordKind : uint8_t {
  kVolume = 1,
  kSnapshot = 2,
  kSegment = 3,  // A deadlist whose snapshot is gone: it belongs to the next one in the line.
};
enum class RecordState : uint8_t {
  kFree = 0,
  kLive = 1,
  kDeleting = 2,
  kCondemned = 3,    // A snapshot whose blocks are being freed: no longer in the line.
  kRollingBack = 4,  // A volume that becomes what its newest snapshot is.
};
inline constexpr uint32_t kRecordRecount =
    1;  // CatalogLeaf::flags: the unique counts are not valid.

// What a record says about snapshots. Counts are of blocks.
struct LineRecord {
  uint64_t head_tree;     // Of a snapshot or segment: its volume's.
  uint64_t map_tree;      // In the page headers of `map`: clones share their origin's.
  uint64_t birth;         // Of a snapshot or segment: the generation that it ends.
  uint64_t origin_birth;  // Of a clone: its origin's.
  uint64_t version_base;  // Blocks born at or before it compare as version 0 (S14).
  uint64_t created_ms;    // Unix time.
  uint64_t written;       // Data born after the snapshot before.
  uint64_t unique;        // Of a snapshot: what its deletion frees, pages included.
  uint64_t unique_data;   // The data in it.
  uint64_t inherited;     // Of a clone: data still shared with its origin.
  uint64_t dead_tree;     // In the page headers of `dead`.
  uint64_t dead_leaves;   // Leaves ever appended.
  uint64_t dead_blocks;   // The sum of `dead`, pages included.
  uint64_t rollback_version;
  TreeRoot
      dead;  // Blocks that left the head in the time up to `birth`, or for a volume since then.
};
static_assert(sizeof(LineRecord) == 168 && std::is_trivially_copyable_v<LineRecord>);

// A leaf of the catalog: one volume, snapshot, or segment.
struct CatalogLeaf {
  PageHeader header;
  RecordKind kind;
  RecordState state;
  uint16_t name_bytes;
  uint32_t flags;
  Uuid id;
  uint64_t tree;
  uint64_t size_blocks;
  uint64_t mapped_blocks;
  uint64_t version;     // Highest applied.
  uint64_t hole_floor;  // Holes of a version at or below it are dropped at once (B7). All ones: a
                        // stand-alone volume.
  uint64_t created_generation;
  uint64_t origin_tree;  // Of a clone: the snapshot it was made from. 0: no clone.
  TreeRoot map;
  TreeRoot blobs;
  char name[256];
  ProgressRecord progress;
  LineRecord line;
  uint8_t reserved[kBlockBytes - 64 - 8 - 16 - 56 - 112 - 256 - sizeof(ProgressRecord) -
                   sizeof(LineRecord)];
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

// The addresses that pages may name, and the leaf of the space map that speaks of each: a view of
// regions that somebody else keeps. Leaves are numbered on through the regions, each of which
// begins with a leaf of its own.
struct PhysRange {
  const Region* regions = nullptr;
  uint32_t count = 0;

  const Region* Find(uint64_t phys) const {
    for (uint32_t i = 0; i < count; ++i) {
      if (phys >= regions[i].start && phys - regions[i].start < regions[i].blocks)
        return &regions[i];
    }
    return nullptr;
  }
  bool Holds(uint64_t phys) const { return Find(phys) != nullptr; }
  bool HoldsRun(uint64_t phys, uint64_t blocks) const {
    const Region* region = Find(phys);
    return region != nullptr && blocks <= region->blocks - (phys - region->start);
  }
  static uint64_t GroupsOf(const Region& region) {
    return (region.blocks + kGroupBlocks - 1) / kGroupBlocks;
  }
  uint64_t Groups() const {
    uint64_t groups = 0;
    for (uint32_t i = 0; i < count; ++i) groups += GroupsOf(regions[i]);
    return groups;
  }
  uint64_t Blocks() const {
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < count; ++i) blocks += regions[i].blocks;
    return blocks;
  }
  // Of an address that is held.
  uint64_t GroupOf(uint64_t phys) const {
    uint64_t base = 0;
    for (uint32_t i = 0; i + 1 < count; ++i) {
      if (phys >= regions[i].start && phys - regions[i].start < regions[i].blocks) {
        return base + (phys - regions[i].start) / kGroupBlocks;
      }
      base += GroupsOf(regions[i]);
    }
    return base + (phys - regions[count - 1].start) / kGroupBlocks;
  }
  uint32_t BitOf(uint64_t phys) const {
    const Region* region = count == 1 ? regions : Find(phys);
    return static_cast<uint32_t>((phys - region->start) % kGroupBlocks);
  }
  // The region of a leaf that exists, and the leaf's index in it.
  uint32_t RegionOfGroup(uint64_t group, uint64_t* in_region) const {
    uint32_t i = 0;
    for (; i + 1 < count && group >= GroupsOf(regions[i]); ++i) group -= GroupsOf(regions[i]);
    *in_region = group;
    return i;
  }
  uint64_t AddressOf(uint64_t group, uint64_t bit) const {
    uint64_t at = 0;
    const Region& region = regions[RegionOfGroup(group, &at)];
    return region.start + at * kGroupBlocks + bit;
  }
  uint32_t Capacity(uint64_t group) const {
    uint64_t at = 0;
    const Region& region = regions[RegionOfGroup(group, &at)];
    const uint64_t left = region.blocks - at * kGroupBlocks;
    return static_cast<uint32_t>(left < kGroupBlocks ? left : kGroupBlocks);
  }
};

// Whether every number inside a page with a right checksum can be used: no address outside `range`,
// no count past its array.
bool PageIsSound(const uint8_t* page, Role role, uint8_t level, PhysRange range);

}  // namespace ashlar
