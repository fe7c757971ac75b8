// Walks over everything a pool holds: resilver and scrub.
#include <gtest/gtest.h>

#include <random>

#include "native/engine/format.h"
#include "native/test/pool_host.h"

namespace ashlar {
namespace {

// A device that joins begins the resilver anew, for all of them: what was under way then is no
// place to go on from after a restart.
TEST(Walks, AResilverThatIsBegunAnewDoesNotGoOnWhereItWas) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(128);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  uint32_t v = host.Create("v", 8192);
  Fill(host, v, 8192, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  const Uuid first = host.Device(0).id;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->AttachDevice(first, host.File(1), false, d, c);
  }),
            Status::kOk);
  const auto done = [&host] { return host.pool->WalkInfo(WalkKind::kResilver).done_blocks; };
  for (int i = 0; i < 100000 && done() < 5000; ++i) host.Step();
  // Its reads do not end any more.
  const uint64_t end = 128 * kMiB / 4096;
  host.media[0]->hold = [end](const IoRequest& r) {
    const uint64_t block = r.offset / 4096;
    return r.kind == IoKind::kRead && block > 100 && block < end - 16;
  };
  for (int i = 0; i < 200; ++i) host.Step();
  ASSERT_EQ(host.pool->WalkInfo(WalkKind::kResilver).state, WalkState::kRunning);
  Status joined = Status::kBusy;
  host.pool->AttachDevice(
      first, host.File(2), false, [](void* c, Status s) { *static_cast<Status*>(c) = s; }, &joined);
  for (int i = 0; i < 3000; ++i) {
    host.Step();
    for (auto& medium : host.media) medium->Wait();
  }
  ASSERT_EQ(joined, Status::kOk);
  for (auto& medium : host.media) medium->DropQueue();
  host.pool.reset();
  host.media[0]->hold = nullptr;
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  SettleWalks(host);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({2}), Status::kOk) << host.why;
  v = host.Handle("v");
  for (uint64_t lba = 0; lba < 8192; ++lba) ASSERT_EQ(host.Read(v, lba), lba + 1) << lba;
}

// What a device has missed is what is younger than its label says: also where the newer superblock
// is gone, whose generation that was.
TEST(Walks, AReturningHalfGetsWhatItMissedAfterTheNewerSuperblockIsGone) {
  PoolHost host;
  for (int i = 0; i < 2; ++i) host.AddMedium(128);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  uint32_t v = host.Create("v", 8192);
  Fill(host, v, 2048, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  const Uuid away = host.Device(1).id;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(away, d, c); }),
            Status::kOk);
  Fill(host, v, 1024, 50001);
  ASSERT_EQ(host.Flush(v), Status::kOk);
  host.pool.reset();
  uint64_t generation[2];
  for (int slot : {0, 1}) {
    std::memcpy(&generation[slot], host.media[0]->Block(slot) + offsetof(Superblock, generation),
                8);
  }
  const uint64_t newer = generation[1] > generation[0] ? 1 : 0;
  for (const uint64_t place : {newer, 128 * kMiB / 4096 - 2 + newer}) {
    host.media[0]->Block(place)[700] ^= 1;
  }
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  ASSERT_EQ(host.Control(
                [&](DoneFn d, void* c) { host.pool->OnlineDevice(away, DeviceFile{}, 0, d, c); }),
            Status::kOk);
  host.Settle();
  SettleWalks(host);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
  v = host.Handle("v");
  for (uint64_t lba = 0; lba < 2048; ++lba) {
    ASSERT_EQ(host.Read(v, lba), lba < 1024 ? 50001 + lba : lba + 1) << lba;
  }
}

TEST(Walks, AReturningHalfGetsWhatItMissedAndNoMore) {
  for (const bool immediate : {false, true}) {
    PoolHost host;
    host.AddMedium(64, immediate);
    host.AddMedium(64, immediate);
    ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
    const uint32_t v = host.Create("v", 8192);
    Fill(host, v, 8192, 1);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(
        host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(host.Device(1).id, d, c); }),
        Status::kOk);
    EXPECT_EQ(host.Device(1).state, DeviceState::kOffline);
    Fill(host, v, 512, 9000);
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->OnlineDevice(host.Device(1).id, {}, 0, d, c);
    }),
              Status::kOk);
    EXPECT_EQ(host.Device(1).state, DeviceState::kResilvering);
    SettleWalks(host);
    EXPECT_EQ(host.Device(1).state, DeviceState::kInSync);
    const WalkStatus status = host.pool->WalkInfo(WalkKind::kResilver);
    EXPECT_EQ(status.state, WalkState::kDone);
    EXPECT_GE(status.healed_blocks, 512u);
    EXPECT_LT(status.healed_blocks, 800u);  // And the pages that changed with them.
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean({0, 1});
    ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
    ExpectFilled(host, host.Handle("v"), 512, 9000);
  }
}

