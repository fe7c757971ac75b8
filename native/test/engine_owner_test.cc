// Whose a pool is: who may open it, and what becomes of a machine whose pool is another's
// meanwhile.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "native/engine/label.h"
#include "native/test/label_faults.h"
#include "native/test/pool_host.h"
#include "native/test/space_rot.h"

namespace ashlar {
namespace {

PoolOwner Machine(uint8_t id, const std::string& name, bool take_over = false) {
  PoolOwner owner;
  owner.id.bytes[0] = id;
  owner.name = name;
  owner.take_over = take_over;
  return owner;
}

struct OwnedPool : PoolHost {
  OwnedPool() {
    AddMedium(64);
    AddMedium(64);
    EXPECT_EQ(Format({{0, 1}}), Status::kOk);
  }
  Status OpenAs(const PoolOwner& owner) {
    options.owner = owner;
    return OpenWith({0, 1});
  }
  ProbeResult Label(size_t i) {
    ProbeResult probe;
    EXPECT_EQ(Pool::Probe(*media[i], &probe), Status::kOk);
    return probe;
  }
};

TEST(Owner, APoolThatAnotherMachineUsedLastIsRefusedUntilItIsTakenOver) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 64);
  ASSERT_EQ(host.Write(v, 5, 77, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);

  const std::vector<uint8_t> before = Bytes(host.media[0].get(), 0, 10);
  EXPECT_EQ(host.OpenAs(Machine(2, "beta")), Status::kOwned);
  EXPECT_NE(host.why.find("belongs to machine alpha since 20"), std::string::npos) << host.why;
  EXPECT_EQ(host.OpenAs(PoolOwner{}), Status::kOwned);  // Nobody in particular is not alpha.
  EXPECT_EQ(Bytes(host.media[0].get(), 0, 10), before);
  host.ExpectClean({0, 1});  // To look at it is not to use it.

  ASSERT_EQ(host.OpenAs(Machine(2, "beta", true)), Status::kOk) << host.why;
  EXPECT_EQ(host.Read(host.Handle("v"), 5), 77u);
  Kill(host);
  EXPECT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOwned);
  EXPECT_NE(host.why.find("machine beta"), std::string::npos) << host.why;
  // Taken over once, it is beta's also after a crash, and without another word.
  ASSERT_EQ(host.OpenAs(Machine(2, "beta")), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.Label(1).owner_name, "beta");
}

TEST(Owner, APoolThatWasExportedIsAnybodys) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->Export(d, c); }), Status::kOk);
  host.pool.reset();
  EXPECT_TRUE(host.Label(0).exported);
  ASSERT_EQ(host.OpenAs(Machine(2, "beta")), Status::kOk) << host.why;
  Kill(host);
  EXPECT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOwned);
}

TEST(Owner, ALabelWithoutAnOwnerGetsOneAndAnotherOpeningWritesNone) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(PoolOwner{}), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  const uint64_t sequence = host.Label(0).sequence;
  EXPECT_EQ(host.Label(0).owned_since_s, 0u);
  ASSERT_EQ(host.OpenAs(Machine(1, std::string(80, 'n'))), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  for (const size_t i : {0, 1}) {
    EXPECT_EQ(host.Label(i).sequence, sequence + 1);
    EXPECT_EQ(host.Label(i).owner, Machine(1, "").id);
    EXPECT_EQ(host.Label(i).owner_name, std::string(63, 'n'));
    EXPECT_GT(host.Label(i).owned_since_s, 1700000000u);
  }
  ASSERT_EQ(host.OpenAs(Machine(1, "renamed")), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.Label(0).sequence, sequence + 1);
}

// The newest label says whose it is, whichever side has it.
TEST(Owner, ATakeOverThatACrashCutShortIsOneOrNone) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  TearLabels(host.media[0].get());
  TearLabels(host.media[1].get());
  EXPECT_EQ(host.OpenAs(Machine(2, "beta", true)), Status::kIoError);
  Kill(host);
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  Kill(host);
  // On one side alone.
  TearLabels(host.media[0].get());
  static_cast<void>(host.OpenAs(Machine(2, "beta", true)));
  Kill(host);
  EXPECT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOwned);
  EXPECT_EQ(host.OpenAs(Machine(2, "beta")), Status::kOk) << host.why;
}

