// Lines of snapshots on a medium in memory: clones, promotion, rollback.
#include <algorithm>
#include <vector>

#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Host;
using test::kMiB;

class LineTest : public testing::TestWithParam<bool> {};

TEST_P(LineTest, AClonesBlocksAreItsOriginsUntilItChangesThem) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4096);
  ASSERT_EQ(host.Write(v, 0, 100, 300), Status::kOk);
  const uint32_t s = host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 0, 7000, 10), Status::kOk);
  const uint64_t before = host.pool->Stats().allocated_blocks;
  const uint32_t c = host.Clone(s, "b");
  EXPECT_LT(host.pool->Stats().allocated_blocks, before + 100);
  host.version = 1;  // Its versions are its own (S14).
  ASSERT_EQ(host.Write(c, 5, 9000, 2), Status::kOk);
  ASSERT_EQ(host.Simple(OpKind::kUnmap, c, 200, 100), Status::kOk);
  host.version = 100000;
  EXPECT_EQ(host.ReadAll(c, 4, 4), (std::vector<uint64_t>{104, 9000, 9001, 107}));
  EXPECT_EQ(host.Read(v, 5), 7005u);
  EXPECT_EQ(host.Read(s, 5), 105u);
  EXPECT_EQ(host.DeleteSnapshot(s), Status::kHasClones);
  EXPECT_EQ(host.Delete(v, true), Status::kHasClones);
  VolumeInfo info;
  ASSERT_TRUE(host.pool->Volume(c, &info));
  EXPECT_EQ(info.origin, s);
  EXPECT_EQ(info.mapped_blocks, 200u);
  EXPECT_EQ(info.written_blocks, 2u);
  EXPECT_EQ(info.inherited_blocks, 198u);
  const uint32_t cs = host.Snapshot(c, "own");
  ASSERT_EQ(host.Write(c, 6, 9500), Status::kOk);
  const std::vector<MapRun> changed = host.Changed(s, c, 4096);
  ASSERT_EQ(changed.size(), 2u);
  EXPECT_EQ(changed[0].lba, 5u);
  EXPECT_EQ(changed[0].blocks, 2u);
  EXPECT_TRUE(changed[0].mapped);
  EXPECT_EQ(changed[1].blocks, 100u);
  EXPECT_FALSE(changed[1].mapped);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  // The clone takes over: the snapshot is its own, and the volume becomes its clone.
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.Settle();
  ASSERT_EQ(host.Promote(c), Status::kOk);
  EXPECT_EQ(host.pool->Snapshots(c).size(), 2u);
  EXPECT_TRUE(host.pool->Snapshots(v).empty());
  host.Settle();
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  host.pool.reset();
  ASSERT_EQ(host.Open(true), Status::kOk);
  host.ExpectClean();
  EXPECT_EQ(host.Delete(c, true), Status::kHasClones);
  EXPECT_EQ(host.Delete(v), Status::kOk);
  EXPECT_EQ(host.Read(s, 5), 105u);
  ASSERT_EQ(host.DeleteSnapshot(s), Status::kOk);
  EXPECT_EQ(host.Read(cs, 6), 9001u);
  ASSERT_EQ(host.Delete(c, true), Status::kOk);
  host.Settle();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  EXPECT_EQ(host.pool->Stats().data_blocks, 0u);
  EXPECT_LT(host.pool->Stats().allocated_blocks, 120u);
}

