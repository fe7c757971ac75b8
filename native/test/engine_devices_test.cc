// Pools of many devices: layouts, who may be opened, who is taken out, and what is read then.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "native/test/pool_host.h"

namespace ashlar {
namespace {

std::function<int32_t(const IoRequest&)> FailAll() {
  return [](const IoRequest&) { return -EIO; };
}
std::function<int32_t(const IoRequest&)> FailKind(IoKind kind) {
  return [kind](const IoRequest& r) { return r.kind == kind ? -EIO : 0; };
}

TEST(Devices, AStripeSpreadsDataAndMetadataOverItsDevices) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}, {2}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({2, 0, 1}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 8192);
  Fill(host, v, 8192, 1);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (const VdevInfo& vdev : host.pool->Vdevs()) {
    EXPECT_GT(vdev.used_blocks, 8192u / 6) << vdev.vdev;
    EXPECT_LT(vdev.used_blocks, 8192u / 2) << vdev.vdev;
  }
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1, 2});
  ASSERT_EQ(host.OpenWith({1, 2, 0}), Status::kOk) << host.why;
  ExpectFilled(host, host.Handle("v"), 8192, 1);
}

TEST(Devices, AnAtomicWriteOnAnyVdevOutlivesACrash) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}, {2}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 8192);
  for (uint64_t lba = 60; lba + 200 < 8192; lba += 256) {
    ASSERT_EQ(host.Write(v, lba, 1 + lba, 200, kOpAtomic), Status::kOk);
  }
  ASSERT_EQ(host.Flush(v), Status::kOk);
  for (const VdevInfo& vdev : host.pool->Vdevs()) EXPECT_GT(vdev.used_blocks, 300u) << vdev.vdev;
  host.pool.reset();
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  EXPECT_FALSE(host.pool->Stats().log_damaged);
  for (uint64_t lba = 60; lba + 200 < 8192; lba += 256) {
    for (uint64_t i = 0; i < 200; ++i) {
      ASSERT_EQ(host.Read(host.Handle("v"), lba + i), 1 + lba + i) << lba + i;
    }
  }
}

TEST(Devices, AStripeWithoutOneOfItsDevicesIsRefusedByName) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}, {2}}), Status::kOk);
  EXPECT_EQ(host.OpenWith({0, 2}), Status::kTooFew);
  EXPECT_NE(host.why.find("disk1 is missing"), std::string::npos) << host.why;
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk);
}

TEST(Devices, AMirrorHoldsEverythingTwice) {
  PoolHost host;
  for (int i = 0; i < 4; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}, {2, 3}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2, 3}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 4096);
  Fill(host, v, 4096, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1, 2, 3});
  for (const auto& half : {std::vector<size_t>{0, 2}, {0, 3}}) {
    host.options.read_only = true;
    ASSERT_EQ(host.OpenWith(half), Status::kOk) << host.why;
    ExpectFilled(host, host.Handle("v"), 4096, 1);
  }
  host.options.read_only = false;
}

TEST(Devices, AMirrorOpensDegradedAndItsReturningHalfIsNotReadFrom) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 1024);
  Fill(host, v, 1024, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(1).state, DeviceState::kMissing);
  Fill(host, host.Handle("v"), 1024, 5000);
  ASSERT_EQ(host.Close(), Status::kOk);
  // Alone it is refused no more than any half; with the other it is known for stale.
  ASSERT_EQ(host.OpenWith({1, 0}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(1).state, DeviceState::kResilvering);
  ExpectFilled(host, host.Handle("v"), 1024, 5000);
}

TEST(Devices, TwoHalvesThatWentOnAloneAreRefused) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  host.Create("v", 1024);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({1}), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.OpenWith({0, 1}), Status::kDiverged);
  ASSERT_EQ(host.OpenWith({1}), Status::kOk);
  ASSERT_EQ(host.Write(host.Handle("v"), 0, 9), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.OpenWith({0, 1}), Status::kDiverged);
  EXPECT_EQ(host.OpenWith({1, 0}), Status::kDiverged);
}

