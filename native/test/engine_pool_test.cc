// The pool by itself on a medium in memory: a random workload against a model, crashes, faults,
// limits.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>

#include "native/engine/format.h"
#include "native/engine/log_format.h"
#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Buffer;
using test::Host;
using test::kMiB;
using test::Stamp;
using test::ValueOf;

class PoolTest : public testing::TestWithParam<bool> {};

TEST_P(PoolTest, KeepsWhatWasWrittenAcrossACloseAndAKill) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 4096);
  EXPECT_EQ(host.Read(v, 7), 0u);
  EXPECT_EQ(host.Write(v, 7, 77), Status::kOk);
  EXPECT_EQ(host.Write(v, 100, 500, 300), Status::kOk);
  EXPECT_EQ(host.Read(v, 7), 77u);
  EXPECT_EQ(host.Read(v, 399), 799u);
  host.pool.reset();  // Killed.
  host.ExpectClean();
  ASSERT_EQ(host.Open(), Status::kOk);
  v = host.pool->Volumes().at(0).handle;
  EXPECT_EQ(host.Read(v, 7), 77u);
  EXPECT_EQ(host.Read(v, 250), 650u);
  EXPECT_EQ(host.Simple(OpKind::kUnmap, v, 0, 4096), Status::kOk);
  EXPECT_EQ(host.Read(v, 250), 0u);
  EXPECT_EQ(host.Write(v, 1, 5, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
  ASSERT_EQ(host.Open(), Status::kOk);
  v = host.pool->Volumes().at(0).handle;
  EXPECT_EQ(host.pool->Volumes().at(0).mapped_blocks, 1u);
  EXPECT_EQ(host.Read(v, 1), 5u);
  EXPECT_EQ(host.Simple(OpKind::kVerify, v, 0, 4096), Status::kOk);
  std::vector<MapRun> runs;
  EXPECT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->MapStatus(v, 0, 10, &runs, d, c); }),
            Status::kOk);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[2].blocks, 4094u);
}