// --- A machine that runs on although its pool was taken over ---

// A second machine that reaches the same media.
struct Intruder : PoolHost {
  explicit Intruder(OwnedPool* host) {
    next_open = 100;
    for (auto& medium : host->media) media.push_back(std::move(medium));
  }
  void GiveMedia(OwnedPool* host) {
    for (size_t i = 0; i < media.size(); ++i) host->media[i] = std::move(media[i]);
  }
};

// Opened by beta, with one write, and closed.
void TakeOver(OwnedPool& host, uint64_t value) {
  Intruder beta(&host);
  beta.options.owner = Machine(2, "beta", true);
  ASSERT_EQ(beta.OpenWith({0, 1}), Status::kOk) << beta.why;
  ASSERT_EQ(beta.Write(beta.Handle("v"), 9, value, 1, kOpFua), Status::kOk);
  ASSERT_EQ(beta.Close(), Status::kOk);
  beta.GiveMedia(&host);
}

struct RunningOwner : OwnedPool {
  RunningOwner() {
    EXPECT_EQ(OpenAs(Machine(1, "alpha")), Status::kOk) << why;
    v = Create("v", 64);
    EXPECT_EQ(Write(v, 5, 77, 1, kOpFua), Status::kOk);
    EXPECT_EQ(Checkpoint(), Status::kOk);
  }
  std::vector<uint8_t> Everything() {
    std::vector<uint8_t> bytes;
    for (auto& medium : media) {
      const auto one = Bytes(medium.get(), 0, medium->size_bytes() / kBlockBytes);
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    return bytes;
  }
  // Faulted for that, and nothing on the media has changed since `before`.
  void ExpectLost(const std::vector<uint8_t>& before) {
    EXPECT_EQ(pool->Stats().state, PoolState::kFaulted);
    const std::string fault = pool->Stats().fault;
    EXPECT_NE(fault.find("was taken over by machine beta at 20"), std::string::npos) << fault;
    EXPECT_EQ(Write(v, 7, 5), Status::kIoError);
    EXPECT_NE(Checkpoint(), Status::kOk);
    Settle();
    EXPECT_EQ(Everything(), before);
    pool.reset();
    EXPECT_EQ(Everything(), before);
    EXPECT_EQ(OpenAs(Machine(1, "alpha")), Status::kOwned);
    ASSERT_EQ(OpenAs(Machine(2, "beta")), Status::kOk) << why;
    EXPECT_EQ(Read(Handle("v"), 9), 99u);
    EXPECT_EQ(Read(Handle("v"), 5), 77u);
    ASSERT_EQ(Close(), Status::kOk);
    ExpectClean({0, 1});
  }
  uint32_t v = 0;
};

TEST(TakenOver, AWriteAfterTheOwnerWasAskedToLookFindsIt) {
  RunningOwner host;
  TakeOver(host, 99);
  const std::vector<uint8_t> before = host.Everything();
  host.pool->LookBeforeWriting();
  EXPECT_EQ(host.Read(host.v, 5), 77u);  // What is only read asks for nothing.
  EXPECT_EQ(host.pool->Stats().state, PoolState::kOpen);
  EXPECT_EQ(host.Write(host.v, 5, 78), Status::kIoError);
  host.ExpectLost(before);
}

TEST(TakenOver, AWriteLongAfterTheLastLookFindsItWithoutBeingAsked) {
  RunningOwner host;
  ASSERT_EQ(host.Close(), Status::kOk);
  PoolOwner alpha = Machine(1, "alpha");
  alpha.look_ms = 50;
  ASSERT_EQ(host.OpenAs(alpha), Status::kOk) << host.why;
  host.v = host.Handle("v");
  ASSERT_EQ(host.Write(host.v, 5, 77, 1, kOpFua), Status::kOk);
  TakeOver(host, 99);
  const std::vector<uint8_t> before = host.Everything();
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(host.Write(host.v, 5, 78), Status::kIoError);
  host.ExpectLost(before);
}

// A look begins at half its time, and writes go on beside it until that is over.
TEST(TakenOver, WritesWaitForALabelThatIsSlowToReadOnlyWhenTheLastLookIsOld) {
  RunningOwner host;
  ASSERT_EQ(host.Close(), Status::kOk);
  PoolOwner alpha = Machine(1, "alpha");
  alpha.look_ms = 2000;
  ASSERT_EQ(host.OpenAs(alpha), Status::kOk) << host.why;
  host.v = host.Handle("v");
  uint32_t looks = 0;
  for (auto& medium : host.media) {
    medium->hold = [&](const IoRequest& request) {
      const bool is_look = request.kind == IoKind::kRead && request.bytes == 2 * kLabelBytes;
      looks += is_look;
      return is_look;
    };
  }
  ASSERT_EQ(host.Write(host.v, 5, 77), Status::kOk);
  EXPECT_EQ(looks, 0u);  // The opening ended with one.
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  ASSERT_EQ(host.Write(host.v, 5, 78), Status::kOk);
  ASSERT_EQ(host.Write(host.v, 6, 79), Status::kOk);
  host.Step();
  EXPECT_GT(looks, 0u);
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  BlockBuffer data(1);
  Op op;
  bool ended = false;
  op.kind = OpKind::kWrite;
  op.volume = host.v;
  op.lba = 7;
  op.blocks = 1;
  op.data = data.data;
  op.version = ++host.version;
  op.context = &ended;
  op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  host.pool->Submit(&op);
  for (int i = 0; i < 100; ++i) host.Step();
  EXPECT_FALSE(ended);
  for (auto& medium : host.media) medium->hold = nullptr;
  host.Settle();
  EXPECT_TRUE(ended);
  EXPECT_EQ(op.status, Status::kOk);
  ASSERT_EQ(host.Write(host.v, 5, 80, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1});
}

TEST(TakenOver, ACheckpointFindsItBeforeItWritesAnything) {
  RunningOwner host;
  TakeOver(host, 99);
  const std::vector<uint8_t> before = host.Everything();
  host.pool->LookBeforeWriting();
  EXPECT_NE(host.Checkpoint(), Status::kOk);
  host.ExpectLost(before);
}

// Its pages are out when the pool is taken over.
TEST(TakenOver, ASuperblockIsNotWrittenOverTheNewOwners) {
  RunningOwner host;
  bool kept = false;
  host.pool->Checkpoint([](void* c, Status s) { *static_cast<bool*>(c) = s == Status::kOk; },
                        &kept);
  // The flush after the pages is held back.
  bool flushing = false;
  const auto hold = [&](const IoRequest& request) {
    flushing |= request.kind == IoKind::kFlush;
    return request.kind == IoKind::kFlush;
  };
  for (auto& medium : host.media) medium->hold = hold;
  for (int i = 0; i < 1000 && !flushing; ++i) host.Step();
  ASSERT_TRUE(flushing);
  // Beta's labels, as another machine would have written them meanwhile.
  for (auto& medium : host.media) {
    for (uint64_t slot = 0; slot < 2; ++slot) {
      ashlar::Label label;
      uint8_t bytes[kLabelBytes];
      const uint64_t place = LabelPlace(slot, false, 0);
      for (uint64_t b = 0; b < kLabelBlocks; ++b) {
        std::memcpy(bytes + b * kBlockBytes, medium->Block(place + b), kBlockBytes);
      }
      if (ParseLabel(bytes, &label) != Status::kOk) continue;
      label.owner = Machine(2, "").id;
      std::strncpy(label.owner_name, "beta", 5);
      label.opening.bytes[0] = 100;
      label.sequence += 3;
      SealLabel(&label);
      std::memcpy(bytes, &label, sizeof label);
      for (uint64_t b = 0; b < kLabelBlocks; ++b) {
        std::memcpy(medium->Block(place + b), bytes + b * kBlockBytes, kBlockBytes);
      }
    }
  }
  const std::vector<uint8_t> before = Bytes(host.media[0].get(), 0, kEndBlocks);
  for (auto& medium : host.media) medium->hold = nullptr;
  host.pool->LookBeforeWriting();
  host.Settle();
  EXPECT_FALSE(kept);
  EXPECT_EQ(host.pool->Stats().state, PoolState::kFaulted);
  EXPECT_EQ(Bytes(host.media[0].get(), 0, kEndBlocks), before);
}

TEST(TakenOver, ALabelIsNotWrittenOverTheNewOwners) {
  RunningOwner host;
  TakeOver(host, 99);
  const std::vector<uint8_t> before = host.Everything();
  EXPECT_EQ(
      host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(host.Device(1).id, d, c); }),
      Status::kIoError);
  host.ExpectLost(before);
}

