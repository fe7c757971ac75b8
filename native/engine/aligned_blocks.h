// Zeroed memory that O_DIRECT takes, for those who read and write blocks outside the caches.
#pragma once

#include <cstdlib>
#include <cstring>

#include "native/engine/format.h"

namespace ashlar {

struct AlignedBlocks {
  explicit AlignedBlocks(uint32_t blocks)
      : data(static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes))) {
    if (data == nullptr) std::abort();
    std::memset(data, 0, blocks * kBlockBytes);
  }
  ~AlignedBlocks() { std::free(data); }
  AlignedBlocks(const AlignedBlocks&) = delete;
  AlignedBlocks& operator=(const AlignedBlocks&) = delete;
  uint8_t* data;
};

}  // namespace ashlar
