// Snapshots on a medium in memory: what they hold, what they cost, what comes back of them.
#include <algorithm>
#include <map>
#include <random>
#include <string_view>

#include "native/engine/format.h"
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

// A deletion has the snapshot before it counted anew: a walk over the lists, while what leaves is
// counted as it leaves. A snapshot taken meanwhile must not bring its own list into that walk:
// placing the pages that it shares with the head puts the old ones there, and counts them.
void RecountMeets(bool snapshot_first) {
  MemFile file(32 * kMiB);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("a", 1000);
  ASSERT_EQ(host.Write(v, 0, 1, 1000), Status::kOk);
  host.Snapshot(v, "one");
  const uint32_t two = host.Snapshot(v, "two");
  for (int i = 0; i < 2; ++i) ASSERT_EQ(host.Checkpoint(), Status::kOk);
  host.Settle();
  // On the list of the head, and not on its pages: the sweep of what is deleted has a checkpoint
  // put it there, and the count begins when that one has ended.
  ASSERT_EQ(host.Write(v, 10, 5000), Status::kOk);
  bool hold_super = true, hold_data = true, reached = false;
  file.hold = [&](const IoRequest& request) {
    if (request.kind != IoKind::kWrite) return false;
    const bool super = request.offset < 2 * kBlockBytes;
    reached |= super;
    // With `snapshot_first` it comes just after the sweep's end.
    const std::string_view bytes(reinterpret_cast<const char*>(request.data), request.bytes);
    const bool early = snapshot_first && host.pool->Snapshots(v).size() > 1;
    return (hold_super && super) || (hold_data && test::ValueOf(request.data) == 7000) ||
           (early && bytes.starts_with("ASHL") && bytes.find("three") != bytes.npos);
  };
  ASSERT_EQ(host.DeleteSnapshot(two), Status::kOk);
  for (int i = 0; i < 1000 && !reached; ++i) host.Step();
  ASSERT_TRUE(reached);
  // Two changes in one log block, the second of which is not there yet: no cut falls in between.
  int left = 3;
  test::Buffer data[2] = {test::Buffer(1), test::Buffer(1)};
  Op ops[2];
  const auto change = [&] {
    for (uint64_t i = 0; i < 2; ++i) {
      test::Stamp(data[i].data, 6000 + i * 1000);
      ops[i].kind = OpKind::kWrite;
      ops[i].volume = v;
      ops[i].lba = 500 + i * 200;
      ops[i].blocks = 1;
      ops[i].data = data[i].data;
      ops[i].version = ++host.version;
      ops[i].context = &left;
      ops[i].done = [](Op* o) { --*static_cast<int*>(o->context); };
      host.pool->Submit(&ops[i]);
    }
  };
  SnapshotRequest three;
  three.volume = v;
  three.name = "three";
  three.id.bytes[0] = 99;
  const auto done = [](void* c, Status) { --*static_cast<int*>(c); };
  if (snapshot_first) {
    ASSERT_EQ(host.Write(v, 300, 8000), Status::kOk);
  } else {
    change();
  }
  three.version = ++host.version;
  host.pool->CreateSnapshots({&three, 1}, 7, done, &left);
  for (int i = 0; i < 100; ++i) host.Step();
  if (snapshot_first) change();
  for (int i = 0; i < 100; ++i) host.Step();
  ASSERT_EQ(left, snapshot_first ? 3 : 2);
  hold_super = false;
  for (int i = 0; i < 100; ++i) host.Step();
  hold_data = false;
  for (int i = 0; i < 1000 && left > 0; ++i) host.Step();
  ASSERT_EQ(left, 0);
  for (int i = 0; i < 3; ++i) {
    host.Settle();
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
  }
  host.Settle();
  const std::vector<SnapshotInfo> snapshots = host.pool->Snapshots(v);
  ASSERT_EQ(snapshots.size(), 2u);
  EXPECT_TRUE(snapshots[0].settled);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean(false);
}

TEST(RecountTest, CountsOnceWhatASnapshotTakenBeforeItPutsOnItsList) { RecountMeets(true); }
TEST(RecountTest, CountsOnceWhatASnapshotTakenMeanwhilePutsOnItsList) { RecountMeets(false); }

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