TEST_P(PoolTest, OverwritesFarBeyondThePoolsSize) {
  MemFile file(16 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1024);
  for (uint64_t round = 1; round <= 60; ++round) {
    for (uint64_t lba = 0; lba < 1024; lba += 128) {
      ASSERT_EQ(host.Write(v, lba, round * 10000 + lba, 128), Status::kOk) << round;
    }
  }
  EXPECT_EQ(host.Read(v, 777), 600777u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// Scattered overwrites leave free space in every group, and the classes that allocate meet in the
// same ones.
TEST_P(PoolTest, RandomOverwritesNeverStarveACheckpoint) {
  MemFile file(640 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  constexpr uint64_t kBlocks = 50000;
  const uint32_t v = host.Create("a", kBlocks);
  Buffer data(1);
  std::mt19937_64 rng(7);
  std::vector<Op> ops(64);
  for (int round = 0; round < 6000; ++round) {
    size_t ended = 0;
    for (Op& op : ops) {
      op = Op{};
      op.kind = OpKind::kWrite;
      op.volume = v;
      op.lba = rng() % kBlocks;
      op.blocks = 1;
      op.data = data.data;
      op.version = ++host.version;
      op.context = &ended;
      op.done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
      host.pool->Submit(&op);
    }
    for (int i = 0; i < 200000 && ended < ops.size(); ++i) host.Step();
    ASSERT_EQ(ended, ops.size());
    for (const Op& op : ops) ASSERT_EQ(op.status, Status::kOk) << host.pool->Stats().fault;
  }
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

TEST_P(PoolTest, AFullPoolRefusesGrowthAndNothingElse) {
  MemFile file(16 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1 << 20);
  uint64_t lba = 0;
  while (lba < 10000 && host.Write(v, lba, lba + 1) == Status::kOk) ++lba;
  EXPECT_GT(lba, 2000u);
  EXPECT_LT(lba, 4096u);
  EXPECT_EQ(host.Write(v, 100000, 1), Status::kNoSpace);
  EXPECT_EQ(host.Read(v, 100000), 0u);
  for (uint64_t i = 0; i < lba; ++i) ASSERT_EQ(host.Write(v, i, i + 2), Status::kOk) << i;
  EXPECT_EQ(host.Read(v, 11), 13u);
  EXPECT_EQ(host.Simple(OpKind::kUnmap, v, 0, 500), Status::kOk);
  EXPECT_EQ(host.Checkpoint(), Status::kOk);
  EXPECT_EQ(host.Checkpoint(), Status::kOk);
  EXPECT_EQ(host.Write(v, 100000, 9), Status::kOk);
  EXPECT_EQ(host.Delete(v), Status::kOk);
  for (int i = 0; i < 2000; ++i) host.Step();
  EXPECT_EQ(host.pool->Volumes().size(), 0u);
  EXPECT_EQ(host.pool->Stats().data_blocks, 0u);
  uint32_t w = host.Create("a", 4096);
  EXPECT_EQ(host.Write(w, 0, 1, 1000), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// Written by a later version of the format: the superblock before it is no way round, since what
// came after it is not in it.
TEST_P(PoolTest, ASuperblockOfALaterFormatIsNotPassedOver) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 1), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.pool.reset();
  Superblock super[2];
  for (int slot : {0, 1}) std::memcpy(&super[slot], file.Block(slot), sizeof super[slot]);
  const int newer = super[1].generation > super[0].generation ? 1 : 0;
  super[newer].incompatible_features = 1;
  SealSuperblock(&super[newer]);
  for (const int place : {newer, static_cast<int>(64 * kMiB / 4096) - 2 + newer}) {
    std::memcpy(file.Block(static_cast<uint64_t>(place)), &super[newer], 4096);
  }
  std::string why;
  EXPECT_EQ(Pool::Open(file, host.options, &host.pool, &why), Status::kVersion);
  EXPECT_NE(why.find("format"), std::string::npos) << why;
}

TEST_P(PoolTest, BlobsAndResizeOutliveAKill) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 100);
  EXPECT_EQ(host.Write(v, 99, 1), Status::kOk);
  std::vector<uint8_t> value(10000, 7), got;
  auto put = [&](uint32_t h, const char* key, std::vector<uint8_t> bytes) {
    return host.Control([&](DoneFn d, void* c) { host.pool->PutBlob(h, key, bytes, d, c); });
  };
  EXPECT_EQ(put(v, "k", value), Status::kOk);
  EXPECT_EQ(put(0, "p", {1}), Status::kOk);
  EXPECT_EQ(put(0, "q", {2}), Status::kOk);
  EXPECT_EQ(put(0, "q", {}), Status::kOk);
  auto resize = [&](uint64_t n) {
    return host.Control([&](DoneFn d, void* c) { host.pool->ResizeVolume(v, n, d, c); });
  };
  EXPECT_EQ(resize(1 << 22), Status::kOk);
  EXPECT_EQ(resize(100), Status::kInvalid);
  EXPECT_EQ(host.Write(v, (1 << 22) - 1, 4), Status::kOk);
  for (int round = 0; round < 3; ++round) {
    file.PowerCut();
    host.pool.reset();
    host.ExpectClean();
    ASSERT_EQ(host.Open(), Status::kOk);
    v = host.pool->Volumes().at(0).handle;
    EXPECT_EQ(host.pool->Volumes().at(0).size_blocks, 1u << 22);
    ASSERT_TRUE(host.pool->GetBlob(v, "k", &got));
    EXPECT_EQ(got, value);
    EXPECT_TRUE(host.pool->GetBlob(0, "p", &got));
    EXPECT_FALSE(host.pool->GetBlob(0, "q", &got));
    EXPECT_EQ(host.pool->BlobKeys(0).size(), 1u);
  }
}

TEST_P(PoolTest, HundredsOfBlobsOutliveAKill) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 100);
  auto put = [&](uint32_t h, int key, std::vector<uint8_t> bytes) {
    return host.Control([&](DoneFn d, void* c) {
      host.pool->PutBlob(h, "key" + std::to_string(key), bytes, d, c);
    });
  };
  for (int key = 0; key < 300; ++key) {
    ASSERT_EQ(put(v, key, {1, static_cast<uint8_t>(key)}), Status::kOk) << key;
    ASSERT_EQ(put(0, key, {2, static_cast<uint8_t>(key)}), Status::kOk) << key;
    if (key == 100) {
      ASSERT_EQ(host.Checkpoint(), Status::kOk);
    }
  }
  for (int key = 0; key < 300; key += 3) ASSERT_EQ(put(v, key, {}), Status::kOk);
  for (int round = 0; round < 3; ++round) {
    if (round == 2) {
      ASSERT_EQ(host.Close(), Status::kOk);
    }
    host.pool.reset();
    host.ExpectClean();
    ASSERT_EQ(host.Open(), Status::kOk);
    v = host.pool->Volumes().at(0).handle;
    for (int key = 0; key < 300; ++key) {
      std::vector<uint8_t> got;
      EXPECT_EQ(host.pool->GetBlob(v, "key" + std::to_string(key), &got), key % 3 != 0);
      ASSERT_TRUE(host.pool->GetBlob(0, "key" + std::to_string(key), &got));
      EXPECT_EQ(got[1], static_cast<uint8_t>(key));
    }
  }
}