TEST(Walks, AMissingHalfIsResilveredWhenItIsBack) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1, 2}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk);
  const uint32_t v = host.Create("v", 4096);
  Fill(host, v, 4096, 1);
  ASSERT_EQ(host.Flush(v), Status::kOk);
  host.pool.reset();
  for (auto& medium : host.media) medium->PowerCut();
  ASSERT_EQ(host.OpenWith({0, 2}), Status::kOk);
  Fill(host, host.Handle("v"), 256, 7000);
  ASSERT_EQ(host.Flush(host.Handle("v")), Status::kOk);
  host.pool.reset();
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  SettleWalks(host);
  EXPECT_EQ(host.Device(1).state, DeviceState::kInSync);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1, 2});
  ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
  ExpectFilled(host, host.Handle("v"), 256, 7000);
  EXPECT_EQ(host.Read(host.Handle("v"), 300), 301u);
}

// What a head shares with its newest snapshot, the walk leaves to the snapshot. Deleted before its
// turn, it leaves it to nobody; unless the walk goes back.
TEST(Walks, ASnapshotThatIsDeletedBeforeTheWalkReachesItIsMissedByNobody) {
  for (const bool scrub : {false, true}) {
    PoolHost host;
    host.AddMedium(64);
    host.AddMedium(64);
    ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
    const uint32_t v = host.Create("v", 1024);
    const uint32_t other = host.Create("other", 40000);
    if (!scrub) {
      ASSERT_EQ(host.Control(
                    [&](DoneFn d, void* c) { host.pool->OfflineDevice(host.Device(1).id, d, c); }),
                Status::kOk);
    }
    Fill(host, v, 1024, 5000);
    for (uint64_t leaf = 0; leaf < 300; ++leaf) {
      ASSERT_EQ(host.Write(other, leaf * 128, leaf + 1), Status::kOk);
    }
    SnapshotRequest request;
    uint32_t s = 0;
    request.volume = v;
    request.name = "one";
    request.version = ++host.version;
    request.handle = &s;
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->CreateSnapshots({&request, 1}, 0, d, c);
    }),
              Status::kOk);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    const WalkKind kind = scrub ? WalkKind::kScrub : WalkKind::kResilver;
    if (scrub) {
      // Rotten on one side, in a block that head and snapshot share.
      for (uint64_t block = 0; block < 64 * kMiB / 4096; ++block) {
        if (StampOf(host.media[1]->Block(block)) == 5777) host.media[1]->Block(block)[9] ^= 1;
      }
      ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
    } else {
      ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
        host.pool->OnlineDevice(host.Device(1).id, {}, 0, d, c);
      }),
                Status::kOk);
    }
    const uint64_t begun = scrub ? 100 : 60;
    auto seen = [&] {
      const WalkStatus status = host.pool->WalkInfo(kind);
      return scrub ? status.done_blocks : status.healed_blocks;
    };
    for (int i = 0; i < 100000 && seen() < begun; ++i) host.Step();
    ASSERT_LT(seen(), 700u);
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->DeleteSnapshot(s, d, c); }),
              Status::kOk);
    SettleWalks(host);
    EXPECT_EQ(host.pool->WalkInfo(kind).state, WalkState::kDone);
    EXPECT_EQ(host.Device(1).state, DeviceState::kInSync);
    if (scrub) {
      EXPECT_EQ(host.pool->WalkInfo(kind).healed_blocks, 1u);
    }
    EXPECT_EQ(host.pool->WalkInfo(kind).damaged_blocks, 0u);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean({0, 1});
    ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
    ExpectFilled(host, host.Handle("v"), 1024, 5000);
  }
}

