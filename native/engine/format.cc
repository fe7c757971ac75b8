#include "native/engine/format.h"

#include "native/engine/crc32c.h"

namespace ashlar {
namespace {

constexpr char kSuperMagic[8] = {'A', 'S', 'H', 'L', 'A', 'R', 'S', 'B'};

bool PtrIsSound(const PagePtr& ptr, PhysRange range) {
  if (ptr.null()) return true;
  return range.Holds(ptr.addr[0]) && range.Holds(ptr.addr[1]);
}

bool RootIsSound(const TreeRoot& root, PhysRange range, uint32_t max_height = kMaxHeight) {
  return root.height <= max_height && PtrIsSound(root.ptr, range);
}

bool InnerIsSound(const InnerPage& page, PhysRange range) {
  for (const PagePtr& slot : page.slots) {
    if (!PtrIsSound(slot, range)) return false;
  }
  return true;
}

bool MapLeafIsSound(const MapLeaf& leaf, PhysRange range) {
  for (uint32_t i = 0; i < kLeafEntries; ++i) {
    if (leaf.kind[i] > kEntryHole) return false;
    if (leaf.kind[i] == kEntryData && !range.Holds(leaf.phys[i])) return false;
  }
  return true;
}

// No bit is set behind the end of the leaf's region.
bool SpaceIsSound(const SpaceLeaf& leaf, PhysRange range) {
  if (leaf.header.index >= range.Groups()) return false;
  for (uint32_t bit = range.Capacity(leaf.header.index); bit < kGroupBlocks;) {
    const uint32_t shift = bit & 63;
    if (leaf.words[bit >> 6] >> shift != 0) return false;
    bit += 64 - shift;
  }
  return true;
}

bool PendingIsSound(const PendingLeaf& leaf, PhysRange range) {
  if (leaf.count > kPendingRuns) return false;
  for (uint32_t i = 0; i < leaf.count; ++i) {
    if (leaf.blocks[i] == 0 || !range.HoldsRun(leaf.phys[i], leaf.blocks[i])) return false;
  }
  return true;
}

bool DeadIsSound(const DeadLeaf& leaf, PhysRange range) {
  if (leaf.count > kDeadRuns) return false;
  for (uint32_t i = 0; i < leaf.count; ++i) {
    const uint32_t blocks = leaf.blocks[i] & ~kDeadPages;
    if (blocks == 0 || !range.HoldsRun(leaf.phys[i], blocks)) return false;
  }
  return true;
}

bool CatalogIsSound(const CatalogLeaf& leaf, PhysRange range) {
  const LineRecord& line = leaf.line;
  switch (leaf.state) {
    case RecordState::kFree:
      return true;
    case RecordState::kLive:
      if (leaf.kind < RecordKind::kVolume || leaf.kind > RecordKind::kSegment) return false;
      break;
    case RecordState::kDeleting:
      if (leaf.kind != RecordKind::kVolume && leaf.kind != RecordKind::kSnapshot) return false;
      break;
    case RecordState::kCondemned:
      if (leaf.kind != RecordKind::kSnapshot) return false;
      break;
    case RecordState::kRollingBack:
      if (leaf.kind != RecordKind::kVolume) return false;
      break;
    default:
      return false;
  }
  return leaf.name_bytes <= 255 && leaf.tree != 0 && leaf.tree < kMaxCount &&
         leaf.header.index < kMaxRecords && leaf.size_blocks > 0 &&
         leaf.size_blocks <= kPhysBlockMask && RootIsSound(leaf.map, range) &&
         RootIsSound(leaf.blobs, range, kBlobHeight) && RootIsSound(line.dead, range) &&
         line.dead_leaves <= 1ull << (kFanOutBits * line.dead.height) && line.birth < kMaxCount;
}

bool BlobIsSound(const BlobLeaf& leaf, PhysRange range) {
  if (leaf.bytes > kBlobBytes || leaf.key_bytes > kBlobKeyBytes) return false;
  uint32_t blocks = (leaf.bytes + kBlockBytes - 1) / kBlockBytes;
  for (uint32_t i = 0; i < blocks; ++i) {
    if (!range.Holds(leaf.phys[i])) return false;
  }
  return true;
}

}  // namespace

void SealSuperblock(Superblock* superblock) {
  std::memcpy(superblock->magic, kSuperMagic, sizeof kSuperMagic);
  superblock->format_version = kFormatVersion;
  superblock->crc = Crc32c(superblock, kBlockBytes - 4);
}

Status ParseSuperblock(const uint8_t* block, Superblock* out) {
  if (std::memcmp(block, kSuperMagic, sizeof kSuperMagic) != 0) return Status::kNotAPool;
  std::memcpy(out, block, sizeof *out);
  if (out->crc != Crc32c(block, kBlockBytes - 4)) return Status::kNotAPool;
  if (out->format_version != kFormatVersion || out->incompatible_features != 0)
    return Status::kVersion;
  if (out->size_blocks < kMinPoolBlocks || out->size_blocks > kPhysBlockMask) {
    return Status::kCorrupt;
  }
  // The log's ring, then the regions: inside their vdevs, and none over another.
  struct Extent {
    uint64_t start, blocks;
  };
  Extent extents[kMaxRegions + 1];
  uint32_t count = 0;
  if (out->log_blocks < kMinLogBlocks || out->log_blocks > kMaxLogBlocks ||
      out->region_count == 0 || out->region_count > kMaxRegions ||
      out->growth_limit_percent > 100) {
    return Status::kCorrupt;
  }
  extents[count++] = {out->log_start, out->log_blocks};
  for (uint32_t i = 0; i < out->region_count; ++i) {
    if (out->regions[i].used > out->regions[i].blocks) return Status::kCorrupt;
    extents[count++] = {out->regions[i].start, out->regions[i].blocks};
  }
  for (uint32_t i = 0; i < count; ++i) {
    const Extent& e = extents[i];
    if (VdevOf(e.start) >= kMaxVdevs || BlockOf(e.start) < kEndBlocks || e.blocks == 0 ||
        e.blocks > kPhysBlockMask - BlockOf(e.start)) {
      return Status::kCorrupt;
    }
    for (uint32_t j = 0; j < i; ++j) {
      if (e.start < extents[j].start + extents[j].blocks && extents[j].start < e.start + e.blocks) {
        return Status::kCorrupt;
      }
    }
  }
  if (out->open_id_count > 16 || out->name[63] != 0) return Status::kCorrupt;
  const PhysRange range{out->regions, out->region_count};
  if (out->generation >= kMaxCount || out->log_sequence >= kMaxCount ||
      out->log_opening >= kMaxCount || out->next_tree >= kMaxCount) {
    return Status::kCorrupt;
  }
  if (!RootIsSound(out->catalog, range, kCatalogHeight) || !RootIsSound(out->space, range) ||
      !RootIsSound(out->pending, range) || !RootIsSound(out->blobs, range, kBlobHeight)) {
    return Status::kCorrupt;
  }
  return Status::kOk;
}

bool PageMatches(const uint8_t* page, const PageIdentity& identity, const PagePtr& ptr) {
  PageHeader header;
  std::memcpy(&header, page, sizeof header);
  return header.magic == kPageMagic && header.role == identity.role &&
         header.level == identity.level && header.tree == identity.tree &&
         header.index == identity.index && header.born == ptr.born &&
         header.store_id == identity.store_id && Crc32c(page, kBlockBytes) == ptr.crc;
}

void WriteHeader(uint8_t* page, const PageIdentity& identity, uint64_t born) {
  PageHeader header{};
  header.magic = kPageMagic;
  header.role = identity.role;
  header.level = identity.level;
  header.store_id = identity.store_id;
  header.tree = identity.tree;
  header.index = identity.index;
  header.born = born;
  std::memcpy(page, &header, sizeof header);
}

bool PageIsSound(const uint8_t* page, Role role, uint8_t level, PhysRange range) {
  if (level > 0) return InnerIsSound(*reinterpret_cast<const InnerPage*>(page), range);
  switch (role) {
    case Role::kMap:
      return MapLeafIsSound(*reinterpret_cast<const MapLeaf*>(page), range);
    case Role::kCatalog:
      return CatalogIsSound(*reinterpret_cast<const CatalogLeaf*>(page), range);
    case Role::kSpace:
      return SpaceIsSound(*reinterpret_cast<const SpaceLeaf*>(page), range);
    case Role::kPending:
      return PendingIsSound(*reinterpret_cast<const PendingLeaf*>(page), range);
    case Role::kBlob:
      return BlobIsSound(*reinterpret_cast<const BlobLeaf*>(page), range);
    case Role::kDead:
      return DeadIsSound(*reinterpret_cast<const DeadLeaf*>(page), range);
  }
  return false;
}

}  // namespace ashlar