TEST(Devices, ForeignDevicesAndCopiesAreRefused) {
  PoolHost host;
  for (int i = 0; i < 5; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  PoolHost other;
  other.AddMedium(64);
  FormatOptions format;
  format.name = "other";
  format.store_id.bytes[3] = 77;
  ASSERT_EQ(Pool::Format(*host.media[2], format), Status::kOk);
  EXPECT_EQ(host.OpenWith({0, 1, 2}), Status::kForeign);
  EXPECT_NE(host.why.find("other"), std::string::npos) << host.why;
  EXPECT_EQ(host.OpenWith({0, 1, 3}), Status::kForeign);
  for (uint64_t block = 0; block < 64; ++block) {
    std::memcpy(host.media[4]->Block(block), host.media[0]->Block(block), 4096);
  }
  EXPECT_EQ(host.OpenWith({0, 1, 4}), Status::kForeign);
  EXPECT_NE(host.why.find("copy"), std::string::npos) << host.why;
}

TEST(Devices, ASideThatFailsAWriteIsOutOnTheOthersLabelsBeforeTheAcknowledgement) {
  for (const bool immediate : {false, true}) {
    for (const IoKind kind : {IoKind::kWrite, IoKind::kFlush}) {
      PoolHost host;
      host.AddMedium(64, immediate);
      host.AddMedium(64, immediate);
      ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
      ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
      const uint32_t v = host.Create("v", 1024);
      Fill(host, v, 1024, 1);
      host.media[0]->fail = FailKind(kind);
      ASSERT_EQ(host.Write(v, 3, 777, 1, kOpFua), Status::kOk);
      EXPECT_EQ(host.Device(0).state, DeviceState::kFaulted);
      EXPECT_EQ(host.pool->Stats().state, PoolState::kOpen);
      host.media[0]->fail = nullptr;
      // A crash now: the device that failed is back, and is known for what it is.
      host.pool.reset();
      host.media[0]->PowerCut();
      host.media[1]->PowerCut();
      ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
      EXPECT_EQ(host.Device(0).state, DeviceState::kFaulted);
      EXPECT_EQ(host.Read(host.Handle("v"), 3), 777u);
      EXPECT_EQ(host.Read(host.Handle("v"), 4), 5u);
    }
  }
}

TEST(Devices, WhenTheLastSideFailsThePoolFaultsWithTheReason) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 1024);
  host.media[0]->fail = FailAll();
  ASSERT_EQ(host.Write(v, 0, 1, 1, kOpFua), Status::kOk);
  host.media[1]->fail = FailAll();
  EXPECT_EQ(host.Write(v, 1, 1, 1, kOpFua), Status::kIoError);
  EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
  EXPECT_FALSE(host.pool->Stats().fault.empty());
}

TEST(Devices, ABothSidesBadPlaceGoesElsewhereAndNobodyIsOut) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 1024);
  // The next data block, wherever it lies, cannot be written on either side.
  uint64_t bad = ~0ull;
  auto fail = [&bad](const IoRequest& r) {
    if (r.kind != IoKind::kWrite || r.bytes != 8192) return 0;
    if (bad == ~0ull) bad = r.offset;
    return r.offset == bad ? -EIO : 0;
  };
  host.media[0]->fail = host.media[1]->fail = fail;
  ASSERT_EQ(host.Write(v, 0, 42, 2, kOpFua), Status::kOk);
  EXPECT_EQ(host.Device(0).state, DeviceState::kInSync);
  EXPECT_EQ(host.Device(1).state, DeviceState::kInSync);
  EXPECT_EQ(host.Read(v, 1), 43u);
}

TEST(Devices, ALogDeviceOfItsOwnTakesTheLog) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(i == 2 ? 16 : 64);
  ASSERT_EQ(host.Format({{0}, {1}}, {2}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 2048);
  Fill(host, v, 2048, 1);
  ASSERT_EQ(host.Flush(v), Status::kOk);
  host.pool.reset();  // As a kill would: the log has it all.
  ASSERT_EQ(host.OpenWith({2, 1, 0}), Status::kOk) << host.why;
  ExpectFilled(host, host.Handle("v"), 2048, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.OpenWith({0, 1}), Status::kTooFew);
  EXPECT_NE(host.why.find("the log device"), std::string::npos) << host.why;
  host.ExpectClean({0, 1, 2});
}