TEST_P(LineTest, ARollbackBringsBackWhatWasAndTheSize) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 3000);
  ASSERT_EQ(host.Write(v, 0, 100, 300), Status::kOk);
  const uint32_t s = host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 10, 7000, 10), Status::kOk);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->ResizeVolume(v, 4000, d, c); }),
            Status::kOk);
  host.Snapshot(v, "two");
  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 0, 5), Status::kOk);
  ASSERT_EQ(host.Write(v, 3500, 8000, 5), Status::kOk);
  EXPECT_EQ(host.Rollback(v, s), Status::kLaterSnapshots);
  ASSERT_EQ(host.Rollback(v, s, true), Status::kOk);
  const auto expect = [&] {
    const VolumeInfo info = host.pool->Volumes().at(0);
    EXPECT_EQ(info.size_blocks, 3000u);
    EXPECT_EQ(info.mapped_blocks, 300u);
    EXPECT_EQ(info.written_blocks, 0u);
    EXPECT_FALSE(info.rolling_back);
    EXPECT_TRUE(host.Changed(s, v, 3000).empty());
    for (uint64_t lba : {0, 4, 10, 19, 299}) EXPECT_EQ(host.Read(v, lba), 100 + lba);
    EXPECT_EQ(host.pool->Snapshots(v).size(), 1u);
  };
  expect();
  host.Settle();
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  host.pool.reset();
  ASSERT_EQ(host.Open(true), Status::kOk);
  expect();
  ASSERT_EQ(host.Write(v, 10, 1), Status::kOk);
  ASSERT_EQ(host.DeleteSnapshot(s), Status::kOk);
  EXPECT_EQ(host.Read(v, 11), 111u);
  host.Settle();
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// What a rollback is about to delete, nobody builds on any more; before it is logged neither.
TEST_P(LineTest, NothingIsClonedFromASnapshotThatARollbackWillTakeAway) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4000);
  ASSERT_EQ(host.Write(v, 0, 1, 1000), Status::kOk);
  const uint32_t one = host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 0, 5000, 1000), Status::kOk);
  const uint32_t two = host.Snapshot(v, "two");
  int left = 2;
  struct Answer {
    int* left;
    Status status;
  } back{&left, Status::kBusy}, clone{&left, Status::kOk};
  const auto done = [](void* c, Status s) {
    auto* answer = static_cast<Answer*>(c);
    answer->status = s;
    --*answer->left;
  };
  // No superblock reaches the snapshot yet: it waits.
  host.pool->RollbackVolume(v, one, ++host.version, true, done, &back);
  host.pool->CloneSnapshot(two, Uuid{}, "clone", nullptr, done, &clone);
  for (int i = 0; i < 100000 && left > 0; ++i) host.Step();
  ASSERT_EQ(left, 0);
  EXPECT_EQ(back.status, Status::kOk);
  EXPECT_EQ(clone.status, Status::kBusy);
  host.Settle();
  EXPECT_EQ(host.ReadAll(v, 0, 1000)[999], 1000u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// A rollback that waits is logged later than what is called after it: a volume that is deleted
// meanwhile would come back half, and what it grew by would be gone.
TEST_P(LineTest, WhatARollbackWaitsToDoToAVolumeNothingElseChanges) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4000);
  ASSERT_EQ(host.Write(v, 0, 1, 1000), Status::kOk);
  const uint32_t one = host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 0, 5000, 1000), Status::kOk);
  Status answers[5] = {};
  int ended = 0;
  struct Answer {
    Status* status;
    int* ended;
  } contexts[5];
  const auto done = [](void* c, Status s) {
    *static_cast<Answer*>(c)->status = s;
    ++*static_cast<Answer*>(c)->ended;
  };
  for (int i = 0; i < 5; ++i) contexts[i] = {&answers[i], &ended};
  const std::vector<uint8_t> value(100, 7);
  VolumeMarks marks;
  marks.set_hole_floor = true;
  // No superblock reaches the snapshot yet: it waits.
  host.pool->RollbackVolume(v, one, ++host.version, true, done, &contexts[0]);
  host.pool->DeleteVolume(v, done, &contexts[1], true);
  host.pool->ResizeVolume(v, 8000, done, &contexts[2]);
  host.pool->SetMarks(v, marks, done, &contexts[3]);
  host.pool->PutBlob(v, "settings", value, done, &contexts[4]);
  for (int i = 0; i < 100000 && ended < 5; ++i) host.Step();
  ASSERT_EQ(ended, 5);
  EXPECT_EQ(answers[0], Status::kOk);
  for (int i = 1; i < 5; ++i) EXPECT_EQ(answers[i], Status::kBusy) << i;
  host.Settle();
  EXPECT_EQ(host.ReadAll(v, 0, 1000)[999], 1000u);
  ASSERT_EQ(host.Delete(v, true), Status::kOk);
  host.Settle();
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// A map that grew by levels since its snapshot and was then emptied: its root is null, and what the
// snapshot holds lies below a place where neither has a page.
TEST_P(LineTest, AHeadThatGrewAndWasEmptiedLacksAllOfItsSnapshot) {
  for (const uint64_t size : {40, 3000}) {
    SCOPED_TRACE(size);
    MemFile file(64 * kMiB, GetParam());
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("a", size);
    ASSERT_EQ(host.Write(v, 0, 100, 30), Status::kOk);
    const uint32_t s = host.Snapshot(v, "one");
    ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->ResizeVolume(v, 400000, d, c); }),
              Status::kOk);
    ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 0, 400000), Status::kOk);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    host.ExpectClean();
    EXPECT_EQ(host.pool->Volumes().at(0).mapped_blocks, 0u);
    EXPECT_GE(host.pool->Volumes().at(0).snapshot_blocks, 30u);
    EXPECT_EQ(host.Read(s, 29), 129u);
    const auto changed = host.Changed(s, v, 400000);
    ASSERT_EQ(changed.size(), 1u);
    EXPECT_EQ(changed[0].lba, 0u);
    EXPECT_EQ(changed[0].blocks, 30u);
    EXPECT_FALSE(changed[0].mapped);
    // A clone that grew and was emptied is the same against its origin.
    const uint32_t c = host.Clone(s, "clone");
    ASSERT_EQ(host.Control([&](DoneFn d, void* x) { host.pool->ResizeVolume(c, 400000, d, x); }),
              Status::kOk);
    ASSERT_EQ(host.Simple(OpKind::kUnmap, c, 0, 400000), Status::kOk);
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
    ASSERT_EQ(host.Open(), Status::kOk);
    uint32_t head = 0, clone = 0;
    for (const VolumeInfo& info : host.pool->Volumes()) {
      (info.name == "a" ? head : clone) = info.handle;
    }
    ASSERT_EQ(host.Delete(clone), Status::kOk);
    host.Settle();
    ASSERT_EQ(host.Rollback(head, host.pool->Snapshots(head).at(0).handle), Status::kOk);
    EXPECT_EQ(host.Read(head, 29), 129u);
    EXPECT_EQ(host.pool->Volumes().at(0).size_blocks, size);
    host.Settle();
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    host.ExpectClean();
    ASSERT_EQ(host.DeleteSnapshot(host.pool->Snapshots(head).at(0).handle), Status::kOk);
    ASSERT_EQ(host.Delete(head), Status::kOk);
    host.Settle();
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

