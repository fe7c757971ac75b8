// Labels under crashes: whatever is torn, every device in sync keeps one; and what the newest says
// does not depend on the device that has it.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "native/engine/label.h"
#include "native/test/label_faults.h"
#include "native/test/pool_host.h"

namespace ashlar {
namespace {

// A device that joins gets its first label alone, which the others do not have. The next must not
// fall on the only label that they have.
TEST(Labels, ATornLabelAfterADeviceJoinedLeavesTheOneBefore) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 64);
  ASSERT_EQ(host.Write(v, 5, 77, 1, kOpFua), Status::kOk);
  ASSERT_EQ(Pool::WipeDevice(*host.media[1]), Status::kOk);
  TearLabels(host.media[0].get());
  static_cast<void>(host.Control([&](DoneFn d, void* c) {
    host.pool->AttachDevice(host.Device(0).id, host.File(1), false, d, c);
  }));
  EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
  Kill(host);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  EXPECT_EQ(host.Read(host.Handle("v"), 5), 77u);
}

// One crash leaves the newest label on one device only; the next, as labels are written again, must
// not take from the other the only one it has.
TEST(Labels, ADeviceThatMissedALabelKeepsTheOneItHasThroughAnotherCrash) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1}}), Status::kOk);
  for (int crash = 0; crash < 5; ++crash) {
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << "after " << crash << ": " << host.why;
    TearLabels(host.media[1].get());
    static_cast<void>(host.Control([&](DoneFn d, void* c) { host.pool->GrowDevices(d, c); }));
    EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
    Kill(host);
    // And in the opening itself, that gives it what it missed.
    TearLabels(host.media[1].get());
    EXPECT_EQ(host.OpenWith({0, 1}), Status::kIoError);
    Kill(host);
  }
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
}

// After a kill the newest labels may be in the devices' caches alone.
TEST(Labels, AnOpeningFlushesTheLabelsItFoundBeforeItOverwritesAny) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
    // Killed before the flush of a label.
    for (auto& medium : host.media) {
      medium->fail = [](const IoRequest& request) {
        return request.kind == IoKind::kFlush ? -EIO : 0;
      };
    }
    static_cast<void>(host.Control([&](DoneFn d, void* c) { host.pool->GrowDevices(d, c); }));
    Kill(host);
    // An opening that writes labels, and a power cut in it that leaves them torn.
    bool flushed = false;
    bool labelled = false;
    host.media[0]->fail = [&](const IoRequest& request) {
      flushed |= request.kind == IoKind::kFlush;
      if (IsLabelWrite(request)) {
        EXPECT_TRUE(flushed);
        labelled = true;
      }
      return 0;
    };
    ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why;
    EXPECT_TRUE(labelled);
    host.media[0]->fail = nullptr;
    ASSERT_EQ(host.Close(), Status::kOk);
    ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
    host.Settle();
    ASSERT_EQ(host.Close(), Status::kOk);
  }
}

// One of a label's two copies suffices when it is written, so each must be looked at when it is
// read: here it says that the other side is out.
TEST(Labels, ALabelKeptAtTheFarEndAloneCounts) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 64);
  ASSERT_EQ(host.Write(v, 5, 1, 1, kOpFua), Status::kOk);
  host.media[0]->fail = [](const IoRequest& request) {
    return IsLabelWrite(request) && AtFront(request) ? -EIO : 0;
  };
  ASSERT_EQ(
      host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(host.Device(1).id, d, c); }),
      Status::kOk);
  ASSERT_EQ(host.Write(v, 5, 2, 1, kOpFua), Status::kOk);
  Kill(host);
  host.options.read_only = true;
  EXPECT_EQ(host.OpenWith({1, 0}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(1).state, DeviceState::kOffline);
  host.options.read_only = false;
  ASSERT_EQ(host.OpenWith({1, 0}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(1).state, DeviceState::kOffline);
  EXPECT_EQ(host.Read(host.Handle("v"), 5), 2u);
}

// A medium that has grown ends in bytes of somebody else.
TEST(Labels, WhatLiesAtTheEndOfAGrownMediumIsNotTakenForItsLabel) {
  PoolHost host;
  host.AddMedium(64);
  host.AddMedium(96);
  ASSERT_EQ(host.Format({{0}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0}), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  // As it was before a new pool was made on less of it: a label of a sequence that is far ahead.
  const uint64_t large = 96 * kMiB / kBlockBytes;
  for (uint64_t b = 0; b < 64 * kMiB / kBlockBytes; ++b) {
    std::memcpy(host.media[1]->Block(b), host.media[0]->Block(b), kBlockBytes);
  }
  std::vector<uint8_t> bytes = Bytes(host.media[0].get(), LabelPlace(1, false, 0), kLabelBlocks);
  auto label = std::make_unique<Label>();
  std::memcpy(label.get(), bytes.data(), sizeof *label);
  label->sequence = 1000;
  SealLabel(label.get());
  for (uint64_t b = 0; b < kLabelBlocks; ++b) {
    std::memcpy(host.media[1]->Block(LabelPlace(0, true, large) + b),
                reinterpret_cast<const uint8_t*>(label.get()) + b * kBlockBytes, kBlockBytes);
  }
  ProbeResult probe;
  ASSERT_EQ(Pool::Probe(*host.media[1], &probe), Status::kOk);
  EXPECT_LT(probe.sequence, 1000u);
}

// A side is out by a label that a crash left on one device only. The pool goes on without it; then
// the device with that label is lost: the others must know.
TEST(Labels, WhoIsOutDoesNotDependOnTheOneDeviceThatACrashLeftTheLabelOn) {
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0, 1, 2}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 64);
  ASSERT_EQ(host.Write(v, 5, 1, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  // A power cut while labels are under way that put disk2 out: disk0 alone has its own.
  const auto before = Bytes(host.media[1].get(), 0, 10);
  ASSERT_EQ(
      host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(host.Device(2).id, d, c); }),
      Status::kOk);
  Kill(host);
  for (const bool back : {false, true}) {
    for (uint64_t slot = 0; slot < 2; ++slot) {
      const uint64_t blocks = host.media[1]->size_bytes() / kBlockBytes;
      for (uint64_t b = 0; b < kLabelBlocks; ++b) {
        std::memcpy(host.media[1]->Block(LabelPlace(slot, back, blocks) + b),
                    &before[(LabelPlace(slot, false, blocks) + b) * kBlockBytes], kBlockBytes);
      }
    }
  }
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(2).state, DeviceState::kOffline);
  ASSERT_EQ(host.Write(host.Handle("v"), 5, 2, 1, kOpFua), Status::kOk);
  Kill(host);
  ASSERT_EQ(host.OpenWith({2, 1}), Status::kOk) << host.why;
  EXPECT_EQ(host.Device(2).state, DeviceState::kOffline);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(host.Read(host.Handle("v"), 5), 2u);
}

