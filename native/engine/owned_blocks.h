// Which blocks are owned, by group, where memory must follow what is there and not the size of the
// pool: runs, as long as those of a group take less than its bitmap would. What was written in order
// takes some tens of bytes a group, whether the group is full or nearly empty; the worst disorder
// takes the bitmap.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "native/engine/format.h"

namespace ashlar {

class OwnedBlocks {
 public:
  // Once or more often.
  void Add(uint64_t group, uint32_t bit);
  bool Has(uint64_t group, uint32_t bit) const;
  // All of a group, as its leaf in the space map has them: kGroupWords.
  void Copy(uint64_t group, uint64_t* words) const;
  // Whether any group from `start` to before `end` has a block.
  bool AnyIn(uint64_t start, uint64_t end) const;
  // What it takes, but for the heap's own.
  uint64_t MemoryBytes() const;

 private:
  struct Run {
    uint16_t start, end;  // Blocks of the group; `end` is behind the last.
  };
  struct Blocks {
    std::vector<Run> runs;              // In order, none touching the next. Empty with `words`.
    std::unique_ptr<uint64_t[]> words;  // The bitmap.
    uint32_t count = 0;                 // Bits in `words`.
  };

  static void AddRun(Blocks* blocks, uint32_t bit);
  static void ToWords(Blocks* blocks);
  static void ToRuns(Blocks* blocks);

  std::map<uint64_t, Blocks> groups_;
};

}  // namespace ashlar
