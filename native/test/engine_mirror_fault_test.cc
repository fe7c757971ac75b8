// Faults of one side of a mirror (T8): as long as the other has what the first
// lost, no host gets an error or a wrong byte. Snapshots and a clone are read
// too.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>

#include "native/test/pool_host.h"

namespace ashlar {
namespace {

using Rng = std::mt19937_64;

// Says of some writes that they are done: they are nowhere, or in another
// place.
class LyingFile : public MemFile {
 public:
  LyingFile(uint64_t bytes, uint64_t seed) : MemFile(bytes), rng_(seed) {}

  void Submit(IoRequest *request) override {
    const bool lies = one_in > 0 && request->kind == IoKind::kWrite && rng_() % one_in == 0;
    if (!lies) return MemFile::Submit(request);
    ++lost;
    if (misdirects && rng_() % 2 == 0) {
      for (uint32_t at = 0; at < request->bytes; at += kBlockBytes) {
        const uint64_t block = (request->offset + at) / kBlockBytes + 1 + rng_() % 64;
        if (block < size_bytes() / kBlockBytes - 64) {
          std::memcpy(Block(block), request->data + at, kBlockBytes);
        }
      }
    }
    request->result = 0;
    request->done(request);
  }

  uint64_t one_in = 0;
  bool misdirects = false;
  uint64_t lost = 0;

 private:
  Rng rng_;
};

// A volume, two snapshots of it and a clone, and what they hold.
struct World {
  PoolHost host;
  std::map<std::string, std::map<uint64_t, uint64_t>> holds;
  uint64_t value = 1;

  static constexpr uint64_t kBlocks = 2048;

