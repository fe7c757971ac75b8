// S6, S7 at the very end of the log: a block of it is applied, and flushed, up to a change whose
// data is still on its way.
#include <gtest/gtest.h>

#include <cstring>

#include "native/engine/log_format.h"
#include "native/test/pool_host.h"

namespace ashlar {
namespace {

// One write is held on its way to the medium.
class HoldingFile : public MemFile {
 public:
  using MemFile::MemFile;
  void Submit(IoRequest* request) override {
    if (request->kind == IoKind::kWrite && request->data == held_data) return;
    MemFile::Submit(request);
  }
  const uint8_t* held_data = nullptr;
};

class HalfAppliedLog : public ::testing::Test {
 protected:
  // A durable write and one that is not there yet share a log block; another comes behind them.
  // Then the process dies.
  void SetUp() override {
    host_.media.push_back(std::make_unique<HoldingFile>(64 * kMiB));
    file_ = static_cast<HoldingFile*>(host_.media[0].get());
    ASSERT_EQ(host_.Format({{0}}), Status::kOk);
    ASSERT_EQ(host_.OpenWith({0}), Status::kOk);
    volume_ = host_.Create("v", 64);
    ASSERT_EQ(host_.Checkpoint(), Status::kOk);
    ASSERT_EQ(host_.Write(volume_, 0, 1, 1, kOpFua), Status::kOk);
    Prepare(0, 7, kOpFua);
    Prepare(1, 8, 0);
    file_->held_data = buffers_[1].data;
    host_.pool->Submit(&ops_[0]);
    host_.pool->Submit(&ops_[1]);
    for (int i = 0; i < 1000 && !ended_[0]; ++i) host_.Step();
    ASSERT_TRUE(ended_[0]) << "it waits for the data of the one behind it";
    Prepare(2, 9, 0);
    host_.pool->Submit(&ops_[2]);
    for (int i = 0; i < 100; ++i) host_.Step();
    ASSERT_FALSE(ended_[1] || ended_[2]);
    FindLog();
    host_.pool.reset();
    file_->DropQueue();
    file_->held_data = nullptr;
  }

  void Prepare(int at, uint64_t value, uint8_t flags) {
    StampBlock(buffers_[at].data, value);
    Op* op = &ops_[at];
    op->kind = OpKind::kWrite;
    op->flags = flags;
    op->volume = volume_;
    op->lba = static_cast<uint64_t>(at);
    op->blocks = 1;
    op->data = buffers_[at].data;
    op->version = ++host_.version;
    op->context = &ended_[at];
    op->done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  }

  // The last two blocks of the log: the one that the first two writes share, and the third's.
  void FindLog() {
    uint64_t last = 0;
    Uuid store;
    for (int i = 0; i < 16; ++i) store.bytes[i] = static_cast<uint8_t>(i + 1);  // PoolHost::Format.
    for (uint64_t block = 0; block < 64 * kMiB / 4096; ++block) {
      LogBlockHeader header;
      if (ParseLogBlock(file_->Block(block), store, &header) != Status::kOk) continue;
      if (header.sequence < last) continue;
      shared_ = header.entries == 2 ? block : shared_;
      last = header.sequence;
      last_entries_ = header.entries;
    }
    ASSERT_NE(shared_, 0u);
    ASSERT_EQ(last_entries_, 1);
  }
  uint64_t DataOf(uint64_t value) {
    for (uint64_t block = 0; block < 64 * kMiB / 4096; ++block) {
      if (StampOf(file_->Block(block)) == value) return block;
    }
    return 0;
  }
  Status Read(uint64_t lba, uint64_t* value) {
    BlockBuffer b(1);
    Op op;
    op.kind = OpKind::kRead;
    op.volume = host_.pool->Volumes().front().handle;
    op.lba = lba;
    op.blocks = 1;
    op.data = b.data;
    const Status status = host_.Run(&op);
    *value = StampOf(b.data);
    return status;
  }

  PoolHost host_;
  HoldingFile* file_ = nullptr;
  uint32_t volume_ = 0;
  BlockBuffer buffers_[3] = {BlockBuffer(1), BlockBuffer(1), BlockBuffer(1)};
  Op ops_[3];
  bool ended_[3] = {};
  uint64_t shared_ = 0;
  uint16_t last_entries_ = 0;
};

TEST_F(HalfAppliedLog, KeepsWhatWasFlushedAndDropsTheRest) {
  ASSERT_EQ(host_.OpenWith({0}), Status::kOk);
  EXPECT_FALSE(host_.pool->Stats().log_damaged);
  uint64_t value = 0;
  EXPECT_EQ(Read(0, &value), Status::kOk);
  EXPECT_EQ(value, 7u);
  EXPECT_EQ(Read(1, &value), Status::kOk);
  EXPECT_EQ(value, 0u);
}

TEST_F(HalfAppliedLog, IsCalledDamagedWhenItsBlockRots) {
  file_->Block(shared_)[2000] ^= 1;
  ASSERT_EQ(host_.OpenWith({0}), Status::kOk);
  EXPECT_TRUE(host_.pool->Stats().log_damaged);
}

TEST_F(HalfAppliedLog, NeverGoesBackBehindWhatWasFlushed) {
  const uint64_t block = DataOf(7);
  ASSERT_NE(block, 0u);
  file_->Block(block)[100] ^= 1;
  ASSERT_EQ(host_.OpenWith({0}), Status::kOk);
  uint64_t value = 0;
  EXPECT_EQ(Read(0, &value), Status::kDamaged) << "and not " << value;
}

}  // namespace
}  // namespace ashlar