// Pages of a head that is empty come into memory before anything is in them: for a write on its
// way, or by the rollback itself at a leaf of the snapshot that holds nothing. What the snapshot
// has beside them must not be passed by.
TEST_P(LineTest, APageMadeInVainHidesNothingOfTheSnapshot) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 40000);
  constexpr uint64_t kEmpty = 197 * 128, kFull = 198 * 128;
  ASSERT_EQ(host.Write(v, kEmpty, 1000), Status::kOk);
  ASSERT_EQ(host.Write(v, kFull, 2000, 3), Status::kOk);
  // The leaf is still in memory, so the snapshot gets it, empty as it is.
  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, kEmpty, 1), Status::kOk);
  const uint32_t s = host.Snapshot(v, "one");
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 0, 40000), Status::kOk);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  EXPECT_EQ(host.Read(s, kFull + 2), 2002u);
  EXPECT_EQ(host.Read(s, kEmpty), 0u);

  test::Buffer block(1);
  test::Stamp(block.data, 3000);
  Op op;
  op.kind = OpKind::kWrite;
  op.volume = v;
  op.lba = kEmpty + 7;
  op.blocks = 1;
  op.data = block.data;
  op.version = ++host.version;
  bool ended = false;
  op.context = &ended;
  op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  host.pool->Submit(&op);
  const auto changed = host.Changed(s, v, 40000);
  ASSERT_FALSE(changed.empty());
  EXPECT_EQ(changed.back().lba, kFull);
  EXPECT_EQ(changed.back().blocks, 3u);
  EXPECT_FALSE(changed.back().mapped);
  for (int i = 0; i < 1000 && !ended; ++i) host.Step();
  ASSERT_TRUE(ended);

  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 0, 40000), Status::kOk);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Rollback(v, s), Status::kOk);
  EXPECT_EQ(host.ReadAll(v, kFull, 4), (std::vector<uint64_t>{2000, 2001, 2002, 0}));
  EXPECT_EQ(host.pool->Volumes().at(0).mapped_blocks, 3u);
  ASSERT_EQ(host.DeleteSnapshot(s), Status::kOk);
  host.Settle();
  EXPECT_EQ(host.Read(v, kFull), 2000u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

TEST_P(LineTest, ACloneIsPromotedThoughASnapshotBesideItsOriginIsGone) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 100, 50), Status::kOk);
  host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 0, 200, 20), Status::kOk);
  const uint32_t two = host.Snapshot(v, "two");
  ASSERT_EQ(host.Write(v, 10, 300, 20), Status::kOk);
  const uint32_t three = host.Snapshot(v, "three");
  const uint32_t c = host.Clone(three, "clone");
  // A list with what snapshot one has stays behind in its place.
  ASSERT_EQ(host.DeleteSnapshot(two), Status::kOk);
  host.Settle();
  ASSERT_EQ(host.Promote(c), Status::kOk);
  EXPECT_EQ(host.pool->Snapshots(c).size(), 2u);
  EXPECT_EQ(host.Read(c, 10), 300u);
  host.Settle();
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// From its call until it is done: what would meet the lines half changed, or deletes what moves, is
// asked for again.
TEST_P(LineTest, NothingMeetsALineThatAPromotionIsAboutToChange) {
  enum Call {
    kRollback,
    kPromoteOther,
    kDeleteClone,
    kDeleteFrom,
    kSnapshot,
    kDelete,
    kAgain,
    kEnd
  };
  for (int call = kRollback; call < kEnd; ++call) {
    MemFile file(64 * kMiB, GetParam());
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("a", 1000);
    ASSERT_EQ(host.Write(v, 0, 100, 50), Status::kOk);
    const uint32_t one = host.Snapshot(v, "one");
    ASSERT_EQ(host.Write(v, 0, 200, 20), Status::kOk);
    const uint32_t c = host.Clone(one, "clone"), d = host.Clone(one, "other");
    host.Settle();
    std::vector<Status> ended;
    const DoneFn done = [](void* all, Status status) {
      static_cast<std::vector<Status>*>(all)->push_back(status);
    };
    const SnapshotRequest request{c, {}, "one", ++host.version, nullptr};
    host.pool->PromoteVolume(c, done, &ended);
    switch (call) {
      case kRollback:
        host.pool->RollbackVolume(v, one, ++host.version, true, done, &ended);
        break;
      case kPromoteOther:
        host.pool->PromoteVolume(d, done, &ended);
        break;
      case kDeleteClone:
        host.pool->DeleteVolume(c, done, &ended, true);
        break;
      case kDeleteFrom:
        host.pool->DeleteVolume(v, done, &ended, true);
        break;
      case kSnapshot:
        host.pool->CreateSnapshots({&request, 1}, 7, done, &ended);
        break;
      case kDelete:
        host.pool->DeleteSnapshot(one, done, &ended);
        break;
      default:
        host.pool->PromoteVolume(c, done, &ended);
    }
    for (int i = 0; i < 100000 && ended.size() < 2; ++i) host.Step();
    host.Settle();
    ASSERT_EQ(ended.size(), 2u) << call;
    EXPECT_EQ(host.pool->Stats().fault, "") << call;
    // Two have clones by their old line: that is said first.
    const Status refused = ended[ended[0] == Status::kOk ? 1 : 0];
    EXPECT_TRUE(refused == Status::kBusy || refused == Status::kHasClones) << call;
    EXPECT_EQ(std::count(ended.begin(), ended.end(), Status::kOk), 1) << call;
    EXPECT_EQ(host.pool->Snapshots(c).size(), 1u) << call;
    EXPECT_EQ(host.Read(c, 10), 110u);
    EXPECT_EQ(host.Read(v, 10), 210u);
    // Afterwards all of it may be had.
    EXPECT_EQ(host.Promote(v), Status::kOk) << call;
    host.Settle();
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

// It would keep the volume that is deleted from ever being gone.
TEST_P(LineTest, NothingIsClonedFromASnapshotThatGoesWithItsVolume) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 100, 50), Status::kOk);
  const uint32_t one = host.Snapshot(v, "one");
  host.Settle();
  std::vector<Status> ended;
  const DoneFn done = [](void* all, Status status) {
    static_cast<std::vector<Status>*>(all)->push_back(status);
  };
  host.pool->DeleteVolume(v, done, &ended, true);
  host.pool->CloneSnapshot(one, Uuid{}, "clone", nullptr, done, &ended);
  for (int i = 0; i < 100000 && ended.size() < 2; ++i) host.Step();
  host.Settle();
  EXPECT_EQ(ended, (std::vector<Status>{Status::kNotFound, Status::kOk}));
  EXPECT_TRUE(host.pool->Volumes().empty());
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// A second rollback takes back all that is on the head's list: pages had left it at the first. The
// leaf that nothing is left in must not stay on the medium, where nobody looks for it.
TEST_P(LineTest, AListThatARollbackEmptiesIsGone) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 100, 300), Status::kOk);
  const uint32_t s = host.Snapshot(v, "one");
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (uint64_t round = 1; round < 4; ++round) {
    ASSERT_EQ(host.Write(v, 10, 5000 * round, 100), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Rollback(v, s), Status::kOk);
    host.Settle();
    EXPECT_EQ(host.Read(v, 20), 120u);
  }
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  ASSERT_EQ(host.Delete(v, true), Status::kOk);
  host.Settle();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.ExpectClean();
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

INSTANTIATE_TEST_SUITE_P(Media, LineTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Immediate" : "Queued"; });

}  // namespace
}  // namespace ashlar
