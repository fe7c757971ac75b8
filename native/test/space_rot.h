// Damage of the space map on a medium in memory (H6).
#pragma once

#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "native/engine/format.h"
#include "native/io/mem_file.h"

namespace ashlar::test {

// The space map's pages, of all generations: their bytes, by level and index.
using SpacePages = std::map<std::pair<uint32_t, uint64_t>, std::vector<uint8_t*>>;

inline void AddSpacePages(MemFile& file, SpacePages* pages) {
  file.EachBlock([&](uint64_t block, const uint8_t* data) {
    PageHeader header;
    std::memcpy(&header, data, sizeof header);
    if (header.magic != kPageMagic || header.role != Role::kSpace) return;
    (*pages)[{header.level, header.index}].push_back(file.Block(block));
  });
}
inline SpacePages FindSpacePages(MemFile& file) {
  SpacePages pages;
  AddSpacePages(file, &pages);
  return pages;
}

// Both copies of a page, and its old versions: they say then that everything is free.
inline void RotSpacePage(const std::vector<uint8_t*>& copies) {
  for (uint8_t* page : copies) {
    std::memset(page + sizeof(PageHeader), 0, kBlockBytes - sizeof(PageHeader));
  }
}

inline void RotSpaceMap(MemFile& file) {
  for (const auto& [place, copies] : FindSpacePages(file)) RotSpacePage(copies);
}

}  // namespace ashlar::test
