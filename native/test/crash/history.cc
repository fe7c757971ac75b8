#include "native/test/crash/history.h"

#include <cstring>

namespace ashlar::crash {
namespace {

uint64_t Mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

void FillBlock(uint64_t volume_number, uint64_t lba, uint64_t value, uint8_t* block) {
  if (value == 0) {
    std::memset(block, 0, kBlockBytes);
    return;
  }
  uint64_t word = value;
  uint64_t state = Mix(volume_number * 1000003 + lba) ^ value;
  for (uint32_t at = 0; at < kBlockBytes; at += 8) {
    std::memcpy(block + at, &word, 8);
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    word = state;
  }
}

bool ReadBlock(uint64_t volume_number, uint64_t lba, const uint8_t* block, uint64_t* value) {
  std::memcpy(value, block, 8);
  uint8_t expected[kBlockBytes];
  FillBlock(volume_number, lba, *value, expected);
  return std::memcmp(block, expected, kBlockBytes) == 0;
}

}  // namespace ashlar::crash