TEST(Devices, GrowthStopsAtTheLimitAndOverwritesGoOn) {
  PoolHost host;
  host.AddMedium(256);
  ASSERT_EQ(host.Format({{0}}, {}, 50), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 65536);
  uint64_t lba = 0;
  Status status = Status::kOk;
  while (status == Status::kOk) status = host.Write(v, lba += 64, 5, 64);
  EXPECT_EQ(status, Status::kNoSpace);
  EXPECT_NEAR(static_cast<double>(lba), 65536 * 0.5 * 0.96, 2000);
  EXPECT_EQ(host.Write(v, 64, 6, 64), Status::kOk);
  EXPECT_EQ(host.Simple(OpKind::kUnmap, v, 0, 65536), Status::kOk);
}

TEST(Devices, BadBlocksOfAMirrorAreHealedByReads) {
  for (const bool immediate : {false, true}) {
    PoolHost host;
    host.AddMedium(64, immediate);
    host.AddMedium(64, immediate);
    ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
    const uint32_t v = host.Create("v", 4096);
    Fill(host, v, 4096, 1);
    ASSERT_EQ(host.Close(), Status::kOk);
    // Different blocks on either side, metadata among them.
    ASSERT_GT(Rot(*host.media[0], 7, 600, 16000), 100u);
    for (uint64_t block = 600; block < 16000; ++block) {
      if (block % 7 == 3) Rot(*host.media[1], 1, block, block + 1);
    }
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
    const uint32_t again = host.Handle("v");
    for (int round = 0; round < 2; ++round) ExpectFilled(host, again, 4096, 1);
    EXPECT_GT(host.Device(0).checksum_errors, 0u);
    EXPECT_EQ(host.pool->Stats().state, PoolState::kOpen);
    // Healed in place: now this side has it all by itself.
    host.media[1]->fail = FailKind(IoKind::kRead);
    ExpectFilled(host, again, 4096, 1);
  }
}

TEST(Devices, WithoutAMirrorExactlyTheBadBlocksAreDamaged) {
  PoolHost host;
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 4096);
  Fill(host, v, 4096, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  std::vector<uint64_t> bad;
  for (uint64_t block = 500; block < 16000; ++block) {
    const uint64_t value = StampOf(host.media[0]->Block(block));
    if (value == 0 || value == ~0ull || block % 11 != 0) continue;
    host.media[0]->Block(block)[17] ^= 1;
    bad.push_back(value - 1);
  }
  ASSERT_GT(bad.size(), 100u);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t again = host.Handle("v");
  std::vector<uint64_t> found;
  for (uint64_t lba = 0; lba < 4096; ++lba) {
    const uint64_t value = host.Read(again, lba);
    if (value == ~1ull) {
      found.push_back(lba);
    } else {
      EXPECT_EQ(value, lba + 1);
    }
  }
  std::sort(bad.begin(), bad.end());
  EXPECT_EQ(found, bad);
  EXPECT_EQ(host.Write(again, bad[0], 9), Status::kOk);
  EXPECT_EQ(host.Read(again, bad[0]), 9u);
}

TEST(Devices, APageIsHealedFromItsSecondCopy) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 65536);
  for (uint64_t lba = 0; lba < 65536; lba += 512)
    ASSERT_EQ(host.Write(v, lba, lba + 1), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  // All pages of one device: each has its copy on the other.
  uint64_t rotten = 0;
  for (uint64_t block = 10; block < 16000; ++block) {
    uint8_t* data = host.media[0]->Block(block);
    if (std::memcmp(data, "ASHP", 4) != 0) continue;
    data[100] ^= 0x40;
    ++rotten;
  }
  ASSERT_GT(rotten, 100u);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  for (uint64_t lba = 0; lba < 65536; lba += 512) {
    ASSERT_EQ(host.Read(host.Handle("v"), lba), lba + 1);
  }
  EXPECT_GT(host.Device(0).checksum_errors, 100u);
}

// --- While it serves ---

TEST(Devices, AReplacedDeviceIsWipedAndRefused) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(96);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 2048);
  Fill(host, v, 2048, 1);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->AttachDevice(host.Device(0).id, host.File(1), true, d, c);
  }),
            Status::kOk);
  SettleWalks(host);
  EXPECT_EQ(host.pool->Devices().size(), 1u);
  EXPECT_FALSE(host.pool->HoldsFile(host.media[0].get()));
  ExpectFilled(host, v, 2048, 1);
  // It is larger: the rest was taken into use.
  ASSERT_EQ(host.Close(), Status::kOk);
  ProbeResult probe;
  EXPECT_EQ(Pool::Probe(*host.media[0], &probe), Status::kNotAPool);
  ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
  EXPECT_GT(host.pool->Stats().usable_blocks, 16384u);
  ExpectFilled(host, host.Handle("v"), 2048, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({1});
}

