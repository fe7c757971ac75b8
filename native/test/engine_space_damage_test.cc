// H6, S9: both copies of a page of the space tree rot. What is free there, nobody knows any more: nothing is put
// there, the pool goes on with the rest of its space, and no block that is in use gets another's data.
#include <gtest/gtest.h>

#include <vector>

#include "native/engine/format.h"
#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Host;
using test::kMiB;

constexpr uint64_t kBytes = 256 * kMiB;
constexpr uint64_t kVolumeBlocks = 24 * 1024;

SpaceLeaf* LeafAt(MemFile& file, uint64_t at) {
  auto* leaf = reinterpret_cast<SpaceLeaf*>(file.Block(at));
  const PageHeader& header = leaf->header;
  const bool is = header.magic == kPageMagic && header.role == Role::kSpace && header.level == 0;
  return is ? leaf : nullptr;
}

uint32_t Used(const SpaceLeaf& leaf) {
  uint32_t used = 0;
  for (const uint64_t word : leaf.words) used += static_cast<uint32_t>(__builtin_popcountll(word));
  return used;
}

// Rots the fullest leaf of the space tree, its copy and old versions too: it says then that all its blocks are free.
int RotFullestLeaf(MemFile& file) {
  const SpaceLeaf* fullest = nullptr;
  for (uint64_t at = 0; at < kBytes / kBlockBytes; ++at) {
    const SpaceLeaf* leaf = LeafAt(file, at);
    if (leaf != nullptr && (fullest == nullptr || Used(*leaf) > Used(*fullest))) fullest = leaf;
  }
  if (fullest == nullptr) return 0;
  const uint64_t index = fullest->header.index;
  int rotten = 0;
  for (uint64_t at = 0; at < kBytes / kBlockBytes; ++at) {
    SpaceLeaf* leaf = LeafAt(file, at);
    if (leaf == nullptr || leaf->header.index != index) continue;
    std::memset(leaf->words, 0, sizeof leaf->words);
    ++rotten;
  }
  return rotten;
}

TEST(SpaceDamage, NothingIsPutWhereNobodyKnowsWhatIsFree) {
  MemFile file(kBytes);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t volume = host.Create("v", kVolumeBlocks);
  for (uint64_t lba = 0; lba < kVolumeBlocks / 2; lba += 64) {
    ASSERT_EQ(host.Write(volume, lba, 1000 + lba, 64), Status::kOk);
  }
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_GE(RotFullestLeaf(file), 2);

  ASSERT_EQ(host.Open(), Status::kOk);
  for (uint64_t lba = kVolumeBlocks / 2; lba < kVolumeBlocks; lba += 64) {
    ASSERT_EQ(host.Write(volume, lba, 1000 + lba, 64), Status::kOk);
  }
  for (uint64_t lba = 0; lba < kVolumeBlocks; ++lba) {
    ASSERT_EQ(host.Read(volume, lba), 1000 + lba) << "block " << lba;
  }
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
}

}  // namespace
}  // namespace ashlar