TEST(Walks, AResilverGoesOnAfterARestart) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 rng(seed);
    PoolHost host;
    host.AddMedium(64);
    host.AddMedium(64);
    host.AddMedium(64);
    ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
    uint32_t v = host.Create("v", 8192);
    Fill(host, v, 8192, 1);
    std::vector<uint64_t> model(8192);
    for (uint64_t i = 0; i < 8192; ++i) model[i] = i + 1;
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->AttachDevice(host.Device(1).id, host.File(2), true, d, c);
    }),
              Status::kOk);
    // Restarts in the middle, by kill or by power cut, with writes in between.
    uint32_t restarts = 0;
    for (int round = 0; round < 200 && restarts < 5; ++round) {
      for (uint64_t steps = rng() % 40; steps > 0; --steps) host.Step();
      const uint64_t lba = rng() % 8192;
      ASSERT_EQ(host.Write(v, lba, 100000 + static_cast<uint64_t>(round)), Status::kOk);
      model[lba] = 100000 + static_cast<uint64_t>(round);
      if (rng() % 4 == 0) {
        ASSERT_EQ(host.Checkpoint(), Status::kOk);
      }
      if (rng() % 6 != 0) continue;
      const bool power = rng() % 2 == 0;
      if (power) {
        ASSERT_EQ(host.Flush(v), Status::kOk);
      }
      host.pool.reset();
      if (power) {
        for (auto& medium : host.media) medium->PowerCut();
      }
      ++restarts;
      Status status = host.OpenWith({0, 1, 2});
      if (status == Status::kForeign) status = host.OpenWith({0, 2});  // It has left.
      ASSERT_EQ(status, Status::kOk) << host.why;
      v = host.Handle("v");
    }
    SettleWalks(host);
    EXPECT_EQ(host.Device(2).state, DeviceState::kInSync);
    EXPECT_EQ(host.pool->Devices().size(), 2u);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean({0, 2});
    ASSERT_EQ(host.OpenWith({2}), Status::kOk) << host.why;
    for (uint64_t lba = 0; lba < 8192; ++lba) {
      ASSERT_EQ(host.Read(host.Handle("v"), lba), model[lba])
          << "seed " << seed << " block " << lba;
    }
  }
}

TEST(Walks, ScrubFindsAndHealsEverySide) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 4096);
  Fill(host, v, 4096, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  for (uint64_t block = 600; block < 16000; ++block) {
    if (block % 10 == 3) Rot(*host.media[0], 1, block, block + 1);
    if (block % 10 == 7) Rot(*host.media[1], 1, block, block + 1);
  }
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
  SettleWalks(host);
  const WalkStatus status = host.pool->WalkInfo(WalkKind::kScrub);
  EXPECT_EQ(status.state, WalkState::kDone);
  EXPECT_GT(status.healed_blocks, 700u);
  EXPECT_EQ(status.damaged_blocks, 0u);
  EXPECT_GT(host.Device(0).checksum_errors, 300u);
  EXPECT_GT(host.Device(1).checksum_errors, 300u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1});
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).ended_s, status.ended_s);
}

TEST(Walks, ScrubNamesWhatItCannotHeal) {
  PoolHost host;
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 4096);
  Fill(host, v, 4096, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  std::vector<uint64_t> bad;
  for (uint64_t block = 500; block < 16000; ++block) {
    const uint64_t value = StampOf(host.media[0]->Block(block));
    if (value == 0 || value == ~0ull || block % 100 != 0) continue;
    host.media[0]->Block(block)[17] ^= 1;
    bad.push_back(value - 1);
  }
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
  SettleWalks(host);
  std::vector<uint64_t> found;
  for (const DamagedBlock& block : host.pool->Damage()) {
    EXPECT_EQ(block.volume, "v");
    found.push_back(block.lba);
  }
  std::sort(bad.begin(), bad.end());
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, bad);
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).damaged_blocks, bad.size());
  EXPECT_EQ(host.pool->Stats().state, PoolState::kOpen);
}