// Keeps back the labels that a test chooses.
class LateLabels : public MemFile {
 public:
  using MemFile::MemFile;
  void Submit(IoRequest* request) override {
    if (IsLabelWrite(*request) && late(*reinterpret_cast<const Label*>(request->data))) {
      held.push_back(request);
    } else {
      MemFile::Submit(request);
    }
  }
  void LetThrough() {
    late = [](const Label&) { return false; };
    for (IoRequest* request : held) MemFile::Submit(request);
    held.clear();
  }
  std::function<bool(const Label&)> late = [](const Label&) { return false; };
  std::vector<IoRequest*> held;
};

// However a side leaves, hosts hear of nothing that it lacks before the labels say that it is out:
// after a crash it would be believed.
TEST(Labels, NothingIsAcknowledgedWithoutASideBeforeTheLabelsSayThatItIsOut) {
  for (const std::string way : {"offline", "detach", "replace"}) {
    SCOPED_TRACE(way);
    PoolHost host;
    host.AddMedium(64);
    host.media.push_back(std::make_unique<LateLabels>(64 * kMiB));
    auto* other = static_cast<LateLabels*>(host.media[1].get());
    const bool replace = way == "replace";
    ASSERT_EQ(host.Format(replace ? std::vector<std::vector<size_t>>{{0}}
                                  : std::vector<std::vector<size_t>>{{0, 1}}),
              Status::kOk);
    ASSERT_EQ(host.OpenWith(replace ? std::vector<size_t>{0} : std::vector<size_t>{0, 1}),
              Status::kOk);
    const uint32_t v = host.Create("v", 64);
    ASSERT_EQ(host.Write(v, 5, 1, 1, kOpFua), Status::kOk);
    const Uuid leaver = host.Device(0).id;
    other->late = [&](const Label& label) {
      for (uint32_t i = 0; i < label.device_count; ++i) {
        if (label.devices[i].id == leaver) return label.devices[i].state != DeviceState::kInSync;
      }
      return true;
    };
    Status called = Status::kBusy;
    const DoneFn done = [](void* c, Status s) { *static_cast<Status*>(c) = s; };
    if (replace) {
      host.pool->AttachDevice(leaver, host.File(1), true, done, &called);
    } else if (way == "detach") {
      host.pool->DetachDevice(leaver, done, &called);
    } else {
      host.pool->OfflineDevice(leaver, done, &called);
    }
    for (int i = 0; i < 100000 && other->held.empty(); ++i) host.Step();
    ASSERT_FALSE(other->held.empty());
    BlockBuffer b(1);
    StampBlock(b.data, 2);
    bool ended = false;
    Op op;
    op.kind = OpKind::kWrite;
    op.flags = kOpFua;
    op.volume = v;
    op.lba = 5;
    op.blocks = 1;
    op.data = b.data;
    op.version = ++host.version;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    host.pool->Submit(&op);
    for (int i = 0; i < 10000; ++i) host.Step();
    EXPECT_FALSE(ended);
    other->LetThrough();
    for (int i = 0; i < 100000 && !ended; ++i) host.Step();
    EXPECT_TRUE(ended);
    EXPECT_EQ(op.status, Status::kOk);
    EXPECT_EQ(called, Status::kOk);
    host.Settle();
    Kill(host);
    ASSERT_EQ(host.OpenWith({1}), Status::kOk) << host.why;
    EXPECT_EQ(host.Read(host.Handle("v"), 5), 2u);
  }
}

}  // namespace
}  // namespace ashlar
