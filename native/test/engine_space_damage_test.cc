// H6, S9: both copies of a page of the space tree rot. What is free there, nobody knows any more:
// nothing is put there, the pool goes on with the rest of its space, and no block that is in use
// gets another's data. The next opening makes the page anew from what the other trees own.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "native/engine/format.h"
#include "native/test/single_disk_host.h"
#include "native/test/space_rot.h"

namespace ashlar {
namespace {

using test::Host;
using test::kMiB;

void RotLeaf(MemFile& file, uint64_t index) {
  const test::SpacePages pages = test::FindSpacePages(file);
  const auto page = pages.find({0, index});
  ASSERT_TRUE(page != pages.end() && page->second.size() >= 2) << "leaf " << index;
  test::RotSpacePage(page->second);
}

void Fill(Host* host, uint32_t volume, uint64_t from, uint64_t to) {
  for (uint64_t lba = from; lba < to; lba += 64) {
    ASSERT_EQ(host->Write(volume, lba, 1000 + lba, 64), Status::kOk) << "block " << lba;
  }
}

void ExpectFilled(Host* host, uint32_t volume, uint64_t from, uint64_t to) {
  for (uint64_t lba = from; lba < to; lba += 64) {
    const std::vector<uint64_t> values = host->ReadAll(volume, lba, 64);
    for (uint64_t i = 0; i < 64; ++i) ASSERT_EQ(values[i], 1000 + lba + i) << "block " << lba + i;
  }
}

// Until there is no space. How far it came.
uint64_t FillUp(Host* host, uint32_t volume, uint64_t from) {
  for (;; from += 64) {
    const Status status = host->Write(volume, from, 1000 + from, 64);
    if (status == Status::kNoSpace) return from;
    EXPECT_EQ(status, Status::kOk) << "block " << from;
    if (status != Status::kOk) return from;
  }
}

TEST(SpaceDamage, NothingIsPutWhereNobodyKnowsWhatIsFree) {
  constexpr uint64_t kBlocks = 24 * 1024;
  MemFile file(256 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks / 2);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  RotLeaf(file, 0);

  ASSERT_EQ(host.Open(), Status::kOk);
  volume = host.pool->Volumes().at(0).handle;
  Fill(&host, volume, kBlocks / 2, kBlocks);
  ExpectFilled(&host, volume, 0, kBlocks);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// The check says what is not known, and counts none of it as wrong.
TEST(SpaceDamage, WhatNothingSaysIsNoContradiction) {
  constexpr uint64_t kBlocks = 8 * 1024;
  MemFile file(256 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  RotLeaf(file, 0);
  CheckReport report;
  ASSERT_EQ(Pool::Check(file, true, &report), Status::kOk);
  EXPECT_FALSE(report.clean);
  EXPECT_GE(report.bad_metadata_pages, 2u);
  EXPECT_EQ(report.unmarked_blocks, 0u);
  EXPECT_EQ(report.leaked_blocks, 0u);
  EXPECT_TRUE(std::any_of(report.findings.begin(), report.findings.end(), [](const auto& finding) {
    return finding.find("the next opening makes") != std::string::npos;
  }));
}

// While the pool is open: its free blocks count for nothing, so that it is full before a checkpoint
// finds no place.
TEST(SpaceDamage, APoolThatFillsUpHasPlaceForItsCheckpoints) {
  constexpr uint64_t kBlocks = 240 * 1024;
  MemFile file(1024 * kMiB);
  Host host(file);
  host.options.cache_bytes = 4 * kMiB;
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, 60 * 1024);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  volume = host.pool->Volumes().at(0).handle;
  const uint64_t free = host.pool->Stats().free_blocks;
  // Both partly in use; nothing has looked at them since the opening.
  RotLeaf(file, 0);
  RotLeaf(file, 1);

  const uint64_t full = FillUp(&host, volume, 60 * 1024);
  EXPECT_GT(host.pool->Stats().unknown_blocks, 0u);
  EXPECT_LT(full - 60 * 1024, free);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ExpectFilled(&host, volume, 0, full);
  // What is overwritten or given back frees blocks in there. They do not come back for now, but
  // nothing goes round and round for it.
  for (uint64_t lba = 0; lba < 48 * 1024; lba += 1024) {
    ASSERT_EQ(host.Simple(OpKind::kUnmap, volume, lba, 1024), Status::kOk);
  }
  host.Settle();
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  const uint64_t checkpoints = host.pool->Stats().checkpoints;
  for (int i = 0; i < 1000; ++i) host.Step();
  EXPECT_LE(host.pool->Stats().checkpoints, checkpoints + 2);
  ASSERT_EQ(host.Close(), Status::kOk);

  // The pool is whole again.
  ASSERT_EQ(host.Open(), Status::kOk);
  volume = host.pool->Volumes().at(0).handle;
  EXPECT_EQ(host.pool->Stats().unknown_blocks, 0u);
  EXPECT_GE(host.pool->Stats().rebuilt_pages, 2u);
  ExpectFilled(&host, volume, 48 * 1024, full);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  Fill(&host, volume, 0, 48 * 1024);
  EXPECT_GT(FillUp(&host, volume, full), full);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// A kill: what was written since the last checkpoint is in the log, and the log's entries name
// blocks of the leaf.
// A page of a list of dead blocks that cannot be read goes with its volume: what is evicted later, or
// looked at as another volume gets its part of the cache, belongs to somebody.
TEST(SpaceDamage, APageOfADeletedVolumeThatCannotBeReadIsNotKept) {
  MemFile file(256 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", 8 * 1024);
  Fill(&host, volume, 0, 1024);
  host.Snapshot(volume, "s");
  Fill(&host, volume, 0, 1024);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  int rotten = 0;
  file.EachBlock([&](uint64_t block, const uint8_t* data) {
    PageHeader header;
    std::memcpy(&header, data, sizeof header);
    if (header.magic != kPageMagic || header.role != Role::kDead) return;
    std::memset(file.Block(block) + sizeof header, 0xa5, kBlockBytes - sizeof header);
    ++rotten;
  });
  ASSERT_GE(rotten, 2);

  ASSERT_EQ(host.Open(), Status::kOk);
  for (const VolumeInfo& info : host.pool->Volumes()) {
    if (info.name == "v") volume = info.handle;
  }
  ASSERT_EQ(host.Delete(volume, true), Status::kOk);
  for (int i = 0; i < 8; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  const uint32_t other = host.Create("other", 8 * 1024);
  Fill(&host, other, 0, 2048);
  VolumeTuning tuning;
  tuning.cache_bytes = kMiB;
  ASSERT_EQ(host.pool->Tune(other, tuning), Status::kOk);
  ExpectFilled(&host, other, 0, 2048);
  ASSERT_EQ(host.Close(), Status::kOk);
}

TEST(SpaceDamage, WhatTheLogHoldsIsNotLostWithTheLeaf) {
  constexpr uint64_t kBlocks = 8 * 1024;
  MemFile file(256 * kMiB, true);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks / 2);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  Fill(&host, volume, kBlocks / 4, kBlocks);
  ASSERT_EQ(host.Simple(OpKind::kFlush, volume, 0, 0), Status::kOk);
  host.pool.reset();
  file.DropQueue();
  test::RotSpaceMap(file);

  ASSERT_EQ(host.Open(), Status::kOk);
  volume = host.pool->Volumes().at(0).handle;
  EXPECT_EQ(host.pool->Stats().dropped_entries, 0u);
  ExpectFilled(&host, volume, 0, kBlocks);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// All kinds of owners: snapshots, what only deadlists name, clones, blobs, a volume half deleted.
void MakeHistory(Host* host) {
  const uint32_t a = host->Create("a", 20000);
  const uint32_t b = host->Create("b", 20000);
  Fill(host, a, 0, 19200);
  Fill(host, b, 0, 19200);
  const uint32_t one = host->Snapshot(a, "one");
  for (uint64_t lba = 0; lba < 6000; lba += 3) {
    ASSERT_EQ(host->Write(a, lba, 7000000 + lba), Status::kOk);
  }
  const uint32_t two = host->Snapshot(a, "two");
  ASSERT_EQ(host->Simple(OpKind::kUnmap, a, 100, 3000), Status::kOk);
  host->Snapshot(a, "three");
  for (uint64_t lba = 5000; lba < 9000; lba += 2) {
    ASSERT_EQ(host->Write(a, lba, 8000000 + lba), Status::kOk);
  }
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host->Checkpoint(), Status::kOk);
  const uint32_t clone = host->Clone(one, "clone");
  for (uint64_t lba = 0; lba < 2000; lba += 5) {
    ASSERT_EQ(host->Write(clone, lba, 9000000 + lba), Status::kOk);
  }
  const std::vector<uint8_t> value(20000, 7);
  for (const uint32_t volume : {0u, a}) {
    ASSERT_EQ(host->Control([&](DoneFn d, void* c) {
                host->pool->PutBlob(volume, "settings", value, d, c);
              }),
              Status::kOk);
  }
  ASSERT_EQ(host->DeleteSnapshot(two), Status::kOk);
  ASSERT_EQ(host->Delete(b), Status::kOk);
  for (int i = 0; i < 3; ++i) host->Step();
  ASSERT_EQ(host->Checkpoint(), Status::kOk);
}

TEST(SpaceDamage, TheWholeTreeIsMadeAnew) {
  for (const bool settled : {false, true}) {
    SCOPED_TRACE(settled);
    MemFile file(512 * kMiB);
    Host host(file);
    host.options.cache_bytes = 1 * kMiB;
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    MakeHistory(&host);
    if (settled) host.Settle();
    const auto before = host.ReadAll(host.pool->Volumes().at(0).handle, 0, 1000);
    host.pool.reset();
    file.DropQueue();
    test::RotSpaceMap(file);
    ASSERT_EQ(host.Open(), Status::kOk);
    EXPECT_GT(host.pool->Stats().rebuilt_pages, 0u);
    EXPECT_EQ(host.ReadAll(host.pool->Volumes().at(0).handle, 0, 1000), before);
    host.Settle();
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

// The leaves below an inner page that is lost have their places in other groups, which can be read:
// nobody uses them any more.
TEST(SpaceDamage, WhatLayBelowALostInnerPageIsFreeAgain) {
  constexpr uint64_t kBlocks = 8 * 1024;
  MemFile file(uint64_t{24} * 1024 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks);
  ASSERT_EQ(host.Close(), Status::kOk);
  const test::SpacePages pages = test::FindSpacePages(file);
  ASSERT_TRUE(pages.count({2, 0}) > 0 && pages.count({1, 1}) > 0 && pages.count({0, 0}) > 0);
  test::RotSpacePage(pages.at({1, 0}));

  host.options.rebuild_space = true;
  ASSERT_EQ(host.Open(), Status::kOk);
  host.options.rebuild_space = false;
  volume = host.pool->Volumes().at(0).handle;
  EXPECT_GT(host.pool->Stats().rebuilt_pages, 2u);
  ExpectFilled(&host, volume, 0, kBlocks);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// Both copies of a page of a volume's map, and its old versions.
std::vector<uint64_t> FindMapLeaf(const MemFile& file, uint64_t index) {
  std::vector<uint64_t> copies;
  file.EachBlock([&copies, index](uint64_t block, const uint8_t* data) {
    PageHeader header;
    std::memcpy(&header, data, sizeof header);
    if (header.magic == kPageMagic && header.role == Role::kMap && header.level == 0 &&
        header.index == index) {
      copies.push_back(block);
    }
  });
  EXPECT_GE(copies.size(), 2u);
  return copies;
}
void RotMapLeaf(MemFile& file, uint64_t index) {
  for (const uint64_t block : FindMapLeaf(file, index)) {
    std::memset(file.Block(block) + 100, 0, 100);
  }
}

// What cannot be read for a moment, or until the device is mended, is not lost for good.
TEST(SpaceDamage, WhatCannotBeReadForAWhileIsFoundOutLater) {
  constexpr uint64_t kBlocks = 16 * 1024;
  for (const uint64_t failures : {uint64_t{3}, ~uint64_t{0}}) {
    SCOPED_TRACE(failures);
    MemFile file(256 * kMiB);
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    uint32_t volume = host.Create("v", kBlocks);
    Fill(&host, volume, 0, kBlocks);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    const uint64_t free = host.pool->Stats().free_blocks;
    ASSERT_EQ(host.Close(), Status::kOk);
    RotLeaf(file, 0);
    const std::vector<uint64_t> pages = FindMapLeaf(file, 3);
    uint64_t left = failures;
    file.fail = [&](const IoRequest& request) {
      const uint64_t block = request.offset / 4096;
      const bool hit = request.kind == IoKind::kRead &&
                       std::any_of(pages.begin(), pages.end(), [&](uint64_t page) {
                         return page >= block && page < block + request.bytes / 4096;
                       });
      if (!hit || left == 0) return 0;
      --left;
      return -EIO;
    };
    const auto open = [&] {
      EXPECT_EQ(host.Open(), Status::kOk);
      host.options.rebuild_space = false;
      volume = host.pool->Volumes().at(0).handle;
    };
    host.options.rebuild_space = true;
    open();
    if (failures != 3) {
      EXPECT_LT(host.pool->Stats().free_blocks, free - 4096);
      // What leaves meanwhile comes back, and the next opening is none the wiser.
      ASSERT_EQ(host.Simple(OpKind::kUnmap, volume, kBlocks / 2, 1024), Status::kOk);
      Fill(&host, volume, kBlocks / 2, kBlocks / 2 + 1024);
      ASSERT_EQ(host.Close(), Status::kOk);
      open();
      EXPECT_LT(host.pool->Stats().free_blocks, free - 4096);
      ASSERT_EQ(host.Close(), Status::kOk);
      left = 0;
      open();
    }
    ExpectFilled(&host, volume, 0, kBlocks);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    EXPECT_GE(host.pool->Stats().free_blocks + 64, free);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
    // And it is known now.
    ASSERT_EQ(host.Open(), Status::kOk);
    EXPECT_EQ(host.pool->Stats().rebuilt_pages, 0u);
    ASSERT_EQ(host.Close(), Status::kOk);
  }
}

// Where a page of a map is gone too, what lay below it is known to nobody: it stays in use.
TEST(SpaceDamage, WhatNobodyKnowsStaysInUse) {
  constexpr uint64_t kBlocks = 16 * 1024;
  MemFile file(256 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks);
  ASSERT_EQ(host.Close(), Status::kOk);
  RotLeaf(file, 0);
  RotMapLeaf(file, 3);
  host.options.rebuild_space = true;
  ASSERT_EQ(host.Open(), Status::kOk);
  host.options.rebuild_space = false;
  volume = host.pool->Volumes().at(0).handle;
  const uint64_t free = host.pool->Stats().free_blocks;
  EXPECT_LT(free, (file.size_bytes() / kBlockBytes) - kGroupBlocks);
  ExpectFilled(&host, volume, 0, 3 * kLeafEntries);
  ExpectFilled(&host, volume, 4 * kLeafEntries, kBlocks);
  // A read with tags tells of each block below the page that it is damaged, whatever its memory held.
  for (const BlockKind stale : {BlockKind::kEmpty, BlockKind::kData, BlockKind::kHole}) {
    alignas(kBlockBytes) static uint8_t data[64 * kBlockBytes];
    BlockTag before{7, 8, stale};
    std::vector<BlockTag> tags(64, before);
    Op op;
    op.volume = volume;
    op.lba = 3 * kLeafEntries + 32;
    op.blocks = 64;
    op.data = data;
    op.tags = tags.data();
    ASSERT_EQ(host.Run(&op), Status::kDamaged);
    for (uint32_t i = 0; i < 64; ++i) {
      EXPECT_EQ(tags[i].result, kTagDamaged) << "block " << i;
      EXPECT_EQ(tags[i].version, 0u) << "block " << i;
    }
  }
  // What leaves comes back.
  ASSERT_EQ(host.Simple(OpKind::kUnmap, volume, kBlocks / 2, kBlocks / 2), Status::kOk);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  EXPECT_GE(host.pool->Stats().free_blocks, free + kBlocks / 2);
  ASSERT_EQ(host.Close(), Status::kOk);
  CheckReport report;
  ASSERT_EQ(Pool::Check(file, false, &report), Status::kOk);
  EXPECT_EQ(report.unmarked_blocks, 0u);
  EXPECT_EQ(report.doubly_owned_blocks, 0u);
  EXPECT_GT(report.leaked_blocks, 0u);
}

// All of the group counts as in use then; what was written there, flushed and acknowledged since
// the last checkpoint is in the log, and comes back all the same. Twice: once from the log, once
// from what the opening made of it.
TEST(SpaceDamage, WhatTheLogHoldsIsNotLostWhereNobodyKnows) {
  constexpr uint64_t kBlocks = 16 * 1024;
  for (const bool whole_tree : {false, true}) {
    SCOPED_TRACE(whole_tree);
    MemFile file(512 * kMiB, true);
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    uint32_t volume = host.Create("v", kBlocks);
    Fill(&host, volume, 0, kBlocks / 2);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    // Anew, and for the first time.
    for (uint64_t lba = 4 * kLeafEntries; lba < kBlocks / 2; lba += 64) {
      ASSERT_EQ(host.Write(volume, lba, 500000 + lba, 64), Status::kOk);
    }
    Fill(&host, volume, 4 * kLeafEntries, kBlocks);
    ASSERT_EQ(host.Simple(OpKind::kFlush, volume, 0, 0), Status::kOk);
    host.pool.reset();
    file.DropQueue();
    RotLeaf(file, 0);
    if (whole_tree) RotLeaf(file, 1);
    RotMapLeaf(file, 3);

    for (int opening = 0; opening < 2; ++opening) {
      ASSERT_EQ(host.Open(), Status::kOk);
      volume = host.pool->Volumes().at(0).handle;
      EXPECT_EQ(host.pool->Stats().dropped_entries, 0u);
      ExpectFilled(&host, volume, 0, 3 * kLeafEntries);
      ExpectFilled(&host, volume, 4 * kLeafEntries, kBlocks);
      ASSERT_EQ(host.Close(), Status::kOk);
      CheckReport report;
      ASSERT_EQ(Pool::Check(file, true, &report), Status::kOk);
      EXPECT_EQ(report.unmarked_blocks, 0u);
      EXPECT_EQ(report.doubly_owned_blocks, 0u);
      EXPECT_EQ(report.bad_data_blocks, 0u);
    }
  }
}

// The newest superblock leads to a damaged page, and the one before it to a space map that must be
// made anew: what the newest says of the log is known to the end. A write that it calls flushed,
// and whose data rotted, is damaged; what was there before it is not served in its place.
TEST(SpaceDamage, WhatTheNewerSuperblockSaysIsKnownToTheEnd) {
  MemFile file(256 * kMiB, true);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t volume = host.Create("v", 4096);
  Fill(&host, volume, 0, 1024);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Write(volume, 7, 777777), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.pool.reset();
  file.DropQueue();
  uint64_t born = 0;
  std::vector<std::pair<uint64_t, uint64_t>> records;
  uint64_t data_block = 0;
  file.EachBlock([&](uint64_t block, const uint8_t* data) {
    PageHeader header;
    std::memcpy(&header, data, sizeof header);
    if (header.magic == kPageMagic && header.role == Role::kCatalog) {
      born = std::max(born, header.born);
      records.emplace_back(header.born, block);
    }
    if (test::ValueOf(data) == 777777) data_block = block;
  });
  ASSERT_GT(data_block, 0u);
  for (const auto& [when, block] : records) {
    if (when == born) std::memset(file.Block(block) + 100, 0x5a, 100);
  }
  std::memset(file.Block(data_block), 0x5a, 4096);
  test::RotSpaceMap(file);

  ASSERT_EQ(host.Open(), Status::kOk);
  volume = host.pool->Volumes().at(0).handle;
  EXPECT_GT(host.pool->Stats().rebuilt_pages, 0u);
  EXPECT_EQ(host.pool->Stats().dropped_entries, 0u);
  EXPECT_EQ(host.Simple(OpKind::kVerify, volume, 7, 1), Status::kDamaged);
  ASSERT_EQ(host.Close(), Status::kOk);
}

// The whole map of free space, and a page of a volume: no place is known to be free, not even for
// the checkpoint that an opening ends with. It says so, changes nothing, and what can be read can be
// read.
TEST(SpaceDamage, WhereNoPlaceIsKnownToBeFreeNothingIsWrittenAndAllCanBeRead) {
  constexpr uint64_t kBlocks = 16 * 1024;
  MemFile file(512 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t volume = host.Create("v", kBlocks);
  Fill(&host, volume, 0, kBlocks);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  const auto spoil = [&] {
    test::RotSpaceMap(file);
    RotMapLeaf(file, 3);
  };
  const std::vector<uint64_t> leaf = FindMapLeaf(file, 3);
  const std::vector<uint8_t> good(file.Block(leaf[0]), file.Block(leaf[0]) + kBlockBytes);
  spoil();

  std::string why;
  uint64_t writes = 0;
  file.fail = [&](const IoRequest& request) {
    // Superblocks that differ in a copy are made alike before, over and over the same.
    writes += request.kind == IoKind::kWrite && request.offset >= kEndBlocks * kBlockBytes &&
              request.offset < file.size_bytes() - kEndBlocks * kBlockBytes;
    return 0;
  };
  EXPECT_EQ(Pool::Open(file, host.options, &host.pool, &why), Status::kNoSpace);
  EXPECT_NE(why.find("no place is known to be free"), std::string::npos) << why;
  EXPECT_EQ(writes, 0u);

  PoolOptions reading = host.options;
  reading.read_only = true;
  ASSERT_EQ(Pool::Open(file, reading, &host.pool, &why), Status::kOk) << why;
  const uint32_t found = host.pool->Volumes().at(0).handle;
  ExpectFilled(&host, found, 0, 3 * kLeafEntries);
  ExpectFilled(&host, found, 4 * kLeafEntries, kBlocks);
  EXPECT_EQ(host.Simple(OpKind::kVerify, found, 3 * kLeafEntries, 1), Status::kDamaged);
  EXPECT_EQ(host.Write(found, 0, 1), Status::kReadOnly);
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(writes, 0u);

  // The page is read again: it opens, with all it had.
  for (const uint64_t block : leaf) std::memcpy(file.Block(block), good.data(), kBlockBytes);
  ASSERT_EQ(host.Open(), Status::kOk);
  ExpectFilled(&host, host.pool->Volumes().at(0).handle, 0, kBlocks);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

}  // namespace
}  // namespace ashlar