// A block of a snapshot has no other copy here: what a peer has is written in its place, for all
// who share it, if it is what the checksum is of (H3).
TEST(Walks, WhatIsOfferedMendsADamagedBlockInItsPlace) {
  PoolHost host;
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 512);
  Fill(host, v, 512, 1);
  SnapshotRequest request{v, {}, "kept", ++host.version, nullptr};
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->CreateSnapshots({&request, 1}, 1, d, c);
  }),
            Status::kOk);
  ASSERT_EQ(host.Write(v, 6, 999), Status::kOk);  // 5 stays shared, 6 is the snapshot's alone.
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  const uint32_t kept = host.pool->Snapshots(v).at(0).handle;
  size_t bad = 0;
  for (uint64_t block = 0; block < 16384; ++block) {
    const uint64_t value = StampOf(host.media[0]->Block(block));
    if (value != 6 && value != 7) continue;
    host.media[0]->Block(block)[17] ^= 1;
    ++bad;
  }
  ASSERT_EQ(bad, 2u);
  const auto scrub = [&] {
    EXPECT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
    SettleWalks(host);
    return host.pool->Damage().size();
  };
  ASSERT_EQ(scrub(), 2u);
  for (const DamagedBlock& block : host.pool->Damage()) {
    EXPECT_EQ(block.volume, "v@kept");
    EXPECT_TRUE(block.data);
  }
  const auto offer = [&](uint32_t volume, uint64_t lba, uint64_t value) {
    BlockBuffer b(1);
    StampBlock(b.data, value);
    Op op;
    op.flags = kOpOffer;
    op.volume = volume;
    op.lba = lba;
    op.blocks = 1;
    op.data = b.data;
    const Status status = host.Run(&op);
    host.Settle();
    return status;
  };
  EXPECT_EQ(offer(kept, 5, 12345), Status::kDamaged);
  EXPECT_EQ(host.pool->Damage().size(), 2u);
  EXPECT_EQ(host.Read(v, 5), ~1ull);
  EXPECT_EQ(offer(kept, 5, 6), Status::kOk);
  EXPECT_EQ(host.pool->Damage().size(), 1u);
  EXPECT_EQ(host.Read(v, 5), 6u);
  EXPECT_EQ(host.Read(kept, 5), 6u);
  EXPECT_EQ(offer(kept, 6, 7), Status::kOk);
  EXPECT_EQ(host.pool->Damage().size(), 0u);
  EXPECT_EQ(host.Read(kept, 6), 7u);
  EXPECT_EQ(host.Read(v, 6), 999u);
  // What is whole stays what it is, whatever is offered.
  EXPECT_EQ(offer(kept, 7, 12345), Status::kOk);
  EXPECT_EQ(host.Read(kept, 7), 8u);
  EXPECT_EQ(scrub(), 0u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0});
}

// The list is of what is damaged now, and of who has it now.
TEST(Walks, WhatIsDamagedIsOffTheListOnceNobodyHasIt) {
  PoolHost host;
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 512);
  Fill(host, v, 512, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (uint64_t block = 0; block < 16384; ++block) {
    const uint64_t value = StampOf(host.media[0]->Block(block));
    if (value >= 5 && value < 8) host.media[0]->Block(block)[17] ^= 1;
  }
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
  SettleWalks(host);
  const auto list = [&] {
    std::string all;
    for (const DamagedBlock& block : host.pool->Damage()) {
      all += block.volume + ' ' + std::to_string(block.lba) + ';';
    }
    return all;
  };
  EXPECT_EQ(list(), "v 4;v 5;v 6;");
  ASSERT_EQ(host.Write(v, 4, 1000), Status::kOk);
  EXPECT_EQ(list(), "v 5;v 6;");
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).damaged_blocks, 2u);
  for (const char* name : {"a", "b"}) {
    SnapshotRequest request{v, {}, name, ++host.version, nullptr};
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->CreateSnapshots({&request, 1}, 1, d, c);
    }),
              Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
  }
  // The volume has another now, and both snapshots this one.
  ASSERT_EQ(host.Write(v, 5, 1001), Status::kOk);
  EXPECT_EQ(list(), "v@b 5;v 6;");
  for (size_t left : {1u, 0u}) {
    const uint32_t oldest = host.pool->Snapshots(v).at(0).handle;
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->DeleteSnapshot(oldest, d, c); }),
              Status::kOk);
    for (int i = 0; i < 4; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    host.Settle();
    EXPECT_EQ(list(), left == 1 ? "v@b 5;v 6;" : "v 6;");
  }
  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 6, 1), Status::kOk);
  EXPECT_EQ(list(), "");
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).damaged_blocks, 0u);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);  // The older superblock has it no more either.
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0});
}

TEST(Walks, AScrubIsPausedAndGoesOnAfterARestart) {
  PoolHost host;
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 8192);
  Fill(host, v, 8192, 1);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
  for (int i = 0; i < 20; ++i) host.Step();
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StopScrub(false, d, c); }),
            Status::kOk);
  const uint64_t done = host.pool->WalkInfo(WalkKind::kScrub).done_blocks;
  EXPECT_GT(done, 0u);
  EXPECT_LT(done, 8192u);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).state, WalkState::kPaused);
  const uint64_t reads = host.media[0]->reads;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->StartScrub(d, c); }), Status::kOk);
  SettleWalks(host);
  EXPECT_EQ(host.pool->WalkInfo(WalkKind::kScrub).state, WalkState::kDone);
  EXPECT_GT(host.media[0]->reads, reads);
}

}  // namespace
}  // namespace ashlar
