// T8: each I/O of a trace fails, once or from there on. Whatever fails, nothing that was
// acknowledged is lost, nothing reads wrong, and without the fault the pool opens again, whole.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>

#include "native/engine/pool.h"
#include "native/io/mem_file.h"

namespace ashlar {
namespace {

constexpr uint64_t kBlocks = 600;

struct FreeDeleter {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<uint8_t[], FreeDeleter>;
Bytes Blocks(uint64_t blocks) {
  return Bytes(static_cast<uint8_t*>(std::aligned_alloc(4096, blocks * 4096)));
}

void Stamp(uint64_t lba, uint64_t value, uint8_t* block) {
  auto* words = reinterpret_cast<uint64_t*>(block);
  for (uint64_t i = 0; i < 512; ++i) words[i] = value * 1000003 + lba * 7 + i;
}
// 0: zeros. ~0: neither.
uint64_t ValueOf(uint64_t lba, const uint8_t* block) {
  const auto* words = reinterpret_cast<const uint64_t*>(block);
  bool zero = true, stamped = true;
  for (uint64_t i = 0; i < 512; ++i) {
    zero &= words[i] == 0;
    stamped &= words[i] == words[0] + i;
  }
  if (zero) return 0;
  const uint64_t value = (words[0] - lba * 7) / 1000003;
  return stamped && value * 1000003 + lba * 7 == words[0] ? value : ~0ull;
}

struct Fault {
  uint64_t at = ~0ull;  // Which I/O, from 1.
  bool forever = false;
  int32_t error = -EIO;
};

class Trace {
 public:
  explicit Trace(const Fault& fault) : fault_(fault), file_(32 << 20), allowed_(kBlocks, {0}) {}

  // How many I/Os there were.
  uint64_t Run() {
    FormatOptions format;
    format.name = "fault";
    format.log_bytes = 256 << 10;
    format.store_id.bytes[0] = 1;
    EXPECT_EQ(Pool::Format(file_, format), Status::kOk);
    file_.fail = [this](const IoRequest&) -> int32_t {
      ++ios_;
      return ios_ == fault_.at || (fault_.forever && ios_ > fault_.at) ? fault_.error : 0;
    };
    if (Open() && Create()) Drive();
    const uint64_t ios = ios_;
    pool_.reset();
    file_.DropQueue();
    file_.fail = nullptr;
    Judge();
    return ios;
  }

 private:
  bool Open() {
    PoolOptions options;
    options.cache_bytes = 1 << 20;
    options.open_id.bytes[0] = ++opening_;
    std::string why;
    return Pool::Open(file_, options, &pool_, &why) == Status::kOk;
  }
  void Step() {
    pool_->Kick();
    if (pool_->Poll() == 0 && !pool_->WantsPoll()) file_.Wait();
  }
  template <typename F>
  Status Do(F start) {
    Status status = Status::kBusy;
    start([](void* c, Status s) { *static_cast<Status*>(c) = s; }, &status);
    for (int i = 0; status == Status::kBusy && i < 100000; ++i) Step();
    EXPECT_NE(status, Status::kBusy) << "a control call that never ends";
    return status;
  }
  Status Run(Op* op) {
    bool ended = false;
    op->volume = volume_;
    op->context = &ended;
    op->done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    pool_->Submit(op);
    for (int i = 0; !ended && i < 100000; ++i) Step();
    EXPECT_TRUE(ended) << "an operation that never ends";
    return op->status;
  }
  bool Create() {
    const Status status = Do([this](DoneFn done, void* c) {
      pool_->CreateVolume(Uuid{}, "v", kBlocks, &volume_, done, c);
    });
    created_ = status == Status::kOk;
    return created_;
  }

