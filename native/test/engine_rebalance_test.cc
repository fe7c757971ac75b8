// Rebalance: what a pool holds gets its share of a device that was added.
#include <gtest/gtest.h>

#include "native/engine/crc32c.h"
#include "native/test/pool_host.h"

namespace ashlar {
namespace {

TEST(Rebalance, ARebalanceGivesANewDeviceItsShareAndGoesOnAfterAKill) {
  for (const bool immediate : {false, true}) {
    PoolHost host;
    for (int i = 0; i < 2; ++i) host.AddMedium(128, immediate);
    ASSERT_EQ(host.Format({{0}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0}), Status::kOk);
    uint32_t v = host.Create("v", 8192);
    Fill(host, v, 8192, 1);
    SnapshotRequest request{v, {}, "kept", ++host.version, nullptr};
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->CreateSnapshots({&request, 1}, 1, d, c);
    }),
              Status::kOk);
    // A quarter is the snapshot's too, and stays where it is.
    Fill(host, v, 6144, 20000);
    ASSERT_EQ(host.AddVdev(1), Status::kOk);
    host.Settle();
    ASSERT_LT(UsedOf(host, 1), 600u);
    ASSERT_EQ(host.StartRebalance(), Status::kOk);
    for (int i = 0; i < 100000 && host.pool->WalkInfo(WalkKind::kRebalance).healed_blocks < 500;
         ++i) {
      host.Step();
    }
    // A host's write in the middle of it stands.
    ASSERT_EQ(host.Write(v, 6000, 999999), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    EXPECT_EQ(host.pool->WalkInfo(WalkKind::kRebalance).state, WalkState::kRunning);
    host.pool.reset();
    ASSERT_EQ(host.OpenWith({1, 0}), Status::kOk) << host.why;
    v = host.Handle("v");
    SettleWalks(host);
    const WalkStatus walk = host.pool->WalkInfo(WalkKind::kRebalance);
    EXPECT_EQ(walk.state, WalkState::kDone);
    EXPECT_GT(walk.healed_blocks, 2000u);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    const uint64_t full = UsedOf(host, 0), fresh = UsedOf(host, 1);
    EXPECT_GT(fresh * 10, full * 7) << full << " " << fresh;
    for (uint64_t lba = 0; lba < 8192; ++lba) {
      const uint64_t want = lba == 6000 ? 999999 : lba < 6144 ? 20000 + lba : lba + 1;
      ASSERT_EQ(host.Read(v, lba), want) << lba;
    }
    const uint32_t kept = host.pool->Snapshots(v).at(0).handle;
    for (uint64_t lba = 0; lba < 8192; lba += 7) ASSERT_EQ(host.Read(kept, lba), lba + 1);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean({0, 1});
  }
}

