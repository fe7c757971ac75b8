#include "native/test/model/model.h"

#include <algorithm>
#include <cstring>

#include "native/engine/crc32c.h"

namespace ashlar::model {
namespace {
uint64_t Seed(uint64_t lba, uint64_t value) {
  return (value * 0x9E3779B97F4A7C15ull) ^ (lba << 20);
}
}  // namespace

uint64_t Volume::Mapped() const {
  return static_cast<uint64_t>(std::count_if(
      blocks.begin(), blocks.end(), [](const Block& b) { return b.kind == BlockKind::kData; }));
}

const std::vector<Block>& Volume::Held(size_t at) const {
  return at < snapshots.size() ? snapshots[at]->blocks : blocks;
}

const Snapshot* Volume::Before(size_t at) const {
  return at > 0 ? snapshots[at - 1].get() : origin;
}

uint64_t Volume::Written(size_t at) const {
  const Snapshot* before = Before(at);
  const std::vector<Block>& held = Held(at);
  uint64_t sum = 0;
  for (uint64_t lba = 0; lba < held.size(); ++lba) {
    if (held[lba].kind != BlockKind::kData) continue;
    sum +=
        before == nullptr || lba >= before->blocks.size() || !held[lba].Same(before->blocks[lba]);
  }
  return sum;
}

uint64_t Volume::Inherited() const {
  if (origin == nullptr) return 0;
  uint64_t sum = 0;
  for (uint64_t lba = 0; lba < std::min(blocks.size(), origin->blocks.size()); ++lba) {
    sum += blocks[lba].kind == BlockKind::kData && blocks[lba].Same(origin->blocks[lba]);
  }
  return sum;
}

void Volume::Write(uint64_t lba, uint64_t count, uint64_t version, uint64_t value) {
  for (uint64_t at = lba; at < lba + count; ++at) {
    if (!blocks[at].inherited && blocks[at].version > version) continue;
    blocks[at] = {BlockKind::kData, version, value};
  }
}

void Volume::Unmap(uint64_t lba, uint64_t count, uint64_t version) {
  const bool keep = KeepsHoles(version);
  for (uint64_t at = lba; at < lba + count; ++at) {
    if (!blocks[at].inherited && blocks[at].version > version) continue;
    // Where holes have no versions, one from the origin may stay: nobody asks for it.
    if (!keep && blocks[at].inherited && blocks[at].kind == BlockKind::kHole) continue;
    blocks[at] = keep ? Block{BlockKind::kHole, version, 0} : Block{};
  }
}

bool Volume::Install(uint64_t lba, const BlockTag& tag, uint64_t value, Guard guard,
                     uint64_t joined) {
  Block& block = blocks[lba];
  const bool take =
      guard == Guard::kExact
          ? block.kind == BlockKind::kData && block.version == tag.version
          : block.version != tag.version && (block.version < joined || block.version < tag.version);
  if (!take) return false;
  if (tag.kind == BlockKind::kData) {
    block = {BlockKind::kData, tag.version, value};
  } else {
    block = KeepsHoles(tag.version) ? Block{BlockKind::kHole, tag.version, 0} : Block{};
  }
  return true;
}

void Volume::Rollback(const Snapshot& to, uint64_t version) {
  const bool keep = KeepsHoles(version);
  blocks.resize(to.blocks.size());
  size = blocks.size();
  for (uint64_t lba = 0; lba < size; ++lba) {
    if (blocks[lba].Same(to.blocks[lba])) continue;
    if (to.blocks[lba].kind == BlockKind::kData) {
      blocks[lba] = to.blocks[lba];
      blocks[lba].version = version;
    } else {
      blocks[lba] = keep ? Block{BlockKind::kHole, version, 0} : Block{};
    }
  }
}

void Volume::Promote() {
  Volume* from = origin->volume;
  auto end = std::find_if(from->snapshots.begin(), from->snapshots.end(),
                          [this](const auto& s) { return s.get() == origin; });
  ++end;
  for (auto it = from->snapshots.begin(); it != end; ++it) (*it)->volume = this;
  snapshots.insert(snapshots.begin(), std::make_move_iterator(from->snapshots.begin()),
                   std::make_move_iterator(end));
  from->snapshots.erase(from->snapshots.begin(), end);
  std::swap(origin, from->origin);
}

void Volume::Applied(uint64_t version, bool unmap) {
  if (!unmap || KeepsHoles(version)) contig = std::max(contig, version);
}

std::vector<ChangedRun> Volume::ChangedSince(uint64_t since) const {
  std::vector<ChangedRun> runs;
  for (uint64_t lba = 0; lba < size; ++lba) {
    const Block& b = blocks[lba];
    if (b.kind == BlockKind::kEmpty || b.version <= since) continue;
    if (!runs.empty()) {
      ChangedRun& last = runs.back();
      if (last.lba + last.blocks == lba && last.kind == b.kind && last.version == b.version) {
        ++last.blocks;
        continue;
      }
    }
    runs.push_back({lba, 1, b.version, b.kind});
  }
  return runs;
}

void Fill(uint64_t lba, uint64_t value, uint8_t* block) {
  uint64_t word = Seed(lba, value);
  for (uint32_t at = 0; at < kBlockBytes; at += 8, ++word) std::memcpy(block + at, &word, 8);
}

bool Holds(uint64_t lba, uint64_t value, const uint8_t* block) {
  uint64_t word = Seed(lba, value);
  uint64_t wrong = 0;
  for (uint32_t at = 0; at < kBlockBytes; at += 8, ++word) {
    uint64_t found;
    std::memcpy(&found, block + at, 8);
    wrong |= found ^ word;
  }
  return wrong == 0;
}

uint32_t Checksum(uint64_t lba, uint64_t value) {
  alignas(8) uint8_t block[kBlockBytes];
  Fill(lba, value, block);
  return Crc32c(block, kBlockBytes);
}

}  // namespace ashlar::model