TEST_P(PoolTest, AHugeThinVolumeIsCheap) {
  MemFile file(1024 * kMiB, GetParam());
  Host host(file);
  host.options.cache_bytes = 4 * kMiB;
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1ull << 32);
  std::mt19937_64 random(1);
  std::vector<uint64_t> at;
  for (int i = 0; i < 5000; ++i) {
    at.push_back(random() % (1ull << 32));
    ASSERT_EQ(host.Write(v, at.back(), i + 1), Status::kOk);
    ASSERT_LE(host.pool->Stats().cache_pages, 1024u + 64u);
  }
  for (int i = 0; i < 5000; i += 7) ASSERT_EQ(host.Read(v, at[i]), i + 1u);
  EXPECT_EQ(host.Simple(OpKind::kUnmap, v, 0, 1ull << 32), Status::kOk);
  EXPECT_EQ(host.pool->Stats().data_blocks, 0u);
  EXPECT_EQ(host.Simple(OpKind::kVerify, v, 0, 1ull << 32), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

TEST_P(PoolTest, ADamagedBlockIsReportedAndOnlyThat) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 900, 100), Status::kOk);
  const uint64_t blocks = file.size_bytes() / 4096;
  for (uint64_t b = 0; b < blocks; ++b) {
    if (ValueOf(file.Block(b)) == 942) file.Block(b)[17] ^= 1;
  }
  Buffer b(100);
  Op op;
  op.volume = v;
  op.blocks = 100;
  op.data = b.data;
  EXPECT_EQ(host.Run(&op), Status::kDamaged);
  EXPECT_EQ(op.failed_lba, 42u);
  EXPECT_EQ(ValueOf(b.data + 42 * 4096), 0u);
  EXPECT_EQ(ValueOf(b.data + 41 * 4096), 941u);
  EXPECT_EQ(host.Simple(OpKind::kVerify, v, 0, 1000), Status::kDamaged);
  EXPECT_EQ(host.Write(v, 42, 1), Status::kOk);
  EXPECT_EQ(host.Read(v, 42), 1u);
}