// What is moved is written, and like any write it may have to wait for a checkpoint; what is still
// to be moved keeps that checkpoint from ending.
TEST(Rebalance, ARebalanceDoesNotWaitForTheCheckpointThatItHoldsUp) {
  for (const bool immediate : {false, true}) {
    PoolHost host;
    for (int i = 0; i < 2; ++i) host.AddMedium(128, immediate);
    PoolLayout layout;
    layout.data.push_back({host.File(0)});
    FormatOptions format;
    format.log_bytes = 64 * 4096;  // The smallest: full again and again.
    for (int i = 0; i < 16; ++i) format.store_id.bytes[i] = static_cast<uint8_t>(i + 1);
    ASSERT_EQ(Pool::Format(layout, format), Status::kOk);
    ASSERT_EQ(host.OpenWith({0}), Status::kOk);
    const uint32_t v = host.Create("v", 8192);
    // No two neighbours of the volume are neighbours on the medium: each moves by itself.
    constexpr uint64_t kBlocks = 4096;
    for (uint64_t i = 0; i < kBlocks; ++i) {
      ASSERT_EQ(host.Write(v, i * 1237 % kBlocks, i * 1237 % kBlocks + 1), Status::kOk);
    }
    // One in twenty has rotted, and is counted once, however often its page is looked at.
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    uint64_t rotten = 0;
    for (uint64_t b = 80; b < 128 * kMiB / 4096 - 16; ++b) {
      const uint64_t value = StampOf(host.media[0]->Block(b));
      if (value == 0 || value > kBlocks || value % 20 != 0) continue;
      host.media[0]->Block(b)[77] ^= 1;
      ++rotten;
    }
    ASSERT_EQ(rotten, kBlocks / 20);
    ASSERT_EQ(host.AddVdev(1), Status::kOk);
    host.Settle();
    ASSERT_EQ(host.StartRebalance(), Status::kOk);
    for (uint64_t i = 0; i < 2000; ++i) {
      ASSERT_EQ(host.Write(v, kBlocks + i, kBlocks + i + 1), Status::kOk) << i;
    }
    SettleWalks(host);
    const WalkStatus walk = host.pool->WalkInfo(WalkKind::kRebalance);
    EXPECT_EQ(walk.state, WalkState::kDone);
    EXPECT_GT(walk.healed_blocks, 1000u);
    EXPECT_GT(walk.damaged_blocks, 0u);
    EXPECT_LE(walk.damaged_blocks, rotten);
    for (uint64_t lba = 0; lba < kBlocks + 2000; ++lba) {
      const bool bad = lba < kBlocks && (lba + 1) % 20 == 0;
      ASSERT_EQ(host.Read(v, lba), bad ? ~uint64_t{1} : lba + 1) << lba;
    }
    ASSERT_EQ(host.Close(), Status::kOk);
  }
}

// A repair brings other bytes under the version that is there: what a walk had read before is not
// to go over them.
TEST(Rebalance, ARebalanceMovesNothingThatWasRepairedMeanwhile) {
  PoolHost host;
  for (int i = 0; i < 2; ++i) host.AddMedium(128);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  uint32_t v = host.Create("v", 8192);
  Fill(host, v, 8192, 1);
  ASSERT_EQ(host.AddVdev(1), Status::kOk);
  host.Settle();
  int held = 0;
  host.media[0]->hold = [&held](const IoRequest& r) {
    held += r.kind == IoKind::kRead;
    return r.kind == IoKind::kRead;
  };
  ASSERT_EQ(host.StartRebalance(), Status::kOk);
  for (int i = 0; i < 100; ++i) host.Step();
  ASSERT_GT(held, 0);
  BlockTag there[128];
  Op look;
  look.kind = OpKind::kTags;
  look.volume = v;
  look.blocks = 128;
  look.tags = there;
  ASSERT_EQ(host.Run(&look), Status::kOk);
  BlockBuffer bytes(128);
  for (uint64_t i = 0; i < 128; ++i) {
    StampBlock(bytes.data + i * 4096, 700000 + i);
    there[i].crc = Crc32c(bytes.data + i * 4096, 4096);
  }
  Op repair;
  repair.kind = OpKind::kWrite;
  repair.guard = Guard::kExact;
  repair.volume = v;
  repair.blocks = 128;
  repair.data = bytes.data;
  repair.tags = there;
  ASSERT_EQ(host.Run(&repair), Status::kOk);
  host.media[0]->hold = nullptr;
  SettleWalks(host);
  EXPECT_GT(host.pool->WalkInfo(WalkKind::kRebalance).healed_blocks, 1000u);
  host.pool.reset();  // What was moved is in the log, too.
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  v = host.Handle("v");
  for (uint64_t lba = 0; lba < 8192; ++lba) {
    ASSERT_EQ(host.Read(v, lba), lba < 128 ? 700000 + lba : lba + 1) << lba;
  }
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1});
}