TEST(TakenOver, AnExportOfItFails) {
  RunningOwner host;
  TakeOver(host, 99);
  EXPECT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->Export(d, c); }), Status::kIoError);
  EXPECT_EQ(host.Label(0).owner_name, "beta");
  EXPECT_FALSE(host.Label(0).exported);
}

TEST(TakenOver, WritesThatWaitForALookGoOutInOrderAndALookThatFailsSaysNothing) {
  RunningOwner host;
  for (int round = 0; round < 20; ++round) {
    host.pool->LookBeforeWriting();
    ASSERT_EQ(host.Write(host.v, 5, 100 + round, 2, round % 2 == 0 ? kOpFua : 0), Status::kOk);
    ASSERT_EQ(host.Write(host.v, 6, 200 + round), Status::kOk);
    if (round % 5 == 0) {
      ASSERT_EQ(host.Checkpoint(), Status::kOk);
    }
  }
  for (auto& medium : host.media) {
    medium->fail = [](const IoRequest& request) {
      return request.kind == IoKind::kRead && request.offset < kMiB ? -EIO : 0;
    };
  }
  host.pool->LookBeforeWriting();
  ASSERT_EQ(host.Write(host.v, 7, 300, 1, kOpFua), Status::kOk);
  for (auto& medium : host.media) medium->fail = nullptr;
  EXPECT_EQ(host.Read(host.v, 5), 119u);
  EXPECT_EQ(host.Read(host.v, 6), 219u);
  EXPECT_EQ(host.Read(host.v, 7), 300u);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1});
}

