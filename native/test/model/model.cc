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

uint64_t Volume::Different() const {
  uint64_t sum = 0;
  std::vector<uint64_t> values;
  for (uint64_t lba = 0; lba < size; ++lba) {
    values.clear();
    if (blocks[lba].kind == BlockKind::kData) values.push_back(blocks[lba].value);
    for (const Snapshot& s : snapshots) {
      if (lba < s.blocks.size() && s.blocks[lba].kind == BlockKind::kData) {
        values.push_back(s.blocks[lba].value);
      }
    }
    std::sort(values.begin(), values.end());
    sum += static_cast<uint64_t>(std::unique(values.begin(), values.end()) - values.begin());
  }
  return sum;
}

void Volume::Write(uint64_t lba, uint64_t count, uint64_t version, uint64_t value) {
  for (uint64_t at = lba; at < lba + count; ++at) {
    if (blocks[at].version <= version) blocks[at] = {BlockKind::kData, version, value};
  }
}

void Volume::Unmap(uint64_t lba, uint64_t count, uint64_t version) {
  const bool keep = KeepsHoles(version);
  for (uint64_t at = lba; at < lba + count; ++at) {
    if (blocks[at].version > version) continue;
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