// A block that a snapshot has got since the walk looked at it would be on the medium twice, and be
// told as changed.
TEST(Rebalance, ARebalanceMovesNothingThatASnapshotTookMeanwhile) {
  for (int steps = 0; steps < 24; ++steps) {
    SCOPED_TRACE(steps);
    PoolHost host;
    for (int i = 0; i < 2; ++i) host.AddMedium(32);
    ASSERT_EQ(host.Format({{0}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0}), Status::kOk);
    const uint32_t v = host.Create("v", 2048);
    Fill(host, v, 2048, 1);
    ASSERT_EQ(host.AddVdev(1), Status::kOk);
    host.Settle();
    ASSERT_EQ(host.StartRebalance(), Status::kOk);
    for (int i = 0; i < steps; ++i) host.Step();
    uint32_t handle = 0;
    SnapshotRequest request{v, {}, "kept", ++host.version, &handle};
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->CreateSnapshots({&request, 1}, 1, d, c);
    }),
              Status::kOk);
    SettleWalks(host);
    std::vector<MapRun> runs;
    uint64_t next = 0;
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->Changed(handle, v, 0, 100, &runs, &next, d, c);
    }),
              Status::kOk);
    EXPECT_EQ(runs.size(), 0u) << runs[0].lba << " and " << runs[0].blocks;
  }
}

// A volume goes back to a snapshot while its blocks are on the move: the moves under way end first.
TEST(Rebalance, AVolumeIsRolledBackInTheMiddleOfARebalance) {
  PoolHost host;
  for (int i = 0; i < 2; ++i) host.AddMedium(32);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  uint32_t v = host.Create("v", 2048);
  Fill(host, v, 512, 1);
  uint32_t kept = 0;
  SnapshotRequest request{v, {}, "kept", ++host.version, &kept};
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->CreateSnapshots({&request, 1}, 1, d, c);
  }),
            Status::kOk);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  Fill(host, v, 2048, 5000);
  ASSERT_EQ(host.AddVdev(1), Status::kOk);
  host.Settle();
  // The new device does not answer: what moves there is under way.
  bool moving = false;
  host.media[1]->hold = [&moving](const IoRequest& r) {
    moving |= r.kind == IoKind::kWrite;
    return r.kind == IoKind::kWrite;
  };
  ASSERT_EQ(host.StartRebalance(), Status::kOk);
  for (int i = 0; i < 1000 && !moving; ++i) host.Step();
  ASSERT_TRUE(moving);
  struct Answer {
    bool ended = false;
    Status status = Status::kBusy;
  } back, second;
  const auto done = [](void* c, Status s) { *static_cast<Answer*>(c) = {true, s}; };
  host.pool->RollbackVolume(v, kept, ++host.version, true, done, &back);
  host.pool->RollbackVolume(v, kept, ++host.version, true, done, &second);
  for (int i = 0; i < 100; ++i) host.Step();
  EXPECT_FALSE(back.ended);
  // A second one meanwhile is too many.
  EXPECT_TRUE(second.ended);
  EXPECT_EQ(second.status, Status::kBusy);
  host.media[1]->hold = nullptr;
  for (int i = 0; i < 100000 && !back.ended; ++i) host.Step();
  ASSERT_TRUE(back.ended);
  ASSERT_EQ(back.status, Status::kOk);
  SettleWalks(host);
  EXPECT_GT(host.pool->WalkInfo(WalkKind::kRebalance).healed_blocks, 0u);
  ExpectFilled(host, v, 512, 1);
  for (uint64_t lba = 512; lba < 2048; ++lba) ASSERT_EQ(host.Read(v, lba), 0u) << lba;
  std::vector<MapRun> runs;
  uint64_t next = 0;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->Changed(kept, v, 0, 100, &runs, &next, d, c);
  }),
            Status::kOk);
  EXPECT_EQ(runs.size(), 0u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1});
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  v = host.Handle("v");
  ExpectFilled(host, v, 512, 1);
}

}  // namespace
}  // namespace ashlar