// While the new owner waits, the old one ends what it had begun, and stops.
TEST(TakenOver, WhatTheOldOwnerStillWroteIsReadAnew) {
  RunningOwner host;
  {
    Intruder beta(&host);
    beta.options.owner = Machine(2, "beta", true);
    bool wrote = false;
    // Beta has read a superblock, and flushes before it writes labels: then comes alpha's next one.
    beta.media[0]->fail = [&](const IoRequest& request) {
      if (request.kind != IoKind::kFlush || wrote) return 0;
      wrote = true;
      Op op;
      BlockBuffer data(1);
      StampBlock(data.data, 55);
      op.kind = OpKind::kWrite;
      op.volume = host.v;
      op.lba = 11;
      op.blocks = 1;
      op.data = data.data;
      op.version = ++host.version;
      bool ended = false;
      op.context = &ended;
      op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
      host.pool->Submit(&op);
      for (int i = 0; i < 1000 && !ended; ++i) {
        host.pool->Kick();
        host.pool->Poll();
        for (auto& medium : beta.media) medium->Wait();
      }
      EXPECT_TRUE(ended);
      EXPECT_EQ(op.status, Status::kOk);
      bool kept = false;
      host.pool->Checkpoint([](void* c, Status s) { *static_cast<bool*>(c) = s == Status::kOk; },
                            &kept);
      for (int i = 0; i < 1000 && !kept; ++i) {
        host.pool->Kick();
        host.pool->Poll();
        for (auto& medium : beta.media) medium->Wait();
      }
      EXPECT_TRUE(kept);
      return 0;
    };
    ASSERT_EQ(beta.OpenWith({0, 1}), Status::kOk) << beta.why;
    EXPECT_TRUE(wrote);
    EXPECT_EQ(beta.Read(beta.Handle("v"), 11), 55u);
    ASSERT_EQ(beta.Close(), Status::kOk);
    beta.GiveMedia(&host);
  }
  host.pool->LookBeforeWriting();
  EXPECT_NE(host.Checkpoint(), Status::kOk);
  host.pool.reset();
  host.ExpectClean({0, 1});
}

