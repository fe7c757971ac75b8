// What runs in the background, deletions and rollbacks, comes to its end whatever hosts do
// meanwhile.
#include <gtest/gtest.h>

#include <random>
#include <utility>
#include <vector>

#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Buffer;
using test::Host;
using test::kMiB;

// Each with a block that has changed since its snapshot.
void MakeVolumes(Host& host, size_t count, std::vector<uint32_t>* volumes,
                 std::vector<uint32_t>* snapshots) {
  for (size_t i = 0; i < count; ++i) {
    volumes->push_back(host.Create("v" + std::to_string(i), 1 << 14));
    ASSERT_EQ(host.Write(volumes->back(), 0, 1), Status::kOk);
    snapshots->push_back(host.Snapshot(volumes->back(), "s"));
    ASSERT_EQ(host.Write(volumes->back(), 0, 2), Status::kOk);
  }
}

struct LoadShape {
  const char* name;
  uint64_t pool_mib;
  OpKind kind;
  size_t depth;
  uint64_t max_blocks;
  // 0: the volume is filled until the pool is full, and changed anywhere. Else one block of each
  // leaf is written and changed, of so many leaves.
  uint64_t leaves;
};

// As many changes at once as the shape says; another takes the place of each that ends.
class EndlessLoad {
 public:
  EndlessLoad(Host* host, uint32_t volume, const LoadShape& shape)
      : host_(host), volume_(volume), shape_(shape), ops_(shape.depth) {
    for (uint64_t i = 0; i < shape.leaves; ++i) {
      EXPECT_EQ(host->Write(volume, i * kLeaf, i + 1), Status::kOk);
    }
    if (shape.leaves == 0) {
      while (host->Write(volume, filled_, filled_ + 1, kLeaf / 2) == Status::kOk) {
        filled_ += kLeaf / 2;
      }
    }
    for (Op& op : ops_) ended_.push_back(&op);
  }
  void Step() {
    for (Op* op : std::exchange(ended_, {})) Send(op);
    host_->Step();
  }
  void Stop() {
    for (int i = 0; i < 200000 && ended_.size() < ops_.size(); ++i) host_->Step();
    EXPECT_EQ(ended_.size(), ops_.size());
  }
  uint64_t ended() const { return good_; }
  uint64_t refused() const { return refused_; }

 private:
  static constexpr uint64_t kLeaf = 128;

  void Send(Op* op) {
    *op = Op{};
    op->kind = shape_.kind;
    op->volume = volume_;
    op->blocks = 1 + rng_() % shape_.max_blocks;
    op->lba =
        shape_.leaves > 0 ? rng_() % shape_.leaves * kLeaf : rng_() % (filled_ - shape_.max_blocks);
    if (op->kind == OpKind::kWrite) op->data = data_.data;
    op->version = ++host_->version;
    op->context = this;
    op->done = [](Op* o) {
      auto* self = static_cast<EndlessLoad*>(o->context);
      ++(o->status == Status::kOk ? self->good_ : self->refused_);
      self->ended_.push_back(o);
    };
    host_->pool->Submit(op);
  }

  Host* host_;
  uint32_t volume_;
  LoadShape shape_;
  uint64_t filled_ = 0;
  std::vector<Op> ops_;
  std::vector<Op*> ended_;
  uint64_t good_ = 0, refused_ = 0;
  std::mt19937_64 rng_{1};
  Buffer data_{16};
};

class Background : public testing::TestWithParam<std::tuple<LoadShape, bool>> {};

// Writes that never cease take what room there is, or change as many pages as may be changed, and
// one checkpoint follows the other.
TEST_P(Background, ComesToItsEndUnderALoadThatNeverCeases) {
  const auto& [shape, rollbacks] = GetParam();
  constexpr size_t kCount = 20;
  constexpr uint64_t kCheckpoints = 8 * kCount;
  MemFile file(shape.pool_mib * kMiB, false);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t big = host.Create("big", 1 << 20);
  std::vector<uint32_t> volumes, snapshots;
  MakeVolumes(host, kCount, &volumes, &snapshots);
  EndlessLoad load(&host, big, shape);
  for (int i = 0; i < 5000; ++i) load.Step();
  size_t ended = 0;
  const DoneFn done = [](void* c, Status s) { *static_cast<size_t*>(c) += s == Status::kOk; };
  for (size_t i = 0; i < kCount; ++i) {
    if (rollbacks) {
      host.pool->RollbackVolume(volumes[i], snapshots[i], ++host.version, false, done, &ended);
    } else {
      host.pool->DeleteSnapshot(snapshots[i], done, &ended);
    }
  }
  const uint64_t before = host.pool->Stats().checkpoints, changed = load.ended();
  bool all = false;
  while (!all && host.pool->Stats().checkpoints < before + kCheckpoints) {
    for (int i = 0; i < 50; ++i) load.Step();
    all = ended == kCount;
    if (rollbacks) continue;
    // A deletion ends before what it gives back does.
    for (const VolumeInfo& v : host.pool->Volumes()) all &= v.snapshot_blocks == 0;
  }
  EXPECT_TRUE(all) << ended;
  EXPECT_GT(load.ended(), changed + 10 * (host.pool->Stats().checkpoints - before));
  load.Stop();
  EXPECT_EQ(load.refused(), 0u);
  EXPECT_EQ(host.pool->Stats().fault, "");
  host.Settle();
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(host.Read(volumes[i], 0), rollbacks ? 1u : 2u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean(false);
}

INSTANTIATE_TEST_SUITE_P(
    Loads, Background,
    testing::Combine(testing::Values(LoadShape{"FullPool", 64, OpKind::kWrite, 128, 16, 0},
                                     LoadShape{"ManyPages", 64, OpKind::kWrite, 512, 1, 1500},
                                     LoadShape{"Unmaps", 16, OpKind::kUnmap, 512, 16, 0}),
                     testing::Bool()),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) +
             (std::get<1>(info.param) ? "Rollbacks" : "Deletions");
    });

// Each loads the pages it needs; all at once, in a cache that has no room for those of all.
TEST(BackgroundWork, ThereIsMoreOfThanTheCacheHasRoomFor) {
  constexpr size_t kCount = 100;
  MemFile file(64 * kMiB, false);
  Host host(file);
  host.options.cache_bytes = kMiB;
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  std::vector<uint32_t> volumes, snapshots;
  MakeVolumes(host, kCount, &volumes, &snapshots);
  host.Settle();
  size_t ended = 0;
  const DoneFn done = [](void* c, Status s) { *static_cast<size_t*>(c) += s == Status::kOk; };
  for (size_t i = 0; i < kCount; ++i) {
    host.pool->RollbackVolume(volumes[i], snapshots[i], ++host.version, false, done, &ended);
  }
  for (int i = 0; i < 20000 && ended < kCount; ++i) host.Step();
  EXPECT_EQ(ended, kCount);
  for (const uint32_t v : volumes) ASSERT_EQ(host.Read(v, 0), 1u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

}  // namespace
}  // namespace ashlar
