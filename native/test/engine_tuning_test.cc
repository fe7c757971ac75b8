// What a volume gets of what the pool's volumes share: its part of the page cache, and workers that
// check what it reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "native/test/pool_host.h"

namespace ashlar {
namespace {

// One map leaf is of so many blocks: a read of one block a leaf goes through the most pages.
constexpr uint64_t kLeaf = 128;

struct TuningTest : testing::Test {
  PoolHost host;

  void SetUp() override {
    host.AddMedium(256, true);
    ASSERT_EQ(host.Format({{0}}), Status::kOk);
    host.options.cache_bytes = 4 * kMiB;  // 1024 pages.
  }
  void Open() { ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why; }
  Status Run(OpKind kind, uint32_t volume, uint64_t lba, uint8_t* data) {
    Op op;
    op.kind = kind;
    op.volume = volume;
    op.lba = lba;
    op.blocks = 1;
    op.data = data;
    op.version = kind == OpKind::kWrite ? ++host.version : 0;
    bool done = false;
    op.context = &done;
    op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    host.pool->Submit(&op);
    for (int i = 0; i < 100000 && !done; ++i) host.Step();
    EXPECT_TRUE(done);
    return op.status;
  }
  void Fill(uint32_t volume, uint64_t leaves, uint64_t stamp) {
    BlockBuffer buffer(1);
    for (uint64_t i = 0; i < leaves; ++i) {
      StampBlock(buffer.data, stamp + i);
      ASSERT_EQ(Run(OpKind::kWrite, volume, i * kLeaf, buffer.data), Status::kOk);
    }
  }
  void ReadAll(uint32_t volume, uint64_t leaves, uint64_t stamp) {
    BlockBuffer buffer(1);
    for (uint64_t i = 0; i < leaves; ++i) {
      ASSERT_EQ(Run(OpKind::kRead, volume, i * kLeaf, buffer.data), Status::kOk);
      ASSERT_EQ(StampOf(buffer.data), stamp + i);
    }
  }
  VolumeUse Use(uint32_t volume) {
    VolumeUse use;
    EXPECT_TRUE(host.pool->Use(volume, &use));
    return use;
  }
  void Tune(uint32_t volume, uint64_t bytes) {
    VolumeTuning tuning;
    tuning.cache_bytes = bytes;
    ASSERT_EQ(host.pool->Tune(volume, tuning), Status::kOk);
  }
};

TEST_F(TuningTest, APartIsKeptFromOtherVolumesAndEndsWithIt) {
  Open();
  const uint32_t small = host.Create("small", 200 * kLeaf);
  const uint32_t large = host.Create("large", 3000 * kLeaf);
  Fill(small, 200, 1);
  Fill(large, 3000, 10000);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);

  // Without one, a walk over the large volume takes the small one's pages.
  ReadAll(small, 200, 1);
  ReadAll(large, 3000, 10000);
  uint64_t before = Use(small).cache_misses;
  ReadAll(small, 200, 1);
  EXPECT_GE(Use(small).cache_misses - before, 150u);
  EXPECT_EQ(Use(small).cache_bytes, 0u);

  // With one they stay, given while both are used.
  Tune(small, kMiB);
  EXPECT_EQ(Use(small).cache_bytes, kMiB);
  ReadAll(large, 3000, 10000);
  before = Use(small).cache_misses;
  const uint64_t hits = Use(small).cache_hits;
  ReadAll(small, 200, 1);
  EXPECT_EQ(Use(small).cache_misses, before);
  EXPECT_GE(Use(small).cache_hits - hits, 200u);
  EXPECT_LE(host.pool->Stats().cache_pages, 1024u + 8u);

