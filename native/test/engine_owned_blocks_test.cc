// What is owned, as an opening counts it that makes the space map anew: the same as a bitmap says,
// in memory that follows what is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "native/engine/owned_blocks.h"

namespace ashlar {
namespace {

constexpr uint64_t kBitmapBytes = kGroupWords * sizeof(uint64_t);

std::vector<uint64_t> WordsOf(const OwnedBlocks& owned, uint64_t group) {
  std::vector<uint64_t> words(kGroupWords, ~0ull);
  owned.Copy(group, words.data());
  return words;
}
bool Bit(const std::vector<uint64_t>& words, uint32_t bit) {
  return ((words[bit >> 6] >> (bit & 63)) & 1) != 0;
}

TEST(OwnedBlocks, SayWhatABitmapSaysInAnyOrderAndDensity) {
  std::mt19937_64 random(7);
  for (const uint32_t stretch : {1u, 2u, 7u, 64u, 900u}) {
    for (const uint32_t part : {2u, 20u, 50u, 97u, 100u}) {
      SCOPED_TRACE(testing::Message() << stretch << " blocks, " << part << " percent");
      std::vector<uint32_t> starts(kGroupBlocks / stretch);
      std::iota(starts.begin(), starts.end(), 0);
      std::shuffle(starts.begin(), starts.end(), random);
      starts.resize(starts.size() * part / 100);
      OwnedBlocks owned;
      std::vector<uint64_t> expected(kGroupWords);
      for (const uint32_t start : starts) {
        const bool backward = random() % 2 == 0;
        for (uint32_t i = 0; i < stretch; ++i) {
          const uint32_t bit = start * stretch + (backward ? stretch - 1 - i : i);
          owned.Add(5, bit);
          if (random() % 8 == 0) owned.Add(5, bit);  // A list names what a snapshot has, too.
          expected[bit >> 6] |= 1ull << (bit & 63);
        }
        if (random() % 64 != 0) continue;
        ASSERT_EQ(WordsOf(owned, 5), expected);
      }
      ASSERT_EQ(WordsOf(owned, 5), expected);
      for (uint32_t bit = 0; bit < kGroupBlocks; ++bit) {
        ASSERT_EQ(owned.Has(5, bit), Bit(expected, bit)) << bit;
      }
      EXPECT_LE(owned.MemoryBytes(), kBitmapBytes + 256);
    }
  }
}

TEST(OwnedBlocks, TakeLittleForAPoolThatIsFull) {
  OwnedBlocks owned;
  constexpr uint64_t kGroups = 300;
  // Pages among data: two streams that meet in each group.
  for (uint64_t group = 0; group < kGroups; ++group) {
    for (uint32_t bit = 0; bit < kGroupBlocks; ++bit) {
      if (bit % 100 != 0) owned.Add(group, bit);
    }
  }
  EXPECT_LE(owned.MemoryBytes() / kGroups, kBitmapBytes / 2 + 256);
  for (uint64_t group = 0; group < kGroups; ++group) {
    for (uint32_t bit = 0; bit < kGroupBlocks; bit += 100) owned.Add(group, bit);
  }
  EXPECT_LE(owned.MemoryBytes() / kGroups, 200u);
  // In the worst order, which takes bitmaps on the way.
  OwnedBlocks worst;
  std::vector<uint32_t> bits(kGroupBlocks);
  std::iota(bits.begin(), bits.end(), 0);
  std::shuffle(bits.begin(), bits.end(), std::mt19937_64(3));
  for (uint64_t group = 0; group < 8; ++group) {
    for (const uint32_t bit : bits) worst.Add(group, bit);
  }
  EXPECT_LE(worst.MemoryBytes() / 8, 200u);
}

TEST(OwnedBlocks, KnowWhichGroupsHaveAny) {
  OwnedBlocks owned;
  owned.Add(10, 0);
  owned.Add(20, kGroupBlocks - 1);
  EXPECT_FALSE(owned.AnyIn(0, 10));
  EXPECT_TRUE(owned.AnyIn(0, 11));
  EXPECT_FALSE(owned.AnyIn(11, 20));
  EXPECT_TRUE(owned.AnyIn(20, 64));
  EXPECT_FALSE(owned.Has(15, 3));
  EXPECT_EQ(WordsOf(owned, 15), std::vector<uint64_t>(kGroupWords));
}

}  // namespace
}  // namespace ashlar