// Of large reads that the medium ends at once the first is told of alone, so that what comes of it
// is on its way while the next is checked; and WantsPoll says that there are more, whatever the
// pool.
TEST(PoolTurnTest, TheFirstLargeReadEndsAloneAndNoneIsForgotten) {
  constexpr uint64_t kBlocks = 32;
  for (const bool read_only : {false, true}) {
    for (const bool fault : {false, true}) {
      if (read_only && fault) continue;
      MemFile file(64 * kMiB);
      Host host(file);
      ASSERT_EQ(host.Format(), Status::kOk);
      ASSERT_EQ(host.Open(), Status::kOk);
      const uint32_t v = host.Create("a", 1000);
      for (uint64_t i = 0; i < 4; ++i) {
        ASSERT_EQ(host.Write(v, i * kBlocks, 100 + i * kBlocks, kBlocks), Status::kOk);
      }
      ASSERT_EQ(host.Checkpoint(), Status::kOk);
      if (read_only) {
        ASSERT_EQ(host.Close(), Status::kOk);
        host.options.read_only = true;
        ASSERT_EQ(host.Open(), Status::kOk);
      }
      host.Read(v, 0);  // The map's leaf is in memory.
      for (int i = 0; i < 1000 && host.pool->WantsPoll(); ++i) host.Step();
      Buffer b(4 * kBlocks);
      Op ops[4];
      int ended = 0;
      for (uint64_t i = 0; i < 4; ++i) {
        ops[i].volume = v;
        ops[i].lba = i * kBlocks;
        ops[i].blocks = kBlocks;
        ops[i].data = b.data + i * kBlocks * 4096;
        ops[i].context = &ended;
        ops[i].done = [](Op* op) { ++*static_cast<int*>(op->context); };
        host.pool->Submit(&ops[i]);
      }
      host.pool->Kick();
      EXPECT_EQ(host.pool->Poll(), 1);
      EXPECT_EQ(ended, 1);
      if (fault) {
        // What ended before the pool faulted is not left hanging.
        file.fail = [](const IoRequest& r) { return r.kind == IoKind::kFlush ? -EIO : 0; };
        Op flush;
        flush.kind = OpKind::kFlush;
        flush.volume = v;
        flush.done = [](Op*) {};
        host.pool->Submit(&flush);
        host.pool->Kick();
        file.Poll();
        host.pool->Kick();
        ASSERT_EQ(host.pool->Stats().state, PoolState::kFaulted);
      }
      for (int i = 0; i < 8 && host.pool->WantsPoll(); ++i) host.pool->Poll();
      EXPECT_EQ(ended, 4);
      for (uint64_t i = 0; i < 4 * kBlocks; ++i) {
        if (ops[i / kBlocks].status == Status::kOk) {
          EXPECT_EQ(ValueOf(b.data + i * 4096), 100 + i);
        }
      }
    }
  }
}

// Of small ones a few are told of first, and what their host does next reaches the medium before
// the rest is checked, whether the medium delivered within Poll or before it.
TEST(PoolTurnTest, SmallReadsEndAFewAtATimeAndTheNextGoOutBetween) {
  constexpr int kReads = 32;
  for (const bool delivered_before : {false, true}) {
    MemFile file(64 * kMiB);
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("a", 1000);
    ASSERT_EQ(host.Write(v, 0, 100, kReads), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    for (int i = 0; i < 1000 && host.pool->WantsPoll(); ++i) host.Step();
    Buffer b(kReads + 1);
    Op ops[kReads + 1];
    int ended = 0;
    for (int i = 0; i <= kReads; ++i) {
      ops[i].volume = v;
      ops[i].lba = static_cast<uint64_t>(i % kReads);
      ops[i].blocks = 1;
      ops[i].data = b.data + i * 4096;
      ops[i].context = &ended;
      ops[i].done = [](Op* op) { ++*static_cast<int*>(op->context); };
      if (i < kReads) host.pool->Submit(&ops[i]);
    }
    host.pool->Kick();
    if (delivered_before) {
      file.Poll();
      host.pool->Kick();
      EXPECT_EQ(ended, 0);
    }
    EXPECT_EQ(host.pool->Poll(), 4);
    int sent = 0;
    file.fail = [&](const IoRequest& r) {
      sent += r.kind == IoKind::kRead;
      return 0;
    };
    host.pool->Submit(&ops[kReads]);
    host.pool->Kick();
    EXPECT_EQ(ended, 4);
    file.Poll();
    EXPECT_EQ(sent, 1);
    EXPECT_EQ(ended, 4);
    file.fail = nullptr;
    for (int i = 0; i < 20 && host.pool->WantsPoll(); ++i) host.pool->Poll();
    EXPECT_EQ(ended, kReads + 1);
    for (int i = 0; i <= kReads; ++i) {
      EXPECT_EQ(ops[i].status, Status::kOk);
      EXPECT_EQ(ValueOf(b.data + i * 4096), 100u + static_cast<uint64_t>(i % kReads));
    }
  }
}

// The medium has the data of a large write as soon as it is submitted, not at the end of the batch;
// the write ends when its log block is there too.
TEST(PoolTurnTest, TheMediumBeginsWithALargeWriteAtOnce) {
  MemFile file(64 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 1), Status::kOk);
  for (int i = 0; i < 1000 && host.pool->WantsPoll(); ++i) host.Step();
  Buffer b(32);
  for (uint64_t i = 0; i < 32; ++i) Stamp(b.data + i * 4096, 7 + i);
  std::vector<uint32_t> sent;
  file.fail = [&](const IoRequest& r) {
    if (r.kind == IoKind::kWrite) sent.push_back(r.bytes);
    return 0;
  };
  bool ended = false;
  Op op;
  op.kind = OpKind::kWrite;
  op.volume = v;
  op.blocks = 32;
  op.data = b.data;
  op.version = ++host.version;
  op.context = &ended;
  op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  host.pool->Submit(&op);
  file.Poll();
  EXPECT_EQ(sent, (std::vector<uint32_t>{32 * 4096}));
  host.pool->Poll();
  EXPECT_FALSE(ended);
  for (int i = 0; i < 1000 && !ended; ++i) host.Step();
  EXPECT_TRUE(ended);
  file.fail = nullptr;
  EXPECT_EQ(host.Read(v, 31), 38u);
}