  void Drive() {
    std::mt19937_64 rng(7);
    for (uint64_t i = 1; i <= 120; ++i) {
      Op op;
      op.lba = rng() % kBlocks;
      op.blocks = 1 + rng() % std::min<uint64_t>(kBlocks - op.lba, i % 5 == 0 ? 200 : 6);
      op.version = i;
      op.flags = i % 4 == 0 ? kOpFua : 0;
      Bytes data = Blocks(op.blocks);
      if (i % 11 == 0) {
        op.kind = OpKind::kRead;
        op.data = data.get();
        if (Run(&op) != Status::kOk) continue;
        for (uint64_t k = 0; k < op.blocks; ++k) {
          const uint64_t value = ValueOf(op.lba + k, op.data + k * 4096);
          EXPECT_TRUE(allowed_[op.lba + k].count(value)) << "a read gave " << value;
        }
        continue;
      }
      if (i % 13 == 0) {
        Op flush;
        flush.kind = OpKind::kFlush;
        static_cast<void>(Run(&flush));
        continue;
      }
      if (i % 17 == 0) {
        static_cast<void>(Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }));
        continue;
      }
      if (i % 19 == 0) {
        std::vector<uint8_t> value(100 * i, static_cast<uint8_t>(i));
        const Status status =
            Do([&](DoneFn done, void* c) { pool_->PutBlob(volume_, "key", value, done, c); });
        if (status == Status::kOk) blobs_.clear();
        blobs_.insert(value);
        continue;
      }
      const bool unmap = i % 7 == 0;
      op.kind = unmap ? OpKind::kUnmap : OpKind::kWrite;
      if (!unmap) op.data = data.get();
      for (uint64_t k = 0; k < op.blocks && !unmap; ++k) {
        Stamp(op.lba + k, i, op.data + k * 4096);
      }
      const bool acked = Run(&op) == Status::kOk;
      for (uint64_t k = 0; k < op.blocks; ++k) {
        if (acked) allowed_[op.lba + k].clear();
        allowed_[op.lba + k].insert(unmap ? 0 : i);
      }
    }
    static_cast<void>(Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }));
  }

  void Judge() {
    ASSERT_TRUE(Open()) << "I/O " << fault_.at << ": the pool does not open again";
    EXPECT_FALSE(pool_->Stats().log_damaged) << "I/O " << fault_.at;
    VolumeInfo info;
    bool there = false;
    for (const VolumeInfo& each : pool_->Volumes()) {
      there = true;
      volume_ = each.handle;
    }
    EXPECT_TRUE(there || !created_) << "I/O " << fault_.at << ": the volume is gone";
    if (there) {
      Bytes data = Blocks(kBlocks);
      Op op;
      op.blocks = kBlocks;
      op.data = data.get();
      ASSERT_EQ(Run(&op), Status::kOk) << "I/O " << fault_.at;
      for (uint64_t lba = 0; lba < kBlocks; ++lba) {
        const uint64_t value = ValueOf(lba, data.get() + lba * 4096);
        ASSERT_TRUE(allowed_[lba].count(value))
            << "I/O " << fault_.at << ": block " << lba << " holds " << value;
      }
      std::vector<uint8_t> value;
      if (pool_->GetBlob(volume_, "key", &value)) {
        EXPECT_TRUE(blobs_.count(value));
      }
    }
    ASSERT_EQ(Do([this](DoneFn done, void* c) { pool_->Close(done, c); }), Status::kOk);
    pool_.reset();
    CheckReport report;
    ASSERT_EQ(Pool::Check(file_, true, &report), Status::kOk);
    EXPECT_TRUE(report.clean) << "I/O " << fault_.at << ": " << report.findings.at(0);
  }

  Fault fault_;
  MemFile file_;
  std::unique_ptr<Pool> pool_;
  uint32_t volume_ = 0;
  bool created_ = false;
  uint8_t opening_ = 0;
  uint64_t ios_ = 0;
  std::vector<std::set<uint64_t>> allowed_;  // By block: what may be there.
  std::set<std::vector<uint8_t>> blobs_;
};

uint64_t CountIos() {
  const uint64_t ios = Trace({}).Run();
  EXPECT_GT(ios, 400u) << "a trace too short to show anything";
  return ios;
}

TEST(FaultTest, EachIoOfATraceFailsOnce) {
  const uint64_t ios = CountIos();
  for (uint64_t at = 1; at <= ios && !testing::Test::HasFailure(); ++at)
    Trace({at, false, -EIO}).Run();
}

TEST(FaultTest, EachIoOfATraceFailsAndAllThatFollow) {
  const uint64_t ios = CountIos();
  for (uint64_t at = 1; at <= ios && !testing::Test::HasFailure(); ++at)
    Trace({at, true, -EIO}).Run();
}

// A sparse file on a full file system.
TEST(FaultTest, EachIoOfATraceFindsNoSpace) {
  const uint64_t ios = CountIos();
  for (uint64_t at = 1; at <= ios && !testing::Test::HasFailure(); ++at) {
    Trace({at, at % 2 == 0, -ENOSPC}).Run();
  }
}

}  // namespace
}  // namespace ashlar
