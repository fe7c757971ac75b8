#include "native/engine/owned_blocks.h"

#include <algorithm>
#include <bit>

namespace ashlar {
namespace {
// So many runs are as large as the bitmap.
constexpr size_t kMaxRuns = kGroupWords * sizeof(uint64_t) / (2 * sizeof(uint16_t));
// So often a bitmap is looked at, whether runs say it in much less by now.
constexpr uint32_t kLookEvery = 2048;
}  // namespace

void OwnedBlocks::Add(uint64_t group, uint32_t bit) {
  Blocks& blocks = groups_[group];
  if (blocks.words == nullptr) return AddRun(&blocks, bit);
  uint64_t& word = blocks.words[bit >> 6];
  const uint64_t mask = 1ull << (bit & 63);
  if ((word & mask) != 0) return;
  word |= mask;
  if (++blocks.count % kLookEvery == 0 || blocks.count == kGroupBlocks) ToRuns(&blocks);
}

void OwnedBlocks::AddRun(Blocks* blocks, uint32_t bit) {
  std::vector<Run>& runs = blocks->runs;
  const auto after = std::upper_bound(runs.begin(), runs.end(), bit,
                                      [](uint32_t b, const Run& run) { return b < run.start; });
  const bool joins_after = after != runs.end() && after->start == bit + 1;
  if (after != runs.begin()) {
    Run& before = *std::prev(after);
    if (bit < before.end) return;
    if (bit == before.end) {
      before.end = static_cast<uint16_t>(bit + 1);
      if (joins_after) {
        before.end = after->end;
        runs.erase(after);
        // A copy is as small as can be; shrink_to_fit does nothing in a build without exceptions.
        if (runs.size() < runs.capacity() / 4) std::vector<Run>(runs).swap(runs);
      }
      return;
    }
  }
  if (joins_after) {
    after->start = static_cast<uint16_t>(bit);
    return;
  }
  runs.insert(after, {static_cast<uint16_t>(bit), static_cast<uint16_t>(bit + 1)});
  if (runs.size() > kMaxRuns) ToWords(blocks);
}

void OwnedBlocks::ToWords(Blocks* blocks) {
  blocks->words = std::make_unique<uint64_t[]>(kGroupWords);
  for (const Run& run : blocks->runs) {
    for (uint32_t bit = run.start; bit < run.end; ++bit) {
      blocks->words[bit >> 6] |= 1ull << (bit & 63);
    }
    blocks->count += run.end - run.start;
  }
  std::vector<Run>().swap(blocks->runs);
}

// Where they take a quarter of the bitmap or less: what fills up would else go to and fro.
void OwnedBlocks::ToRuns(Blocks* blocks) {
  const uint64_t* words = blocks->words.get();
  size_t begins = 0;
  uint64_t carry = 0;  // The highest bit of the word before.
  for (uint32_t w = 0; w < kGroupWords; ++w) {
    begins += static_cast<size_t>(std::popcount(words[w] & ~(words[w] << 1 | carry)));
    carry = words[w] >> 63;
  }
  if (begins > kMaxRuns / 4) return;
  std::vector<Run> runs;
  runs.reserve(begins + 1);
  for (uint32_t bit = 0; bit < kGroupBlocks; ++bit) {
    if (((words[bit >> 6] >> (bit & 63)) & 1) == 0) continue;
    if (!runs.empty() && runs.back().end == bit) {
      runs.back().end = static_cast<uint16_t>(bit + 1);
    } else {
      runs.push_back({static_cast<uint16_t>(bit), static_cast<uint16_t>(bit + 1)});
    }
  }
  blocks->runs = std::move(runs);
  blocks->words.reset();
  blocks->count = 0;
}

bool OwnedBlocks::Has(uint64_t group, uint32_t bit) const {
  const auto it = groups_.find(group);
  if (it == groups_.end()) return false;
  const Blocks& blocks = it->second;
  if (blocks.words != nullptr) return ((blocks.words[bit >> 6] >> (bit & 63)) & 1) != 0;
  const auto after = std::upper_bound(blocks.runs.begin(), blocks.runs.end(), bit,
                                      [](uint32_t b, const Run& run) { return b < run.start; });
  return after != blocks.runs.begin() && bit < std::prev(after)->end;
}

void OwnedBlocks::Copy(uint64_t group, uint64_t* words) const {
  std::fill_n(words, kGroupWords, 0);
  const auto it = groups_.find(group);
  if (it == groups_.end()) return;
  if (it->second.words != nullptr) {
    std::copy_n(it->second.words.get(), kGroupWords, words);
    return;
  }
  for (const Run& run : it->second.runs) {
    for (uint32_t bit = run.start; bit < run.end; ++bit) words[bit >> 6] |= 1ull << (bit & 63);
  }
}

bool OwnedBlocks::AnyIn(uint64_t start, uint64_t end) const {
  const auto it = groups_.lower_bound(start);
  return it != groups_.end() && it->first < end;
}

uint64_t OwnedBlocks::MemoryBytes() const {
  uint64_t bytes = 0;
  for (const auto& [group, blocks] : groups_) {
    bytes += sizeof(group) + sizeof(blocks) + 4 * sizeof(void*);
    bytes += blocks.runs.capacity() * sizeof(Run);
    if (blocks.words != nullptr) bytes += kGroupWords * sizeof(uint64_t);
  }
  return bytes;
}

}  // namespace ashlar
