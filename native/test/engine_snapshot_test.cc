// Snapshots on a medium in memory: what they hold, what they cost, what comes back of them.
#include <algorithm>
#include <map>
#include <random>

#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Host;
using test::kMiB;

class SnapshotTest : public testing::TestWithParam<bool> {};

TEST_P(SnapshotTest, HoldsWhatWasThereAndTheHeadGoesOn) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4096);
  ASSERT_EQ(host.Write(v, 0, 100, 300), Status::kOk);
  const uint32_t s1 = host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 10, 5000, 10), Status::kOk);
  const uint32_t s2 = host.Snapshot(v, "two");
  ASSERT_EQ(host.Simple(OpKind::kUnmap, v, 0, 100), Status::kOk);
  ASSERT_EQ(host.Write(v, 2000, 9, 1), Status::kOk);
  EXPECT_EQ(host.Read(s1, 10), 110u);
  EXPECT_EQ(host.Read(s2, 10), 5000u);
  EXPECT_EQ(host.Read(v, 10), 0u);
  EXPECT_EQ(host.Read(s2, 2000), 0u);
  EXPECT_EQ(host.Write(s1, 0, 1), Status::kReadOnly);
  EXPECT_EQ(host.Simple(OpKind::kVerify, s1, 0, 4096), Status::kOk);
  const auto snapshots = host.pool->Snapshots(v);
  ASSERT_EQ(snapshots.size(), 2u);
  EXPECT_EQ(snapshots[0].name, "one");
  EXPECT_EQ(snapshots[0].mapped_blocks, 300u);
  EXPECT_EQ(snapshots[1].written_blocks, 10u);
  EXPECT_EQ(snapshots[1].created_ms, 7u);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.pool.reset();
  host.ExpectClean();
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t again = host.pool->Volumes().at(0).handle;
  const auto kept = host.pool->Snapshots(again);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(host.ReadAll(kept[0].handle, 8, 4), (std::vector<uint64_t>{108, 109, 110, 111}));
  EXPECT_EQ(host.ReadAll(kept[1].handle, 8, 4), (std::vector<uint64_t>{108, 109, 5000, 5001}));
  EXPECT_EQ(host.ReadAll(again, 99, 2), (std::vector<uint64_t>{0, 200}));
}

// Lists of more leaves than one step of the background looks at.
TEST(LongDeadlists, AreGoneThroughToTheirEnd) {
  MemFile file(256 * kMiB, true);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 20000);
  for (uint64_t lba = 0; lba < 20000; lba += 500) {
    ASSERT_EQ(host.Write(v, lba, 1 + lba, 500), Status::kOk);
  }
  uint32_t s = host.Snapshot(v, "one");
  // Every other block: runs of one, 200 a leaf.
  for (uint64_t lba = 0; lba < 20000; lba += 2) ASSERT_EQ(host.Write(v, lba, 7), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Rollback(v, s), Status::kOk);
  host.Settle();
  for (uint64_t lba = 0; lba < 20000; lba += 499) ASSERT_EQ(host.Read(v, lba), 1 + lba);
  for (uint64_t lba = 0; lba < 20000; lba += 2) ASSERT_EQ(host.Write(v, lba, 9), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  ASSERT_EQ(host.Delete(v, true), Status::kOk);
  host.Settle();
  EXPECT_TRUE(host.pool->Volumes().empty());
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

TEST_P(SnapshotTest, ASnapshotOutlivesAKillWithoutACheckpoint) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4096);
  const uint32_t w = host.Create("b", 4096);
  ASSERT_EQ(host.Write(v, 1, 10), Status::kOk);
  ASSERT_EQ(host.Write(w, 1, 20), Status::kOk);
  std::vector<uint32_t> handles;
  ASSERT_EQ(host.Snapshot({v, w}, "both", &handles), Status::kOk);
  ASSERT_EQ(host.Write(v, 1, 11), Status::kOk);
  ASSERT_EQ(host.Write(w, 1, 21), Status::kOk);
  EXPECT_EQ(host.Snapshot({v, w}, "both", &handles), Status::kExists);
  for (bool older : {false, true}) {
    host.pool.reset();
    ASSERT_EQ(host.Open(older), Status::kOk);
    for (const VolumeInfo& info : host.pool->Volumes()) {
      const auto snapshots = host.pool->Snapshots(info.handle);
      ASSERT_EQ(snapshots.size(), 1u);
      const uint64_t base = info.name == "a" ? 10 : 20;
      EXPECT_EQ(host.Read(snapshots[0].handle, 1), base);
      EXPECT_EQ(host.Read(info.handle, 1), base + 1);
    }
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
    ASSERT_EQ(host.Open(older), Status::kOk);
  }
}