  // Taken away again, it is as before.
  Tune(small, 0);
  ReadAll(large, 3000, 10000);
  before = Use(small).cache_misses;
  ReadAll(small, 200, 1);
  EXPECT_GE(Use(small).cache_misses - before, 150u);
}

TEST_F(TuningTest, APartIsNoMoreThanWasAskedForAndShrinksAtOnce) {
  Open();
  const uint32_t large = host.Create("large", 3000 * kLeaf);
  const uint32_t other = host.Create("other", 300 * kLeaf);
  Fill(large, 3000, 1);
  Fill(other, 300, 10000);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ReadAll(large, 3000, 1);
  EXPECT_GT(Use(large).cached_bytes, 3 * kMiB);

  Tune(large, kMiB / 2);
  EXPECT_LE(Use(large).cached_bytes, kMiB / 2);  // What was there and is too much, goes at once.
  ReadAll(other, 300, 10000);
  ReadAll(large, 3000, 1);
  EXPECT_LE(Use(large).cached_bytes, kMiB / 2 + 8 * 4096);
  const uint64_t before = Use(other).cache_misses;
  ReadAll(other, 300, 10000);
  EXPECT_EQ(Use(other).cache_misses, before);  // The others' pages are not pushed out by it.

  Tune(large, 2 * kMiB);
  ReadAll(large, 3000, 1);
  EXPECT_GT(Use(large).cached_bytes, kMiB);
}

TEST_F(TuningTest, PartsTogetherLeaveHalfOfTheCacheToOthers) {
  Open();
  uint32_t handles[4];
  for (int i = 0; i < 4; ++i) {
    handles[i] = host.Create("v" + std::to_string(i), 600 * kLeaf);
    Fill(handles[i], 600, 1000 * (i + 1));
  }
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (int i = 0; i < 3; ++i) Tune(handles[i], 2 * kMiB);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(static_cast<double>(Use(handles[i]).cache_bytes), 2.0 * kMiB / 3, 8192);
    ReadAll(handles[i], 600, 1000 * (i + 1));
  }
  ReadAll(handles[3], 600, 4000);
  EXPECT_GT(Use(handles[3]).cached_bytes, kMiB);
  // One that goes gives back what it had.
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->DeleteVolume(handles[2], d, c); }),
            Status::kOk);
  VolumeTuning tuning;
  EXPECT_EQ(host.pool->Tune(handles[2], tuning), Status::kNotFound);
  VolumeUse use;
  for (int i = 0; i < 100000 && host.pool->Use(handles[2], &use); ++i) {
    host.Step();
    if (i % 100 == 0) {
      ASSERT_EQ(host.Checkpoint(), Status::kOk);
    }
  }
  EXPECT_EQ(Use(handles[0]).cache_bytes, kMiB);
  ReadAll(handles[0], 600, 1000);
  ASSERT_EQ(host.Close(), Status::kOk);
}

// Dirty pages may be more than the part; they are not lost, and go once they are written.
TEST_F(TuningTest, WritesIntoATinyPartAreKept) {
  Open();
  const uint32_t volume = host.Create("v", 3000 * kLeaf);
  Tune(volume, 64 * 1024);
  for (int round = 0; round < 3; ++round) {
    Fill(volume, 3000, 1 + 5000 * round);
    ReadAll(volume, 3000, 1 + 5000 * round);
  }
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ReadAll(volume, 3000, 10001);
  EXPECT_LE(Use(volume).cached_bytes, 64 * 1024 + 8 * 4096u);
  ASSERT_EQ(host.Close(), Status::kOk);
  Open();
  EXPECT_EQ(Use(host.pool->Volumes().at(0).handle).cache_bytes, 0u);  // Whoever opens says it anew.
  ReadAll(host.pool->Volumes().at(0).handle, 3000, 10001);
  EXPECT_EQ(host.pool->Tune(12345, {}), Status::kNotFound);
}

