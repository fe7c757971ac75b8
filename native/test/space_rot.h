// Damage of the space map on a medium in memory (H6).
#pragma once

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "native/engine/format.h"
#include "native/io/mem_file.h"

namespace ashlar::test {

// The space map's pages, of all generations: their blocks, by level and index.
using SpacePages = std::map<std::pair<uint32_t, uint64_t>, std::vector<uint64_t>>;

inline SpacePages FindSpacePages(MemFile& file) {
  SpacePages pages;
  file.EachBlock([&pages](uint64_t block, const uint8_t* data) {
    PageHeader header;
    std::memcpy(&header, data, sizeof header);
    if (header.magic != kPageMagic || header.role != Role::kSpace) return;
    pages[{header.level, header.index}].push_back(block);
  });
  return pages;
}

// Both copies of a page, and its old versions: they say then that everything is free.
inline void RotSpacePage(MemFile& file, const std::vector<uint64_t>& blocks) {
  for (const uint64_t block : blocks) {
    std::memset(file.Block(block) + sizeof(PageHeader), 0, kBlockBytes - sizeof(PageHeader));
  }
}

inline void RotSpaceMap(MemFile& file) {
  for (const auto& [place, blocks] : FindSpacePages(file)) RotSpacePage(file, blocks);
}

}  // namespace ashlar::test