// Nor that it is empty: a read that cannot be right ends with an error.
TEST_P(SnapshotTest, AReadOnlyOpeningSaysThatItCannotReadASnapshotOfTheLogAlone) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4096);
  ASSERT_EQ(host.Write(v, 1, 10), Status::kOk);
  host.Snapshot(v, "one");
  ASSERT_EQ(host.Write(v, 1, 11), Status::kOk);
  host.pool.reset();  // As a kill. The older superblock is one that does not reach the snapshot.
  host.options.read_only = true;
  ASSERT_EQ(host.Open(true), Status::kOk);
  const uint32_t again = host.pool->Volumes().at(0).handle;
  const uint32_t one = host.pool->Snapshots(again).at(0).handle;
  EXPECT_EQ(host.Read(again, 1), 11u);
  EXPECT_EQ(host.Simple(OpKind::kVerify, one, 0, 4096), Status::kBusy);
  host.pool.reset();
  host.options.read_only = false;
  ASSERT_EQ(host.Open(true), Status::kOk);
  const uint32_t writable = host.pool->Volumes().at(0).handle;
  EXPECT_EQ(host.Read(host.pool->Snapshots(writable).at(0).handle, 1), 10u);
}

// An operation that was submitted before is in it, one submitted after it is not (P1), though none
// has ended yet.
TEST_P(SnapshotTest, CutsTheStreamWhereItWasSubmitted) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  host.options.cache_bytes = 1 << 20;
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1 << 20);
  for (uint64_t i = 0; i < 64; ++i) ASSERT_EQ(host.Write(v, i * 4096, 1), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.pool.reset();
  ASSERT_EQ(host.Open(), Status::kOk);  // Nothing of the map is in memory: writes wait for pages.
  const uint32_t again = host.pool->Volumes()[0].handle;
  test::Buffer before(1), after(2);
  test::Stamp(before.data, 2);
  test::Stamp(after.data, 3);
  std::vector<Op> ops(129);
  size_t ended = 0;
  auto submit = [&](size_t i, OpKind kind, uint64_t lba, uint64_t blocks, uint8_t* data) {
    Op& op = ops[i];
    op.kind = kind;
    op.volume = again;
    op.lba = lba;
    op.blocks = blocks;
    op.data = data;
    op.version = ++host.version;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
    host.pool->Submit(&op);
  };
  submit(128, OpKind::kUnmap, 8 * 4096, 40 * 4096, nullptr);
  for (uint64_t i = 0; i < 64; ++i) submit(i, OpKind::kWrite, i * 4096 + 1, 1, before.data);
  SnapshotRequest request;
  request.volume = again;
  request.name = "cut";
  request.version = ++host.version;
  Status taken = Status::kBusy;
  host.pool->CreateSnapshots(
      {&request, 1}, 0, [](void* c, Status s) { *static_cast<Status*>(c) = s; }, &taken);
  for (uint64_t i = 0; i < 64; ++i) submit(64 + i, OpKind::kWrite, i * 4096, 2, after.data);
  for (int i = 0; i < 200000 && (ended < ops.size() || taken == Status::kBusy); ++i) host.Step();
  ASSERT_EQ(taken, Status::kOk);
  const uint32_t s = host.pool->Snapshots(again).at(0).handle;
  for (uint64_t i = 0; i < 64; ++i) {
    const bool unmapped = i >= 8 && i < 48;
    EXPECT_EQ(host.Read(s, i * 4096), unmapped ? 0u : 1u) << i;
    EXPECT_EQ(host.Read(s, i * 4096 + 1), 2u) << i;
    EXPECT_EQ(host.Read(again, i * 4096), 3u) << i;
  }
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// Installs wait for the unmaps before them, a snapshot for the installs before it, and what comes
// after it waits behind it: an unmap that does must hold no install up.
TEST_P(SnapshotTest, AnInstallDoesNotWaitForAnUnmapBehindTheSnapshotThatWaitsForIt) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4096);
  for (uint64_t lba = 0; lba < 4; ++lba) ASSERT_EQ(host.Write(v, lba, 7), Status::kOk);
  BlockTag hole;
  hole.kind = BlockKind::kHole;
  hole.version = host.version + 100;
  BlockTag tags[2] = {hole, hole};
  test::Buffer unused(1);
  std::vector<Op> ops(4);
  size_t ended = 0;
  auto submit = [&](size_t i, OpKind kind, uint64_t lba) {
    Op& op = ops[i];
    op.kind = kind;
    op.volume = v;
    op.lba = lba;
    op.blocks = 1;
    op.version = ++host.version;
    if (kind == OpKind::kWrite) {
      op.guard = Guard::kJoin;
      op.tags = &tags[lba - 1];
      op.data = unused.data;
    }
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
    host.pool->Submit(&op);
  };
  submit(0, OpKind::kUnmap, 0);
  submit(1, OpKind::kWrite, 1);
  submit(2, OpKind::kWrite, 2);
  SnapshotRequest request;
  request.volume = v;
  request.name = "cut";
  request.version = ++host.version;
  Status taken = Status::kBusy;
  host.pool->CreateSnapshots(
      {&request, 1}, 0, [](void* c, Status s) { *static_cast<Status*>(c) = s; }, &taken);
  submit(3, OpKind::kUnmap, 3);
  for (int i = 0; i < 20000 && (ended < ops.size() || taken == Status::kBusy); ++i) host.Step();
  ASSERT_EQ(ended, ops.size());
  ASSERT_EQ(taken, Status::kOk);
  for (const Op& op : ops) EXPECT_EQ(op.status, Status::kOk);
  const uint32_t s = host.pool->Snapshots(v).at(0).handle;
  for (uint64_t lba = 0; lba < 4; ++lba) {
    EXPECT_EQ(host.Read(s, lba), lba < 3 ? 0u : 7u) << lba;
    EXPECT_EQ(host.Read(v, lba), 0u) << lba;
  }
}