// --- What is no take-over ---

TEST(TakenOver, ADeviceThatJoinsMayCarryTheLabelOfAnotherPool) {
  RunningOwner host;
  host.AddMedium(64);
  FormatOptions other;
  other.name = "other";
  other.store_id.bytes[0] = 99;
  ASSERT_EQ(Pool::Format({{{host.File(2)}}, {}}, other), Status::kOk);
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) {
    host.pool->AttachDevice(host.Device(0).id, host.File(2), false, d, c);
  }),
            Status::kOk)
      << host.pool->Stats().fault;
  host.pool->LookBeforeWriting();
  ASSERT_EQ(host.Write(host.v, 7, 5, 1, kOpFua), Status::kOk);
  SettleWalks(host);
  EXPECT_EQ(host.Device(2).state, DeviceState::kInSync);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0, 1, 2});
}

// The pool goes on without it, and says what is the matter.
TEST(TakenOver, ASideThatWasUsedElsewhereWhileItWasOfflineStaysOffline) {
  RunningOwner host;
  const Uuid id = host.Device(1).id;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->OfflineDevice(id, d, c); }),
            Status::kOk);
  {
    Intruder beta(&host);
    beta.options.owner = Machine(2, "beta", true);
    ASSERT_EQ(beta.OpenWith({1}), Status::kOk) << beta.why;
    ASSERT_EQ(beta.Write(beta.Handle("v"), 9, 99, 1, kOpFua), Status::kOk);
    ASSERT_EQ(beta.Close(), Status::kOk);
    beta.GiveMedia(&host);
  }
  host.pool->LookBeforeWriting();
  ASSERT_EQ(host.Write(host.v, 7, 5, 1, kOpFua), Status::kOk);
  const std::vector<uint8_t> before = Bytes(host.media[1].get(), 0, 64 * kMiB / kBlockBytes);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->OnlineDevice(id, {}, 0, d, c); }),
              Status::kDiverged);
    EXPECT_EQ(host.Device(1).state, DeviceState::kOffline);
    EXPECT_NE(host.Device(1).why.find("machine beta"), std::string::npos) << host.Device(1).why;
  }
  EXPECT_EQ(host.pool->Stats().fault, "");
  ASSERT_EQ(host.Write(host.v, 7, 6, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Checkpoint(), Status::kOk);
  EXPECT_EQ(Bytes(host.media[1].get(), 0, 64 * kMiB / kBlockBytes), before);
  ASSERT_EQ(host.Close(), Status::kOk);
  host.ExpectClean({0});
}

// --- A take-over that is cut short ---

// It was killed while it waited for the other machine to notice, and is back before that has.
TEST(Owner, ATakeOverThatBeginsAnewWaitsAnew) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  Kill(host);
  PoolOwner beta = Machine(2, "beta", true);
  ASSERT_EQ(host.OpenAs(beta), Status::kOk) << host.why;
  Kill(host);
  beta.settle_ms = 300;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(host.OpenAs(beta), Status::kOk) << host.why;
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(300));
}

