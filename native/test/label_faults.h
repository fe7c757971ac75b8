// Labels that tear, and machines that die: what the tests of labels and of owners share.
#pragma once

#include <cerrno>
#include <cstring>
#include <vector>

#include "native/engine/label.h"
#include "native/test/pool_host.h"

namespace ashlar {

inline bool IsLabelWrite(const IoRequest& request) {
  return request.kind == IoKind::kWrite && request.bytes == kLabelBytes &&
         std::memcmp(request.data, "ASHLABEL", 8) == 0;
}
inline bool AtFront(const IoRequest& request) { return request.offset < kMiB; }

// Every label written to the medium from now on is torn, and fails.
inline void TearLabels(MemFile* medium) {
  medium->fail = [medium](const IoRequest& request) {
    if (!IsLabelWrite(request)) return 0;
    std::memset(medium->Block(request.offset / kBlockBytes), 0xEE, 512);
    return -EIO;
  };
}

inline void Kill(PoolHost& host) {
  host.pool.reset();
  for (auto& medium : host.media) {
    medium->fail = nullptr;
    medium->DropQueue();
  }
}

inline std::vector<uint8_t> Bytes(MemFile* medium, uint64_t block, uint64_t blocks) {
  std::vector<uint8_t> bytes;
  for (uint64_t b = block; b < block + blocks; ++b) {
    bytes.insert(bytes.end(), medium->Block(b), medium->Block(b) + kBlockBytes);
  }
  return bytes;
}

}  // namespace ashlar