// What an UNMAP has found of its leaves stays until it has found them all: reads of other leaves bring in more meanwhile than
// the part has room for.
TEST_F(TuningTest, AnUnmapOfMoreThanThePartEndsWhileOthersRead) {
  constexpr uint64_t kLeaves = 2000;
  constexpr uint64_t kUnmapped = 64;  // As many leaves as one entry of the log speaks of.
  host.media.clear();
  MemFile* medium = host.AddMedium(256);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  Open();
  const uint32_t volume = host.Create("v", kLeaves * kLeaf);
  Fill(volume, kLeaves, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  Tune(volume, 64 * 1024);

  constexpr int kReads = 8;
  BlockBuffer data(kReads);
  std::vector<Op> reads(kReads);
  bool idle[kReads];
  uint64_t next = kUnmapped;
  uint64_t ended = 0;
  Op unmap;
  bool unmapped = false;
  unmap.kind = OpKind::kUnmap;
  unmap.volume = volume;
  unmap.blocks = kUnmapped * kLeaf;
  unmap.version = ++host.version;
  unmap.context = &unmapped;
  unmap.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  std::fill(std::begin(idle), std::end(idle), true);
  // The medium answers a few requests at a time, in any order: what it finds first must outlast the reads that begin before it
  // has found the last.
  int budget = 0;
  std::mt19937 order(1);
  medium->pick = [&](size_t count) { return order() % count; };
  medium->hold = [&](const IoRequest&) { return budget == 0 || budget-- == 0; };
  host.pool->Submit(&unmap);
  // It takes a few dozen reads; ten thousand say that it starves.
  while (!unmapped && ended < 10000) {
    for (int i = 0; i < kReads; ++i) {
      if (!idle[i]) continue;
      reads[i] = Op{};
      reads[i].volume = volume;
      reads[i].lba = next * kLeaf;
      reads[i].blocks = 1;
      reads[i].data = data.data + i * 4096;
      reads[i].context = &idle[i];
      reads[i].done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
      idle[i] = false;
      ++ended;
      next = next + 1 < kLeaves ? next + 1 : kUnmapped;
      host.pool->Submit(&reads[i]);
    }
    budget = 4;
    host.Step();
  }
  medium->hold = nullptr;
  medium->pick = nullptr;
  EXPECT_TRUE(unmapped) << "after " << ended << " reads";
  auto busy = [&] { return !unmapped || std::count(std::begin(idle), std::end(idle), false) > 0; };
  for (int i = 0; i < 1000000 && busy(); ++i) host.Step();
  ASSERT_FALSE(busy());
  EXPECT_EQ(unmap.status, Status::kOk);

  BlockBuffer one(1);
  for (uint64_t leaf = 0; leaf < kUnmapped; ++leaf) {
    ASSERT_EQ(Run(OpKind::kRead, volume, leaf * kLeaf, one.data), Status::kOk);
    EXPECT_EQ(StampOf(one.data), 0u);
  }
  // None of them is held for ever: the part is as small again as was asked for.
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (uint64_t leaf = kUnmapped; leaf < kLeaves; ++leaf) {
    ASSERT_EQ(Run(OpKind::kRead, volume, leaf * kLeaf, one.data), Status::kOk);
    ASSERT_EQ(StampOf(one.data), leaf + 1);
  }
  EXPECT_LE(Use(volume).cached_bytes, 64 * 1024 + 8 * 4096u);
  ASSERT_EQ(host.Close(), Status::kOk);
}

// Many large reads at a time: with workers they check all that is large, and find what is wrong.
TEST_F(TuningTest, WorkersCheckLargeReadsAndFindWhatIsDamaged) {
  for (const bool immediate : {false, true}) {
    host.pool.reset();
    host.media.clear();
    MemFile* medium = host.AddMedium(64, immediate);
    ASSERT_EQ(host.Format({{0}}), Status::kOk);
    Open();
    constexpr uint32_t kBlocks = 128;
    constexpr int kReads = 16;
    const uint32_t volume = host.Create("v", kReads * kBlocks);
    const uint32_t other = host.Create("w", kBlocks);
    BlockBuffer data(kReads * kBlocks);
    for (uint64_t i = 0; i < kReads * kBlocks; ++i) StampBlock(data.data + i * 4096, i + 1);
    auto run = [&](OpKind kind, uint32_t handle, int count, uint8_t* bytes, Status* statuses,
                   uint64_t* failed) {
      std::vector<Op> ops(count);
      int left = count;
      for (int i = 0; i < count; ++i) {
        ops[i].kind = kind;
        ops[i].volume = handle;
        ops[i].lba = uint64_t{kBlocks} * i;
        ops[i].blocks = kBlocks;
        ops[i].data = bytes + uint64_t{kBlocks} * i * 4096;
        ops[i].version = kind == OpKind::kWrite ? ++host.version : 0;
        ops[i].context = &left;
        ops[i].done = [](Op* o) { --*static_cast<int*>(o->context); };
        host.pool->Submit(&ops[i]);
      }
      for (int i = 0; i < 10000000 && left > 0; ++i) host.Step();
      ASSERT_EQ(left, 0);
      for (int i = 0; i < count; ++i) {
        if (statuses != nullptr) statuses[i] = ops[i].status;
        if (failed != nullptr) failed[i] = ops[i].failed_lba;
        if (statuses == nullptr) {
          ASSERT_EQ(ops[i].status, Status::kOk);
        }
      }
    };
    run(OpKind::kWrite, volume, kReads, data.data, nullptr, nullptr);
    run(OpKind::kWrite, other, 1, data.data, nullptr, nullptr);
    BlockBuffer back(kReads * kBlocks);
    auto reads = [&](uint32_t handle, int count) {
      std::memset(back.data, 0xEE, uint64_t{kBlocks} * count * 4096);
      run(OpKind::kRead, handle, count, back.data, nullptr, nullptr);
      ASSERT_EQ(std::memcmp(back.data, data.data, uint64_t{kBlocks} * count * 4096), 0);
    };
    reads(volume, kReads);
    EXPECT_EQ(Use(volume).worker_blocks, 0u);
    EXPECT_EQ(host.pool->WorkersFd(), -1);

    VolumeTuning tuning;
    tuning.io_workers = 3;
    ASSERT_EQ(host.pool->Tune(volume, tuning), Status::kOk);
    EXPECT_EQ(Use(volume).io_workers, 3u);
    EXPECT_GE(host.pool->WorkersFd(), 0);
    reads(volume, kReads);
    const uint64_t all = Use(volume).worker_blocks;
    EXPECT_GE(all, kReads * (kBlocks - 32u));  // A piece at a leaf's edge may be too small.
    reads(other, 1);
    EXPECT_EQ(Use(other).worker_blocks, 0u);  // It asked for none.

    // One block that rots is found by a worker, and named.
    const uint64_t wrong = 5 * kBlocks + 77;
    for (uint64_t b = 0; b < medium->size_bytes() / 4096; ++b) {
      if (StampOf(medium->Block(b)) == wrong + 1) medium->Block(b)[100] ^= 1;
    }
    Status statuses[kReads];
    uint64_t failed[kReads];
    run(OpKind::kRead, volume, kReads, back.data, statuses, failed);
    for (int i = 0; i < kReads; ++i) {
      EXPECT_EQ(statuses[i], i == 5 ? Status::kDamaged : Status::kOk) << i;
    }
    EXPECT_EQ(failed[5], wrong);
    EXPECT_EQ(StampOf(back.data + wrong * 4096), 0u);
    EXPECT_EQ(StampOf(back.data + (wrong - 1) * 4096), wrong);
    run(OpKind::kWrite, volume, kReads, data.data, nullptr, nullptr);

    // Fewer, more and none while reads are under way.
    for (int round = 0; round < 30; ++round) {
      Op op;
      bool done = false;
      op.volume = volume;
      op.blocks = kReads * kBlocks / 2;
      op.data = back.data;
      op.context = &done;
      op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
      host.pool->Submit(&op);
      host.Step();
      tuning.io_workers = (round * 7) % 5;
      ASSERT_EQ(host.pool->Tune(volume, tuning), Status::kOk);
      for (int i = 0; i < 10000000 && !done; ++i) host.Step();
      ASSERT_TRUE(done);
      ASSERT_EQ(op.status, Status::kOk);
      ASSERT_EQ(std::memcmp(back.data, data.data, op.blocks * 4096), 0);
    }
    tuning.io_workers = 0;
    ASSERT_EQ(host.pool->Tune(volume, tuning), Status::kOk);
    const uint64_t before = Use(volume).worker_blocks;
    reads(volume, kReads);
    EXPECT_EQ(Use(volume).worker_blocks, before);
    tuning.io_workers = 1000;
    ASSERT_EQ(host.pool->Tune(volume, tuning), Status::kOk);
    EXPECT_EQ(Use(volume).io_workers, 64u);
    // Left behind with reads under way, as a crash would: nothing touches the buffers afterwards.
    Op op;
    op.volume = volume;
    op.blocks = kBlocks;
    op.data = back.data;
    op.done = [](Op*) {};
    host.pool->Submit(&op);
    host.pool->Kick();
    host.pool.reset();
  }
}

}  // namespace
}  // namespace ashlar