  uint32_t Find(const std::string &name) {
    for (const VolumeInfo &v : host.pool->Volumes()) {
      if (v.name == name) return v.handle;
      for (const SnapshotInfo &s : host.pool->Snapshots(v.handle)) {
        if (s.name == name) return s.handle;
      }
    }
    ADD_FAILURE() << "no " << name;
    return 0;
  }
  void Write(const std::string &name, uint64_t lba, uint64_t blocks) {
    ASSERT_EQ(host.Write(Find(name), lba, value, blocks), Status::kOk) << host.pool->Stats().fault;
    for (uint64_t i = 0; i < blocks; ++i) holds[name][lba + i] = value + i;
    value += blocks;
  }
  void Unmap(const std::string &name, uint64_t lba, uint64_t blocks) {
    ASSERT_EQ(host.Simple(OpKind::kUnmap, Find(name), lba, blocks), Status::kOk);
    for (uint64_t i = 0; i < blocks; ++i) holds[name].erase(lba + i);
  }
  void Snapshot(const std::string &name) {
    SnapshotRequest request;
    request.volume = Find("v");
    request.name = name;
    request.version = ++host.version;
    ASSERT_EQ(host.Control([&](DoneFn d, void *c) {
      host.pool->CreateSnapshots({&request, 1}, 0, d, c);
    }),
              Status::kOk);
    holds[name] = holds["v"];
  }
  void Clone(const std::string &name, const std::string &of) {
    uint32_t handle = 0;
    ASSERT_EQ(host.Control([&](DoneFn d, void *c) {
      host.pool->CloneSnapshot(Find(of), Uuid{}, name, &handle, d, c);
    }),
              Status::kOk);
    holds[name] = holds[of];
  }
  void Work(Rng &rng, int operations) {
    for (int i = 0; i < operations; ++i) {
      const std::string name = holds.count("clone") != 0 && rng() % 3 == 0 ? "clone" : "v";
      const uint64_t lba = rng() % (kBlocks - 32);
      if (rng() % 5 == 0) {
        Unmap(name, lba, 1 + rng() % 32);
      } else {
        Write(name, lba, 1 + rng() % 32);
      }
      if (rng() % 20 == 0) {
        ASSERT_EQ(host.Flush(Find("v")), Status::kOk);
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  void Make(Rng &rng, int operations) {
    host.Create("v", kBlocks);
    holds["v"];
    Work(rng, operations);
    Snapshot("one");
    Work(rng, operations);
    Snapshot("two");
    Clone("clone", "two");
    Work(rng, operations);
  }
  // Every block of everything, many to a read.
  void ExpectAll() {
    for (const auto &[name, content] : holds) {
      const uint32_t handle = Find(name);
      BlockBuffer buffer(64);
      for (uint64_t lba = 0; lba < kBlocks; lba += 64) {
        Op op;
        op.volume = handle;
        op.lba = lba;
        op.blocks = 64;
        op.data = buffer.data;
        ASSERT_EQ(host.Run(&op), Status::kOk) << name << " block " << op.failed_lba;
        for (uint64_t i = 0; i < 64; ++i) {
          const auto it = content.find(lba + i);
          ASSERT_EQ(StampOf(buffer.data + i * kBlockBytes), it == content.end() ? 0 : it->second)
              << name << " block " << lba + i;
        }
      }
    }
  }
};

TEST(MirrorFaults, OneBitInAThousandBlocksIsHealedByReads) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    World world;
    world.host.options.cache_bytes = 1 << 20;
    for (int i = 0; i < 2; ++i) world.host.AddMedium(64);
    ASSERT_EQ(world.host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(world.host.OpenWith({0, 1}), Status::kOk);
    world.Make(rng, 60);
    for (int round = 0; round < 4; ++round) {
      if (round % 2 == 1) {
        ASSERT_EQ(world.host.Close(), Status::kOk);
      }
      // Data, pages, log, labels, superblocks: never the same block on both
      // sides.
      for (uint64_t block = 0; block < 64 * kMiB / kBlockBytes; ++block) {
        if (rng() % 500 == 0) {
          world.host.media[rng() % 2]->Block(block)[rng() % kBlockBytes] ^=
              static_cast<uint8_t>(1u << (rng() % 8));
        }
      }
      if (round % 2 == 1) {
        ASSERT_EQ(world.host.OpenWith({0, 1}), Status::kOk) << world.host.why;
      }
      world.ExpectAll();
      EXPECT_GT(world.host.pool->Stats().checksum_errors, 0u);
      world.Work(rng, 20);
      world.ExpectAll();
      ASSERT_FALSE(testing::Test::HasFatalFailure());
      // What no read came by is found by the scrub, before the other side's
      // turn.
      ASSERT_EQ(world.host.Control([&](DoneFn d, void *c) { world.host.pool->StartScrub(d, c); }),
                Status::kOk);
      world.host.Settle();
      ASSERT_EQ(world.host.pool->WalkInfo(WalkKind::kScrub).state, WalkState::kDone);
      ASSERT_EQ(world.host.pool->WalkInfo(WalkKind::kScrub).damaged_blocks, 0u);
    }
    for (int i = 0; i < 2; ++i) ASSERT_EQ(world.host.Checkpoint(), Status::kOk);
    ASSERT_EQ(world.host.Close(), Status::kOk);
    world.host.ExpectClean({0, 1});
  }
}

TEST(MirrorFaults, LostAndMisdirectedWritesOfOneSideAreHealed) {
  uint64_t healed = 0;  // By scrubs: in a single run reads may have come by all of it before.
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    World world;
    world.host.options.cache_bytes = 1 << 20;
    world.host.AddMedium(64);
    auto liar = std::make_unique<LyingFile>(64 * kMiB, seed);
    LyingFile *file = liar.get();
    world.host.media.push_back(std::move(liar));
    ASSERT_EQ(world.host.Format({{0, 1}}), Status::kOk);
    ASSERT_EQ(world.host.OpenWith({0, 1}), Status::kOk);
    file->one_in = 10 + rng() % 50;
    file->misdirects = seed % 2 == 0;
    world.Make(rng, 60);
    world.ExpectAll();
    ASSERT_FALSE(testing::Test::HasFatalFailure());
    // From the media, not from the cache.
    world.host.pool.reset();
    for (auto &medium : world.host.media) medium->DropQueue();
    ASSERT_EQ(world.host.OpenWith({0, 1}), Status::kOk) << world.host.why;
    world.ExpectAll();
    world.Work(rng, 40);
    world.ExpectAll();
    EXPECT_GT(file->lost, 5u);
    // Once it is honest again a scrub makes it whole.
    file->one_in = 0;
    ASSERT_EQ(world.host.Control([&](DoneFn d, void *c) { world.host.pool->StartScrub(d, c); }),
              Status::kOk);
    world.host.Settle();
    EXPECT_EQ(world.host.pool->WalkInfo(WalkKind::kScrub).damaged_blocks, 0u);
    healed += world.host.pool->WalkInfo(WalkKind::kScrub).healed_blocks;
    ASSERT_EQ(world.host.Close(), Status::kOk);
    ASSERT_EQ(world.host.OpenWith({1}), Status::kOk) << world.host.why;
    world.ExpectAll();
  }
  EXPECT_GT(healed, 8u);
}

TEST(MirrorFaults, EveryIoOfOneSideFailsOnce) {
  uint64_t failing = 0;
  for (bool came = true; came; ++failing) {
    SCOPED_TRACE(failing);
    Rng rng(7);
    World world;
    world.host.options.cache_bytes = 1 << 20;
    for (int i = 0; i < 2; ++i) world.host.AddMedium(64);
    ASSERT_EQ(world.host.Format({{0, 1}}), Status::kOk);
    uint64_t count = 0;
    world.host.media[1]->fail = [&](const IoRequest &) { return count++ == failing ? -EIO : 0; };
    ASSERT_EQ(world.host.OpenWith({0, 1}), Status::kOk) << world.host.why;
    world.Make(rng, 10);
    world.ExpectAll();
    world.host.pool.reset();
    for (auto &medium : world.host.media) medium->DropQueue();
    Status status = world.host.OpenWith({0, 1});
    ASSERT_EQ(status, Status::kOk) << world.host.why;
    world.ExpectAll();
    ASSERT_EQ(world.host.Close(), Status::kOk);
    ASSERT_FALSE(testing::Test::HasFatalFailure());
    came = count > failing;
  }
  EXPECT_GT(failing, 100u);
}

}  // namespace
}  // namespace ashlar