TEST_P(PoolTest, AFailedFlushFaultsThePool) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 1), Status::kOk);
  file.fail = [](const IoRequest& r) { return r.kind == IoKind::kFlush ? -EIO : 0; };
  EXPECT_EQ(host.Simple(OpKind::kFlush, v, 0, 0), Status::kIoError);
  file.fail = nullptr;
  EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
  EXPECT_EQ(host.Simple(OpKind::kFlush, v, 0, 0), Status::kIoError);
  EXPECT_EQ(host.Write(v, 0, 1), Status::kIoError);
  EXPECT_FALSE(host.pool->Stats().fault.empty());
}

TEST_P(PoolTest, AFailedWriteGoesElsewhere) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  uint32_t v = host.Create("a", 1000);
  int failures = 2;
  file.fail = [&failures](const IoRequest& r) {
    bool data = r.kind == IoKind::kWrite && r.bytes == 3 * 4096;
    return data && failures-- > 0 ? -EIO : 0;
  };
  EXPECT_EQ(host.Write(v, 5, 50, 3), Status::kOk);
  EXPECT_EQ(host.Read(v, 6), 51u);
  host.pool.reset();
  ASSERT_EQ(host.Open(), Status::kOk);
  EXPECT_EQ(host.Read(host.pool->Volumes().at(0).handle, 6), 51u);
  file.fail = [](const IoRequest& r) {
    return r.kind == IoKind::kWrite && r.bytes == 3 * 4096 ? -EIO : 0;
  };
  EXPECT_EQ(host.Write(host.pool->Volumes().at(0).handle, 5, 60, 3), Status::kIoError);
  EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
}

// --- Atomic writes ---