TEST(Devices, AnAddedVdevTakesWritesAtOnce) {
  for (const bool power_cut : {false, true}) {
    PoolHost host;
    for (int i = 0; i < 3; ++i) host.AddMedium(64);
    ASSERT_EQ(host.Format({{0}}), Status::kOk);
    ASSERT_EQ(host.OpenWith({0}), Status::kOk);
    const uint32_t v = host.Create("v", 16384);
    Fill(host, v, 4096, 1);
    const uint64_t before = host.pool->Stats().usable_blocks;
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
      host.pool->AddVdev({host.File(1), host.File(2)}, d, c);
    }),
              Status::kOk);
    if (power_cut) {
      // Right after the call: the labels know it, the superblocks do not yet.
      host.pool.reset();
      for (auto& medium : host.media) medium->PowerCut();
      ASSERT_EQ(host.OpenWith({2, 1, 0}), Status::kOk) << host.why;
    }
    host.Settle();
    EXPECT_GT(host.pool->Stats().usable_blocks, before + 12000);
    const uint32_t again = host.Handle("v");
    Fill(host, again, 8192, 50000);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.pool->Vdevs().size(), 2u);
    EXPECT_GT(host.pool->Vdevs()[1].used_blocks, 3000u);
    host.pool.reset();
    ASSERT_EQ(host.OpenWith({2, 1, 0}), Status::kOk) << host.why;
    ExpectFilled(host, host.Handle("v"), 8192, 50000);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean({0, 1, 2});
    host.options.prefer_older_superblock = true;
    ASSERT_EQ(host.OpenWith({2, 1, 0}), Status::kOk) << host.why;
    ExpectFilled(host, host.Handle("v"), 8192, 50000);
  }
}

TEST(Devices, ADeviceThatCannotTakeALabelDoesNotJoinAndThePoolGoesOn) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 256);
  host.media[1]->fail = FailKind(IoKind::kWrite);
  EXPECT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->AddVdev({host.File(1)}, d, c); }),
            Status::kIoError);
  host.Settle();
  EXPECT_EQ(host.pool->Devices().size(), 1u);
  EXPECT_EQ(host.Write(v, 0, 5), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why;
  EXPECT_EQ(host.Read(host.Handle("v"), 0), 5u);
}

TEST(Devices, AttachAndDetachMakeAMirrorAndAPlainDevice) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk);
  const uint32_t v = host.Create("v", 2048);
  Fill(host, v, 2048, 1);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->AttachDevice(host.Device(0).id, host.File(1), false, d, c);
  }),
            Status::kOk);
  // Before it has everything, the only good one cannot leave.
  EXPECT_EQ(
      host.Control([&](DoneFn d, void* c) { host.pool->DetachDevice(host.Device(0).id, d, c); }),
      Status::kTooFew);
  SettleWalks(host);
  ASSERT_EQ(
      host.Control([&](DoneFn d, void* c) { host.pool->DetachDevice(host.Device(0).id, d, c); }),
      Status::kOk);
  host.Settle();
  EXPECT_EQ(host.pool->Devices().size(), 1u);
  ExpectFilled(host, v, 2048, 1);
  ASSERT_EQ(host.Close(), Status::kOk);
  ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
  host.pool.reset();
  EXPECT_EQ(host.OpenWith({0}), Status::kNotAPool);
}

TEST(Devices, AnExportedPoolSaysSo) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  host.Create("v", 64);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->Export(d, c); }), Status::kOk);
  host.pool.reset();
  ProbeResult probe;
  ASSERT_EQ(Pool::Probe(*host.media[1], &probe), Status::kOk);
  EXPECT_TRUE(probe.exported);
  EXPECT_EQ(probe.devices, 2u);
  ASSERT_EQ(host.OpenWith({1, 0}), Status::kOk);
  ASSERT_EQ(Pool::Probe(*host.media[0], &probe), Status::kOk);
  EXPECT_FALSE(probe.exported);
}

}  // namespace
}  // namespace ashlar
