// Free space: which bits of the space map are free to take right now. A group is one leaf of the
// space map. Beside the map's bits, which say what is in use or waits to be freed, stands `busy`:
// blocks taken by writes in flight, whose bits are set only when the write is applied, and blocks
// whose bits were cleared by a checkpoint that is not yet durable (S13).
#pragma once

#include <array>
#include <vector>

#include "native/engine/page_cache.h"

namespace ashlar {

struct Run {
  uint64_t phys = 0;
  uint64_t blocks = 0;
};

struct Group {
  uint64_t index = 0;
  uint64_t start = 0;     // Address of its first block.
  Page* leaf = nullptr;   // Pinned.
  uint32_t capacity = 0;  // Bits that exist.
  uint32_t busy_count = 0;
  uint32_t holders = 0;  // Allocation classes that draw on it.
  std::array<uint64_t, kGroupWords> busy{};

  uint32_t free_blocks() const { return capacity - leaf->used - busy_count; }
  // Takes up to `want` consecutive free bits at or after *bit and marks them busy. 0: none left.
  // *bit moves on.
  uint32_t Take(uint32_t* bit, uint32_t want, uint32_t* start);
  void SetBusy(uint32_t bit, uint32_t count);
  void ClearBusy(uint32_t bit, uint32_t count);
  // On the page's bits. Return how many changed.
  static uint32_t SetBits(SpaceLeaf* leaf, uint32_t bit, uint32_t count);
  static uint32_t ClearBits(SpaceLeaf* leaf, uint32_t bit, uint32_t count);
  static bool AnySet(const SpaceLeaf* leaf, uint32_t bit, uint32_t count);
};

// Where one kind of data goes: data, first copies of pages, second copies (H6: far from the first).
inline constexpr uint8_t kAnyHalf = 2;
struct AllocClass {
  std::vector<Group*> groups;  // The first is drawn on; where there are several vdevs they rotate.
  std::vector<uint32_t> bits;  // Where to go on in each.
  uint8_t half = kAnyHalf;     // Pages: which vdevs (H6).
  uint32_t width = 1;          // Vdevs to draw on at once.
  uint32_t drawn = 0;          // From the first since it came to the front.
  uint64_t search = 0;         // The next group to look at, by its place in the order.
  uint64_t searched = 0;       // Since the last one adopted.
  bool exhausted = false;      // Two laps found nothing. Reset when space is released.

  uint64_t free_blocks() const {
    uint64_t sum = 0;
    for (const Group* g : groups) sum += g->free_blocks();
    return sum;
  }
};

}  // namespace ashlar