// Its owner, which runs, writes labels just before the new one does.
TEST(TakenOver, ATakeOverThatFindsTheOwnerAtWorkIsRefusedAsOwned) {
  RunningOwner host;
  const Uuid id = host.Device(1).id;
  Intruder beta(&host);
  beta.options.owner = Machine(2, "beta", true);
  Status offline = Status::kBusy;
  beta.media[0]->fail = [&](const IoRequest& request) {
    if (request.kind != IoKind::kFlush || offline != Status::kBusy) return 0;
    offline = Status::kOk;
    host.pool->OfflineDevice(
        id, [](void* c, Status s) { *static_cast<Status*>(c) = s; }, &offline);
    for (int i = 0; i < 100; ++i) {
      host.pool->Kick();
      host.pool->Poll();
      for (auto& medium : beta.media) medium->Wait();
    }
    return 0;
  };
  EXPECT_EQ(beta.OpenWith({0, 1}), Status::kOwned);
  EXPECT_EQ(offline, Status::kOk);
  EXPECT_NE(beta.why.find("machine alpha"), std::string::npos) << beta.why;
  beta.GiveMedia(&host);
  host.media[0]->fail = nullptr;
  EXPECT_EQ(host.Write(host.v, 7, 5, 1, kOpFua), Status::kOk);
}

TEST(Owner, APoolThatIsGivenBackIsAsItWasFound) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  const uint64_t since = host.Label(0).owned_since_s;
  const auto give_back = [&] {
    return host.Control([&](DoneFn d, void* c) { host.pool->GiveBack(d, c); });
  };
  ASSERT_EQ(host.OpenAs(Machine(2, "beta", true)), Status::kOk) << host.why;
  EXPECT_EQ(host.Label(0).owner_name, "beta");
  ASSERT_EQ(give_back(), Status::kOk);
  EXPECT_EQ(host.Label(0).owner_name, "alpha");
  EXPECT_EQ(host.Label(1).owner, Machine(1, "").id);
  EXPECT_EQ(host.Label(1).owned_since_s, since);
  EXPECT_FALSE(host.Label(0).exported);
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->Export(d, c); }), Status::kOk);
  ASSERT_EQ(host.OpenAs(Machine(2, "beta")), Status::kOk) << host.why;
  EXPECT_FALSE(host.Label(0).exported);
  ASSERT_EQ(give_back(), Status::kOk);
  EXPECT_TRUE(host.Label(0).exported);
  EXPECT_EQ(host.Label(0).owner_name, "alpha");
}

// The opening begins a second time, and meets the label that it has written itself.
TEST(Owner, APoolThatTookASecondAttemptIsGivenBackAsItWasFound) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "alpha")), Status::kOk) << host.why;
  const uint32_t v = host.Create("v", 64);
  ASSERT_EQ(host.Write(v, 5, 77, 1, kOpFua), Status::kOk);
  ASSERT_EQ(host.Close(), Status::kOk);
  for (const auto& medium : host.media) test::RotSpaceMap(*medium);
  ASSERT_EQ(host.OpenAs(Machine(2, "beta", true)), Status::kOk) << host.why;
  ASSERT_GT(host.pool->Stats().rebuilt_pages, 0u);
  EXPECT_EQ(host.Label(0).owner_name, "beta");
  ASSERT_EQ(host.Control([&](DoneFn d, void* c) { host.pool->GiveBack(d, c); }), Status::kOk);
  EXPECT_EQ(host.Label(0).owner_name, "alpha");
  EXPECT_EQ(host.Label(1).owner, Machine(1, "").id);
}

// A machine that is known by another name than it was: by the cluster it is of, say.
TEST(Owner, WhatAMachineWasKnownByBeforeIsTheSameMachine) {
  OwnedPool host;
  ASSERT_EQ(host.OpenAs(Machine(1, "n1")), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  PoolOwner later = Machine(3, "n1");
  later.former_id = Machine(1, "").id;
  ASSERT_EQ(host.OpenAs(later), Status::kOk) << host.why;
  ASSERT_EQ(host.Close(), Status::kOk);
  EXPECT_EQ(host.Label(0).owner, later.id);
  PoolOwner other = Machine(4, "n1");  // Of another cluster.
  other.former_id = Machine(1, "").id;
  EXPECT_EQ(host.OpenAs(other), Status::kOwned);
}

}  // namespace
}  // namespace ashlar
