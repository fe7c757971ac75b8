#include "native/engine/space.h"

#include <bit>
#include <cassert>

namespace ashlar {
namespace {

// Calls f(word, mask) for the words that `count` bits from `bit` on touch.
template <typename F>
void EachWord(uint32_t bit, uint32_t count, F f) {
  while (count > 0) {
    uint32_t shift = bit & 63;
    uint32_t n = 64 - shift < count ? 64 - shift : count;
    uint64_t mask = (n == 64 ? ~0ull : ((1ull << n) - 1)) << shift;
    f(bit >> 6, mask);
    bit += n;
    count -= n;
  }
}

}  // namespace

uint32_t Group::Take(uint32_t* bit, uint32_t want, uint32_t* start) {
  const uint64_t* words = leaf->space_leaf()->words;
  uint32_t at = *bit;
  while (at < capacity) {
    uint64_t taken = (words[at >> 6] | busy[at >> 6]) >> (at & 63);
    if ((at & 63) != 0) taken |= ~0ull << (64 - (at & 63));
    if (~taken == 0) {
      at = (at | 63) + 1;
      continue;
    }
    at += static_cast<uint32_t>(std::countr_one(taken));
    break;
  }
  if (at >= capacity) {
    *bit = capacity;
    return 0;
  }
  *start = at;
  uint32_t end = at;
  const uint32_t limit = want < capacity - at ? at + want : capacity;
  while (end < limit) {
    uint64_t taken = (words[end >> 6] | busy[end >> 6]) >> (end & 63);
    uint32_t room = 64 - (end & 63);
    uint32_t zeros = static_cast<uint32_t>(std::countr_zero(taken));
    if (zeros < room) {
      end += zeros;
      break;
    }
    end += room;
  }
  if (end > limit) end = limit;
  SetBusy(at, end - at);
  *bit = end;
  return end - at;
}

void Group::SetBusy(uint32_t bit, uint32_t count) {
  EachWord(bit, count, [this](uint32_t w, uint64_t mask) {
    assert((busy[w] & mask) == 0);
    busy[w] |= mask;
  });
  busy_count += count;
}

void Group::ClearBusy(uint32_t bit, uint32_t count) {
  EachWord(bit, count, [this](uint32_t w, uint64_t mask) {
    assert((busy[w] & mask) == mask);
    busy[w] &= ~mask;
  });
  busy_count -= count;
}

uint32_t Group::SetBits(SpaceLeaf* leaf, uint32_t bit, uint32_t count) {
  uint32_t changed = 0;
  EachWord(bit, count, [&](uint32_t w, uint64_t mask) {
    changed += static_cast<uint32_t>(std::popcount(mask & ~leaf->words[w]));
    leaf->words[w] |= mask;
  });
  return changed;
}

uint32_t Group::ClearBits(SpaceLeaf* leaf, uint32_t bit, uint32_t count) {
  uint32_t changed = 0;
  EachWord(bit, count, [&](uint32_t w, uint64_t mask) {
    changed += static_cast<uint32_t>(std::popcount(mask & leaf->words[w]));
    leaf->words[w] &= ~mask;
  });
  return changed;
}

bool Group::AnySet(const SpaceLeaf* leaf, uint32_t bit, uint32_t count) {
  bool any = false;
  EachWord(bit, count, [&](uint32_t w, uint64_t mask) { any |= (leaf->words[w] & mask) != 0; });
  return any;
}

}  // namespace ashlar