TEST_P(SnapshotTest, DeletingInAnyOrderGivesEverythingBack) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    MemFile file(64 * kMiB, GetParam());
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("a", 4096);
    std::mt19937_64 rng(seed);
    ASSERT_EQ(host.Write(v, 0, 1, 1000), Status::kOk);
    for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    std::vector<uint32_t> snapshots;
    for (int i = 0; i < 12; ++i) {
      snapshots.push_back(host.Snapshot(v, "s" + std::to_string(i)));
      for (int k = 0; k < 20; ++k) {
        ASSERT_EQ(host.Write(v, rng() % 1000, 77), Status::kOk);
      }
      if (rng() % 3 == 0) {
        ASSERT_EQ(host.Checkpoint(), Status::kOk);
      }
    }
    std::shuffle(snapshots.begin(), snapshots.end(), rng);
    while (!snapshots.empty()) {
      ASSERT_EQ(host.DeleteSnapshot(snapshots.back()), Status::kOk);
      snapshots.pop_back();
      if (rng() % 2 == 0) {
        host.Settle();
        ASSERT_EQ(host.Checkpoint(), Status::kOk);
        host.ExpectClean();
      }
    }
    host.Settle();
    for (int i = 0; i < 3; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
    host.ExpectClean();
    const VolumeInfo info = host.pool->Volumes()[0];
    EXPECT_EQ(info.snapshot_blocks, 0u);
    EXPECT_EQ(info.written_blocks, info.mapped_blocks);
    const PoolStats stats = host.pool->Stats();
    EXPECT_EQ(stats.allocated_blocks,
              stats.data_blocks + stats.metadata_blocks + stats.pending_free_blocks);
    EXPECT_TRUE(host.pool->Snapshots(v).empty());
  }
}