TEST_P(PoolTest, AnAtomicWriteAcrossLeavesIsWholeOrUndone) {
  for (const uint64_t lost : {0, 1, 2}) {
    MemFile file(64 * kMiB, GetParam());
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("a", 1000);
    // Leaves hold 128 blocks: this lies in three.
    ASSERT_EQ(host.Write(v, 100, 5000, 256, kOpFua), Status::kOk);
    ASSERT_EQ(host.Write(v, 100, 7000, kMaxAtomicBlocks, kOpAtomic), Status::kOk);
    for (uint64_t i = 0; i < 256; ++i) ASSERT_EQ(host.Read(v, 100 + i), 7000 + i);
    // A power cut that loses one block of the data, or none: found by what is in it.
    host.pool.reset();
    uint64_t found = 0;
    for (uint64_t b = 0; lost > 0 && b < 64 * kMiB / 4096; ++b) {
      uint8_t* block = file.Block(b);
      if (ValueOf(block) != (lost == 1 ? 7000 : 7255)) continue;
      std::memset(block, 0, 4096);
      ++found;
    }
    EXPECT_EQ(found, lost > 0 ? 1u : 0u);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t again = host.pool->Volumes().at(0).handle;
    for (uint64_t i = 0; i < 256; ++i) {
      ASSERT_EQ(host.Read(again, 100 + i), (lost > 0 ? 5000 : 7000) + i) << lost << " " << i;
    }
    EXPECT_EQ(host.pool->Stats().dropped_entries, lost > 0 ? 1u : 0u);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

TEST_P(PoolTest, AnAtomicWriteThatFailsGoesElsewhereAsAWhole) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  int failures = 2;
  file.fail = [&failures](const IoRequest& r) {
    const bool data = r.kind == IoKind::kWrite && r.bytes == 200 * 4096;
    return data && failures-- > 0 ? -EIO : 0;
  };
  EXPECT_EQ(host.Write(v, 60, 50, 200, kOpAtomic), Status::kOk);
  host.pool.reset();
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t again = host.pool->Volumes().at(0).handle;
  for (uint64_t i = 0; i < 200; ++i) ASSERT_EQ(host.Read(again, 60 + i), 50 + i);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

TEST_P(PoolTest, AtomicIsForWritesOfAtMostItsLimit) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  EXPECT_EQ(host.Write(v, 0, 1, kMaxAtomicBlocks + 1, kOpAtomic), Status::kInvalid);
  EXPECT_EQ(host.Write(v, 999, 1, 2, kOpAtomic), Status::kOutOfRange);
  EXPECT_EQ(host.Write(v, 998, 1, 2, kOpAtomic), Status::kOk);
}

TEST(LogEntryTest, TheLargestAtomicWriteInTheSmallestRunsFitsABlock) {
  uint8_t block[kBlockBytes] = {};
  const uint32_t bytes = WriteAtomicEntryBytes(kMaxAtomicBlocks, kMaxAtomicBlocks);
  ASSERT_LE(bytes, kLogEntrySpace);
  LogEntryHeader header{};
  header.kind = LogKind::kWriteAtomic;
  header.bytes = static_cast<uint16_t>(bytes);
  header.runs = header.blocks = kMaxAtomicBlocks;
  header.lba = 77;
  std::memcpy(block, &header, sizeof header);
  for (uint32_t i = 0; i < kMaxAtomicBlocks; ++i) {
    const uint64_t run = PackRun(PhysAt(i % kMaxVdevs, kPhysBlockMask - 2 * i), 1);
    std::memcpy(block + sizeof header + i * 8, &run, 8);
    std::memcpy(block + sizeof header + kMaxAtomicBlocks * 8 + i * 4, &i, 4);
  }
  uint32_t offset = 0;
  LogEntry entry;
  ASSERT_TRUE(ParseLogEntry(block, bytes, &offset, &entry));
  for (uint32_t i = 0; i < kMaxAtomicBlocks; ++i) {
    EXPECT_EQ(entry.Run(i).phys, PhysAt(i % kMaxVdevs, kPhysBlockMask - 2 * i));
    EXPECT_EQ(entry.Run(i).blocks, 1u);
    EXPECT_EQ(entry.Crc(i), i);
  }
  // One run more than there are blocks, and runs that are not as long as the write.
  header.runs = kMaxAtomicBlocks - 1;
  std::memcpy(block, &header, sizeof header);
  offset = 0;
  EXPECT_FALSE(ParseLogEntry(block, bytes, &offset, &entry));
}

// --- The model ---

struct Model {
  struct Flight {
    Op op;
    Buffer data;
    bool ended = false;
    explicit Flight(uint64_t blocks) : data(blocks) {}
  };

  Host& host;
  std::mt19937_64 random;
  std::map<std::string, std::map<uint64_t, uint64_t>> volumes;
  std::map<std::string, uint64_t> sizes;
  std::map<std::string, uint32_t> handles;
  uint64_t value = 1;

  Model(Host& h, uint64_t seed) : host(h), random(seed) {}
  uint64_t Below(uint64_t n) { return random() % n; }

  std::string Any() {
    if (volumes.empty()) return "";
    return std::next(volumes.begin(), static_cast<long>(Below(volumes.size())))->first;
  }

  // Many at once, not overlapping reads with changes: then all end.
  void Burst(const std::string& name) {
    std::vector<std::unique_ptr<Flight>> flights;
    auto& blocks = volumes[name];
    const uint64_t size = sizes[name];
    const uint64_t count = 1 + Below(20);
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t n = 1 + Below(Below(4) == 0 ? 300 : 8);
      n = std::min(n, size);
      uint64_t lba = Below(size - n + 1);
      auto f = std::make_unique<Flight>(n);
      f->op.volume = handles[name];
      f->op.kind = Below(5) == 0 ? OpKind::kUnmap : OpKind::kWrite;
      f->op.lba = lba;
      f->op.blocks = n;
      f->op.version = ++host.version;
      f->op.flags = Below(10) == 0 ? kOpFua : 0;
      f->op.data = f->data.data;
      f->op.context = f.get();
      f->op.done = [](Op* op) { static_cast<Flight*>(op->context)->ended = true; };
      for (uint64_t k = 0; k < n; ++k) {
        if (f->op.kind == OpKind::kWrite) {
          Stamp(f->data.data + k * 4096, ++value);
          blocks[lba + k] = value;
        } else {
          blocks.erase(lba + k);
        }
      }
      host.pool->Submit(&f->op);
      if (Below(3) == 0) host.pool->Kick();
      if (Below(3) == 0) host.pool->Poll();
      flights.push_back(std::move(f));
    }
    for (auto& f : flights) {
      for (int i = 0; i < 100000 && !f->ended; ++i) host.Step();
      ASSERT_TRUE(f->ended);
      ASSERT_EQ(f->op.status, Status::kOk);
    }
  }

  void Reopen(bool close) {
    if (close) {
      ASSERT_EQ(host.Close(), Status::kOk);
    } else {
      host.pool.reset();
    }
    host.ExpectClean();
    ASSERT_EQ(host.Open(Below(3) == 0), Status::kOk);
    handles.clear();
    size_t live = 0;
    for (const VolumeInfo& info : host.pool->Volumes()) {
      if (info.deleting) continue;
      ++live;
      handles[info.name] = info.handle;
      ASSERT_EQ(info.size_blocks, sizes[info.name]);
      ASSERT_EQ(info.mapped_blocks, volumes[info.name].size());
    }
    ASSERT_EQ(live, volumes.size());
    Compare();
  }

  void Compare() {
    for (const auto& [name, blocks] : volumes) {
      for (uint64_t lba = 0; lba < sizes[name]; lba += 64) {
        Buffer b(64);
        Op op;
        op.volume = handles[name];
        op.lba = lba;
        op.blocks = std::min<uint64_t>(64, sizes[name] - lba);
        op.data = b.data;
        ASSERT_EQ(host.Run(&op), Status::kOk);
        for (uint64_t k = 0; k < op.blocks; ++k) {
          auto it = blocks.find(lba + k);
          ASSERT_EQ(ValueOf(b.data + k * 4096), it == blocks.end() ? 0 : it->second)
              << name << " " << lba + k;
        }
      }
    }
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      uint64_t dice = Below(40);
      std::string name = Any();
      if (dice == 0 || name.empty()) {
        if (volumes.size() >= 4) continue;
        std::string fresh = "v" + std::to_string(++value);
        sizes[fresh] = 1 + Below(2000);
        volumes[fresh] = {};
        handles[fresh] = host.Create(fresh, sizes[fresh]);
      } else if (dice == 1) {
        ASSERT_EQ(host.Delete(handles[name]), Status::kOk);
        volumes.erase(name);
        sizes.erase(name);
      } else if (dice == 2) {
        uint64_t size = sizes[name] + Below(2000);
        ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
          host.pool->ResizeVolume(handles[name], size, d, c);
        }),
                  Status::kOk);
        sizes[name] = size;
      } else if (dice == 3) {
        ASSERT_EQ(host.Checkpoint(), Status::kOk);
      } else if (dice == 4) {
        Reopen(Below(2) == 0);
      } else if (dice == 5) {
        ASSERT_EQ(host.Simple(OpKind::kUnmap, handles[name], 0, sizes[name]), Status::kOk);
        volumes[name].clear();
      } else {
        Burst(name);
      }
    }
  }
};

TEST_P(PoolTest, BehavesLikeItsModel) {
  const char* many = std::getenv("ENGINE_MODEL_SEEDS");
  const uint64_t seeds = many != nullptr ? std::strtoull(many, nullptr, 10) : 12;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    MemFile file((seed % 3 == 0 ? 200 : 64) * kMiB, GetParam());
    std::mt19937_64 order(seed);
    if (!GetParam()) file.pick = [&order](size_t n) { return order() % n; };
    Host host(file);
    host.options.cache_bytes = kMiB;
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    Model model(host, seed);
    model.Run(250);
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    model.Reopen(true);
    if (testing::Test::HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Media, PoolTest, testing::Values(false, true),
                         [](const auto& p) { return p.param ? "Immediate" : "Queued"; });

}  // namespace
}  // namespace ashlar
