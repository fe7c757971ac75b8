// A pool that is almost full: whatever is asked of it, a checkpoint always has room, and so has an
// opening, at any time and from either superblock.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "native/engine/format.h"
#include "native/test/single_disk_host.h"

namespace ashlar {
namespace {

using test::Buffer;
using test::Host;
using test::kMiB;

void Copy(const MemFile& from, MemFile* to) {
  from.EachBlock(
      [to](uint64_t block, const uint8_t* data) { std::memcpy(to->Block(block), data, 4096); });
}

// What becomes of the newer superblock. Left: it is there, and the older one is opened.
enum class Newest { kWhole, kLeft, kErased, kTorn, kRotten };

// Both of its copies.
void Harm(Newest how, MemFile* file) {
  uint64_t generation[2];
  for (int slot : {0, 1}) {
    std::memcpy(&generation[slot], file->Block(slot) + offsetof(Superblock, generation), 8);
  }
  const uint64_t slot = generation[1] > generation[0] ? 1 : 0;
  for (const uint64_t place : {slot, file->size_bytes() / 4096 - 2 + slot}) {
    uint8_t* block = file->Block(place);
    if (how == Newest::kErased) std::memset(block, 0, 4096);
    if (how == Newest::kTorn) std::memset(block + 512, 0, 4096 - 512);
    if (how == Newest::kRotten) block[600] ^= 1;
  }
}

// What a checkpoint gave back may not have been taken again when the pool goes down, and other
// places have: whoever opens the superblock before it has those, and needs room for a checkpoint as
// well.
TEST(FullPool, IsOpenedFromEitherSuperblock) {
  constexpr uint64_t kBytes = 16 * kMiB;
  constexpr uint64_t kPages = 70, kPage = 128, kDense = 40 * kPage, kRun = 16, kLow = 100;
  MemFile file(kBytes, false);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("v", 1 << 20);
  std::map<uint64_t, uint64_t> want;
  // Blocks that lie alone, each on a page of its own; the rest of the pool lies close together.
  for (uint64_t i = 0; i < kPages; ++i) {
    ASSERT_EQ(host.Write(v, kDense + i * kPage, want[kDense + i * kPage] = i + 1), Status::kOk);
  }
  uint64_t filled = 0;
  for (; filled < kDense && host.Write(v, filled, filled + 1) == Status::kOk; ++filled) {
    want[filled] = filled + 1;
  }
  uint64_t next = 5000;
  const auto rewrite = [&](uint64_t lba, uint64_t blocks) {
    const Status status = host.Write(v, lba, next, blocks);
    for (uint64_t i = 0; i < blocks; ++i) want[lba + i] = next++;
    return status;
  };
  for (int round = 0; round < 4; ++round) {
    // Until hardly more is free than a checkpoint of few pages needs; two of them give back what
    // was freed meanwhile.
    for (uint64_t i = 0; host.pool->Stats().free_blocks > kLow; ++i) {
      ASSERT_LT(i, 10000u);
      ASSERT_EQ(rewrite(i * kRun % (filled - kRun), kRun), Status::kOk);
    }
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    // The next does not end, while pages change that are not in it either.
    file.hold = [](const IoRequest& r) { return r.kind == IoKind::kFlush; };
    for (uint64_t i = 0; i < kPages; ++i) {
      ASSERT_EQ(rewrite(kDense + i * kPage, 1), Status::kOk);
    }
    for (const Newest newest :
         {Newest::kWhole, Newest::kLeft, Newest::kErased, Newest::kTorn, Newest::kRotten}) {
      MemFile copy(kBytes, true);
      Copy(file, &copy);
      Harm(newest, &copy);
      Host then(copy);
      ASSERT_EQ(then.Open(newest == Newest::kLeft), Status::kOk)
          << "round " << round << ", " << static_cast<int>(newest);
      const uint32_t handle = then.pool->Volumes().at(0).handle;
      for (const auto& [lba, value] : want) ASSERT_EQ(then.Read(handle, lba), value) << lba;
      ASSERT_EQ(then.Close(), Status::kOk);
      then.ExpectClean();
    }
    file.hold = nullptr;
  }
}

// Until it refuses: how many blocks it took.
uint64_t Fill(Host& host, uint32_t v, uint64_t step) {
  uint64_t at = 0;
  while (host.Write(v, at, at + 1, step) == Status::kOk) at += step;
  return at;
}

// Writes over what is there, `count` of them at once; how many were refused.
size_t Overwrite(Host& host, uint32_t v, uint64_t filled, uint64_t blocks, size_t count) {
  Buffer data(blocks);
  std::vector<Op> ops(count);
  size_t ended = 0;
  for (size_t i = 0; i < count; ++i) {
    ops[i] = Op{};
    ops[i].kind = OpKind::kWrite;
    ops[i].volume = v;
    ops[i].lba = i * blocks % (filled / blocks * blocks);
    ops[i].blocks = blocks;
    ops[i].data = data.data;
    ops[i].version = ++host.version;
    ops[i].context = &ended;
    ops[i].done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
    host.pool->Submit(&ops[i]);
  }
  for (int i = 0; i < 1000000 && ended < count; ++i) host.Step();
  EXPECT_EQ(ended, count);
  return static_cast<size_t>(
      std::count_if(ops.begin(), ops.end(), [](const Op& op) { return op.status != Status::kOk; }));
}

TEST(FullPool, TakesAnyNumberOfOverwritesAtOnce) {
  MemFile file(64 * kMiB, false);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("v", 1 << 16);
  const uint64_t filled = Fill(host, v, 64);
  for (uint64_t more = 1; more < 8; ++more) {
    ASSERT_EQ(host.Simple(OpKind::kUnmap, v, filled - more * 64, 64), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    ASSERT_EQ(host.Checkpoint(), Status::kOk);
    EXPECT_EQ(Overwrite(host, v, filled - 1024, 256, 128), 0u) << more;
  }
}

// What was submitted before a snapshot is not kept by it.
TEST(FullPool, TakesOverwritesThatASnapshotWaitsFor) {
  MemFile file(64 * kMiB, false);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("v", 1 << 16);
  const uint64_t filled = Fill(host, v, 32);
  Buffer data(4);
  std::vector<Op> ops(4000);
  size_t ended = 0, sent = 0;
  // Until something waits for a checkpoint, whose flush takes long.
  file.hold = [](const IoRequest& r) { return r.kind == IoKind::kFlush; };
  for (; sent < ops.size() && sent - ended < 40; ++sent) {
    Op& op = ops[sent];
    op.kind = OpKind::kWrite;
    op.volume = v;
    op.lba = sent * 7919 * 4 % (filled - 4);
    op.blocks = 4;
    op.data = data.data;
    op.version = ++host.version;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
    host.pool->Submit(&op);
    for (int i = 0; i < 3; ++i) host.Step();
  }
  ASSERT_LT(sent, ops.size());
  SnapshotRequest request{v, {}, "s", ++host.version, nullptr};
  Status taken = Status::kBusy;
  host.pool->CreateSnapshots(
      {&request, 1}, 7, [](void* c, Status s) { *static_cast<Status*>(c) = s; }, &taken);
  file.hold = nullptr;
  for (int i = 0; i < 200000 && (ended < sent || taken == Status::kBusy); ++i) host.Step();
  ASSERT_EQ(ended, sent);
  EXPECT_EQ(taken, Status::kNoSpace);  // It would stay.
  for (size_t i = 0; i < sent; ++i) ASSERT_EQ(ops[i].status, Status::kOk) << i;
}

TEST(FullPool, SettingsLeaveWhatDeletingNeeds) {
  for (const size_t count :
       {size_t{33}, size_t{500}}) {  // More than a step's worth; until refused.
    MemFile file(16 * kMiB, false);
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t v = host.Create("v", 1 << 16);
    const uint32_t w = host.Create("w", 1 << 16);
    if (count > 100) {
      ASSERT_GT(Fill(host, v, 32), 0u);
    }
    const std::vector<uint8_t> value(count > 100 ? 65536 : 10, 1);
    const auto put = [&](size_t i) {
      return host.Control(
          [&](DoneFn d, void* c) { host.pool->PutBlob(w, "k" + std::to_string(i), value, d, c); });
    };
    size_t n = 0;
    while (n < count && put(n) == Status::kOk) ++n;
    EXPECT_EQ(n == count, count < 100);
    ASSERT_EQ(host.Delete(v), Status::kOk);
    ASSERT_EQ(host.Delete(w), Status::kOk);
    host.Settle();
    EXPECT_TRUE(host.pool->Volumes().empty());
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

enum class Asked { kDeletions, kRollbacks, kMarks };

// Each is small, and all of them together want more than is free.
TEST(FullPool, TakesManyControlsAtOnce) {
  constexpr size_t kCount = 30;
  for (const Asked asked : {Asked::kDeletions, Asked::kRollbacks, Asked::kMarks}) {
    for (const uint64_t low : {40, 100, 200, 400}) {
      MemFile file(16 * kMiB, false);
      Host host(file);
      ASSERT_EQ(host.Format(), Status::kOk);
      ASSERT_EQ(host.Open(), Status::kOk);
      const uint32_t big = host.Create("big", 1 << 20);
      std::vector<uint32_t> volumes, snapshots;
      const auto write_all = [&](uint64_t value) {
        for (const uint32_t v : volumes) {
          for (uint64_t l = 0; l < 8; ++l) ASSERT_EQ(host.Write(v, l * 128, value), Status::kOk);
        }
      };
      for (size_t i = 0; i < kCount; ++i) {
        volumes.push_back(host.Create("v" + std::to_string(i), 1 << 14));
      }
      write_all(1);
      for (const uint32_t v : volumes) snapshots.push_back(host.Snapshot(v, "s"));
      write_all(2);
      const uint64_t filled = Fill(host, big, 16);
      for (uint64_t i = 0; i < 10000 && host.pool->Stats().free_blocks > low + 16; ++i) {
        ASSERT_EQ(host.Write(big, i * 16 % (filled - 16), 3, 16), Status::kOk);
      }
      size_t ended = 0;
      const DoneFn done = [](void* c, Status) { *static_cast<size_t*>(c) += 1; };
      for (size_t i = 0; i < kCount; ++i) {
        VolumeMarks marks;
        marks.set_contig = true;
        marks.contig = ++host.version;
        if (asked == Asked::kDeletions) host.pool->DeleteSnapshot(snapshots[i], done, &ended);
        if (asked == Asked::kMarks) host.pool->SetMarks(volumes[i], marks, done, &ended);
        if (asked != Asked::kRollbacks) continue;
        host.pool->RollbackVolume(volumes[i], snapshots[i], ++host.version, false, done, &ended);
      }
      for (int i = 0; i < 100000 && (host.pool->WantsPoll() || ended < kCount); ++i) host.Step();
      EXPECT_EQ(ended, kCount) << static_cast<int>(asked) << " " << low;
      EXPECT_FALSE(host.pool->WantsPoll()) << static_cast<int>(asked) << " " << low;
      EXPECT_EQ(host.pool->Stats().fault, "") << static_cast<int>(asked) << " " << low;
    }
  }
}

// What is free soon is not free yet: the checkpoint that gives it back needs places for the records
// of all of them.
TEST(FullPool, TakesAGroupOfSnapshotsWhenRoomIsYetToComeBack) {
  constexpr size_t kCount = 60;
  for (const uint64_t low : {60, 100, 150, 250}) {
    MemFile file(16 * kMiB, false);
    Host host(file);
    ASSERT_EQ(host.Format(), Status::kOk);
    ASSERT_EQ(host.Open(), Status::kOk);
    const uint32_t big = host.Create("big", 1 << 20);
    std::vector<uint32_t> volumes, made;
    for (size_t i = 0; i < kCount; ++i) {
      volumes.push_back(host.Create("v" + std::to_string(i), 1 << 14));
      ASSERT_EQ(host.Write(volumes[i], 0, 1), Status::kOk);
    }
    const uint64_t filled = Fill(host, big, 16);
    for (uint64_t i = 0; i < 10000 && host.pool->Stats().free_blocks > low + 16; ++i) {
      ASSERT_EQ(host.Write(big, i * 16 % (filled - 16), 3, 16), Status::kOk);
    }
    ASSERT_EQ(host.Simple(OpKind::kUnmap, big, 0, filled / 4 * 3), Status::kOk);
    EXPECT_EQ(host.Snapshot(volumes, "s", &made), Status::kOk) << low;
    ASSERT_EQ(host.Checkpoint(), Status::kOk) << low << ": " << host.pool->Stats().fault;
    ASSERT_EQ(host.Close(), Status::kOk);
    host.ExpectClean();
  }
}

// Many changes at once, snapshots and rollbacks between them, and checkpoints that take long. What
// there is no space for is refused; nothing else goes wrong.
class FullPoolSeed : public testing::TestWithParam<uint64_t> {
 protected:
  static constexpr uint64_t kBytes = 16 * kMiB, kPage = 128;

  // So many changes of any kind, and how they ended.
  void Changes(Host& host, uint32_t v, uint64_t blocks, size_t count) {
    std::vector<Op> ops(count);
    size_t ended = 0;
    for (Op& op : ops) {
      op = Op{};
      op.kind = rng_() % 12 == 0 ? OpKind::kUnmap : OpKind::kWrite;
      op.flags = op.kind == OpKind::kWrite && rng_() % 8 == 0 ? kOpAtomic : 0;
      op.volume = v;
      // One on each page, in turns, or close together.
      op.lba = rng_() % 2 == 0 ? rng_() % (blocks / kPage) * kPage : rng_() % blocks;
      op.blocks =
          op.kind == OpKind::kUnmap ? 1 + rng_() % 600 : 1 + rng_() % (rng_() % 4 == 0 ? 128 : 4);
      op.blocks = std::min(op.blocks, blocks - op.lba);
      op.data = data_.data;
      op.version = ++host.version;
      op.context = &ended;
      op.done = [](Op* o) { *static_cast<size_t*>(o->context) += 1; };
      host.pool->Submit(&op);
    }
    for (int i = 0; i < 200000 && ended < ops.size(); ++i) {
      if (i == 300) host.file.hold = nullptr;
      host.Step();
    }
    host.file.hold = nullptr;
    ASSERT_EQ(ended, ops.size());
    for (const Op& op : ops) {
      ASSERT_TRUE(op.status == Status::kOk || op.status == Status::kNoSpace)
          << static_cast<int>(op.status) << " " << host.pool->Stats().fault;
    }
  }

  std::mt19937_64 rng_{GetParam()};
  Buffer data_{128};
};

TEST_P(FullPoolSeed, NeverLacksRoomForACheckpoint) {
  MemFile file(kBytes, false);
  Host host(file);
  ASSERT_EQ(host.Format(), Status::kOk);
  ASSERT_EQ(host.Open(), Status::kOk);
  const uint64_t blocks = kPage * (24 + rng_() % 300);
  const uint32_t v = host.Create("v", blocks);
  for (uint64_t lba = 0; lba + 16 <= blocks && host.Write(v, lba, 1, 16) == Status::kOk;) lba += 16;
  std::vector<uint32_t> snapshots;
  for (int round = 0; round < 30; ++round) {
    const uint64_t dice = rng_() % 10;
    if (dice < 3) {
      std::vector<uint32_t> made;
      const Status s = host.Snapshot(std::vector<uint32_t>{v}, "s" + std::to_string(round), &made);
      ASSERT_TRUE(s == Status::kOk || s == Status::kNoSpace) << host.pool->Stats().fault;
      if (s == Status::kOk) snapshots.push_back(made[0]);
    } else if (dice < 5 && !snapshots.empty()) {
      const size_t at = rng_() % snapshots.size();
      ASSERT_EQ(host.DeleteSnapshot(snapshots[at]), Status::kOk) << host.pool->Stats().fault;
      snapshots.erase(snapshots.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (dice == 5 && !snapshots.empty()) {
      ASSERT_EQ(host.Rollback(v, snapshots.back()), Status::kOk) << host.pool->Stats().fault;
    }
    if (rng_() % 3 == 0) file.hold = [](const IoRequest& r) { return r.kind == IoKind::kFlush; };
    Changes(host, v, blocks, 1 + rng_() % 100);
    if (HasFatalFailure()) return;
    for (const bool older : {false, true}) {
      MemFile copy(kBytes, true);
      Copy(file, &copy);
      Host then(copy);
      then.next_open = static_cast<uint8_t>(100 + round);
      ASSERT_EQ(then.Open(older), Status::kOk) << "round " << round << ", older " << older;
      if (round % 10 != 9) continue;
      ASSERT_EQ(then.Close(), Status::kOk);
      then.ExpectClean();
    }
  }
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean();
}

INSTANTIATE_TEST_SUITE_P(Seeds, FullPoolSeed, testing::Range<uint64_t>(1, 13));

}  // namespace
}  // namespace ashlar