TEST_P(SnapshotTest, AClonesBlocksAreItsOriginsUntilItChangesThem) {
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

TEST_P(SnapshotTest, ARollbackBringsBackWhatWasAndTheSize) {
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

// A map that grew by levels since its snapshot and was then emptied: its root is null, and what the
// snapshot holds lies below a place where neither has a page.
TEST_P(SnapshotTest, AHeadThatGrewAndWasEmptiedLacksAllOfItsSnapshot) {
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
TEST_P(SnapshotTest, APageMadeInVainHidesNothingOfTheSnapshot) {
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

TEST_P(SnapshotTest, ACloneIsPromotedThoughASnapshotBesideItsOriginIsGone) {
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

// A second rollback takes back all that is on the head's list: pages had left it at the first. The
// leaf that nothing is left in must not stay on the medium, where nobody looks for it.
TEST_P(SnapshotTest, AListThatARollbackEmptiesIsGone) {
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

// The replay hands the head's list, of which nothing is in memory yet, to a snapshot. What the
// first checkpoint retires goes to its end.
TEST_P(SnapshotTest, APoolOpensWhoseLogHasASnapshotBehindALongDeadlist) {
  MemFile file(64 * kMiB, GetParam());
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 4000);
  for (uint64_t lba = 0; lba < 3000; lba += 1000) {
    ASSERT_EQ(host.Write(v, lba, 1 + lba, 1000), Status::kOk);
  }
  host.Snapshot(v, "one");
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  for (uint64_t lba = 0; lba < 2000; lba += 2) {
    ASSERT_EQ(host.Write(v, lba, 50000 + lba), Status::kOk);
  }
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  // A leaf that no one has touched since the first snapshot: its page is retired, and no data.
  ASSERT_EQ(host.Write(v, 3000, 70000), Status::kOk);
  host.Snapshot(v, "two");
  host.pool.reset();
  ASSERT_EQ(host.Open(true), Status::kOk);  // The one before it leads here, whatever was written.
  const uint32_t again = host.pool->Volumes().at(0).handle;
  const auto snapshots = host.pool->Snapshots(again);
  ASSERT_EQ(snapshots.size(), 2u);
  EXPECT_EQ(host.ReadAll(snapshots[1].handle, 3000, 2), (std::vector<uint64_t>{70000, 0}));
  EXPECT_EQ(host.ReadAll(again, 3000, 2), (std::vector<uint64_t>{70000, 0}));
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

// A random history against copies kept by hand, with kills in between.
TEST_P(SnapshotTest, BehavesLikeItsModel) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    MemFile file(96 * kMiB, GetParam());
    Host host(file);
    host.options.cache_bytes = 1 << 20;
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    std::mt19937_64 rng(seed);
    using Content = std::map<uint64_t, uint64_t>;
    struct Model {
      uint64_t size;
      Content content;
      std::map<std::string, std::pair<uint64_t, Content>> snapshots;
    };
    std::map<std::string, Model> models;
    uint64_t value = 1;
    auto handle_of = [&](const std::string& name) {
      for (const VolumeInfo& info : host.pool->Volumes()) {
        if (info.name == name && !info.deleting) return info.handle;
      }
      return 0u;
    };
    auto snapshot_of = [&](const std::string& volume, const std::string& name) {
      for (const SnapshotInfo& s : host.pool->Snapshots(handle_of(volume))) {
        if (s.name == name && !s.deleting) return s.handle;
      }
      return 0u;
    };
    auto compare = [&](uint32_t handle, uint64_t size, const Content& content) {
      for (uint64_t lba = 0; lba < size; lba += 128) {
        const uint64_t count = std::min<uint64_t>(128, size - lba);
        const auto values = host.ReadAll(handle, lba, count);
        for (uint64_t i = 0; i < count; ++i) {
          auto it = content.find(lba + i);
          ASSERT_EQ(values[i], it == content.end() ? 0 : it->second) << "block " << lba + i;
        }
      }
    };
    for (int step = 0; step < 1200; ++step) {
      const uint64_t dice = rng() % 100;
      if (models.empty() || (dice < 2 && models.size() < 3)) {
        const std::string name = "v" + std::to_string(step);
        const uint64_t size = 200 + rng() % 3000;
        host.Create(name, size);
        models[name].size = size;
        continue;
      }
      auto it = models.begin();
      std::advance(it, static_cast<long>(rng() % models.size()));
      auto& [name, model] = *it;
      const uint32_t v = handle_of(name);
      ASSERT_NE(v, 0u);
      if (dice < 60) {
        const uint64_t lba = rng() % model.size;
        const uint64_t blocks = std::min<uint64_t>(1 + rng() % 40, model.size - lba);
        ASSERT_EQ(host.Write(v, lba, value, blocks), Status::kOk);
        for (uint64_t i = 0; i < blocks; ++i) model.content[lba + i] = value++;
      } else if (dice < 68) {
        const uint64_t lba = rng() % model.size;
        const uint64_t blocks = std::min<uint64_t>(1 + rng() % 800, model.size - lba);
        ASSERT_EQ(host.Simple(OpKind::kUnmap, v, lba, blocks), Status::kOk);
        model.content.erase(model.content.lower_bound(lba),
                            model.content.lower_bound(lba + blocks));
      } else if (dice < 78) {
        const std::string snapshot = "s" + std::to_string(step);
        if (rng() % 4 == 0) {
          std::vector<uint32_t> all, handles;
          for (auto& [other, m] : models) {
            all.push_back(handle_of(other));
            m.snapshots[snapshot] = {m.size, m.content};
          }
          ASSERT_EQ(host.Snapshot(all, snapshot, &handles), Status::kOk);
        } else {
          host.Snapshot(v, snapshot);
          model.snapshots[snapshot] = {model.size, model.content};
        }
      } else if (dice < 86) {
        if (model.snapshots.empty()) continue;
        auto s = model.snapshots.begin();
        std::advance(s, static_cast<long>(rng() % model.snapshots.size()));
        ASSERT_EQ(host.DeleteSnapshot(snapshot_of(name, s->first)), Status::kOk);
        model.snapshots.erase(s);
      } else if (dice < 90) {
        const uint64_t size = model.size + rng() % 400;
        ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->ResizeVolume(v, size, d, c); }),
                  Status::kOk);
        model.size = size;
      } else if (dice < 92) {
        ASSERT_EQ(host.Checkpoint(), Status::kOk);
      } else if (dice < 93) {
        if (!model.snapshots.empty()) {
          ASSERT_EQ(host.Delete(v), Status::kHasSnapshots);
        }
        ASSERT_EQ(host.Delete(v, true), Status::kOk);
        models.erase(it);
      } else if (dice < 96) {
        if (rng() % 2 == 0) {
          host.pool.reset();
        } else {
          ASSERT_EQ(host.Close(), Status::kOk);
        }
        host.ExpectClean();
        ASSERT_EQ(host.Open(rng() % 2 == 0), Status::kOk);
        ASSERT_FALSE(host.pool->Stats().log_damaged);
      } else if (!model.snapshots.empty()) {
        auto s = model.snapshots.begin();
        std::advance(s, static_cast<long>(rng() % model.snapshots.size()));
        compare(snapshot_of(name, s->first), s->second.first, s->second.second);
      }
      if (HasFatalFailure()) return;
    }
    for (auto& [name, model] : models) {
      compare(handle_of(name), model.size, model.content);
      const auto found = host.pool->Snapshots(handle_of(name));
      for (auto& [snapshot, copy] : model.snapshots) {
        compare(snapshot_of(name, snapshot), copy.first, copy.second);
      }
      if (HasFatalFailure()) return;
    }
    host.Settle();
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

INSTANTIATE_TEST_SUITE_P(Media, SnapshotTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Immediate" : "Queued"; });

}  // namespace
}  // namespace ashlar
