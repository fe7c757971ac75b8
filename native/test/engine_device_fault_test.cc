// T8 on pools of many devices: each I/O of a trace goes wrong on one device or on several, once or
// from there on: an error, a transfer that ends half way, an answer that comes after everything
// else, a device that goes away with its cache and comes back as it was.
//
// With a side left that answers, no operation fails and no read gives a wrong byte. Without one,
// operations fail and the pool may fault; but what was acknowledged is there once the devices
// answer again, and nothing ever reads wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <set>

#include "native/test/pool_host.h"

namespace ashlar {
namespace {

enum class Wrong : uint8_t {
  kError,   // It fails, and nothing has happened.
  kShort,   // The first half is transferred; what is left gives an error.
  kLate,    // The answer comes when nothing else is under way.
  kVanish,  // The device is gone, and what it had not flushed.
  kBad,     // The place is bad from there on; nothing else is.
};

struct DeviceFault {
  size_t device = 0;
  Wrong wrong = Wrong::kError;
  uint64_t at = ~0ull;  // Which I/O of the device, from 1.
  bool forever = false;
  int32_t error = -EIO;
  bool flush_loses = false;  // A flush that fails has lost what it was to keep (S9).
};

class FaultyFile : public MemFile {
 public:
  explicit FaultyFile(uint64_t bytes) : MemFile(bytes) {
    fail = [this](const IoRequest& request) { return Result(request); };
  }

  void Arm(const DeviceFault& fault) {
    fault_ = fault;
    armed = true;
  }
  void Submit(IoRequest* request) override {
    ++ios;
    const bool follows = fault_.wrong == Wrong::kBad ? Bad(*request) : fault_.forever;
    const bool hit = armed && (ios == fault_.at || (ios > fault_.at && follows));
    if (hit && fault_.wrong == Wrong::kBad && ios == fault_.at) {
      bad_from_ = request->offset;
      bad_to_ = request->offset + request->bytes;
    }
    if (hit && fault_.wrong == Wrong::kLate) {
      late_.push_back(request);
      return;
    }
    if (hit && fault_.wrong == Wrong::kVanish) gone_ = true;
    if (hit) doomed_.insert(request);
    MemFile::Submit(request);
  }
  // What is late comes last.
  int Wait() override {
    if (const int delivered = MemFile::Wait(); delivered > 0) return delivered;
    return Release() ? MemFile::Wait() : 0;
  }
  int WaitForOthers() { return MemFile::Wait(); }
  bool Release() {
    std::vector<IoRequest*> late;
    late.swap(late_);
    for (IoRequest* request : late) MemFile::Submit(request);
    return !late.empty();
  }
  // The process that asked was killed.
  void Drop() {
    DropQueue();
    late_.clear();
    doomed_.clear();
  }
  // It answers again.
  void Recover() { gone_ = armed = false; }

  bool armed = false;
  uint64_t ios = 0;

 private:
  bool Bad(const IoRequest& request) const {
    return request.kind != IoKind::kFlush && request.offset < bad_to_ &&
           bad_from_ < request.offset + request.bytes;
  }
  int32_t Result(const IoRequest& request) {
    if (gone_) LoseCache();
    if (doomed_.erase(&request) == 0) return gone_ ? -ENXIO : 0;
    if (request.kind == IoKind::kFlush && fault_.flush_loses) LoseCache();
    if (fault_.wrong == Wrong::kShort && request.kind != IoKind::kFlush) {
      for (uint32_t at = 0; at < request.bytes / 2; at += 512) {
        uint8_t* medium = Block((request.offset + at) / 4096) + (request.offset + at) % 4096;
        const bool read = request.kind == IoKind::kRead;
        std::memcpy(read ? request.data + at : medium, read ? medium : request.data + at, 512);
      }
    }
    return fault_.error;
  }

  DeviceFault fault_;
  bool gone_ = false;
  uint64_t bad_from_ = 0, bad_to_ = 0;
  std::vector<IoRequest*> late_;
  std::set<const IoRequest*> doomed_;
};

using Layout = std::vector<std::vector<size_t>>;

struct Machine {
  Layout data;
  std::vector<size_t> log;
  size_t devices = 0;
};

class Trace {
 public:
  // `strict`: every vdev has a side that answers, so nothing may fail.
  // `while_open`: the devices come back to the open pool, not to one that opens again.
  Trace(const Machine& machine, std::vector<DeviceFault> faults, bool strict,
        bool while_open = false)
      : machine_(machine), faults_(std::move(faults)), strict_(strict), while_open_(while_open) {}

  // How many I/Os each device was asked for.
  std::vector<uint64_t> Run() {
    host_.options.cache_bytes = 1 << 20;
    for (size_t d = 0; d < machine_.devices; ++d) {
      host_.media.push_back(std::make_unique<FaultyFile>(16 * kMiB));
    }
    EXPECT_EQ(host_.Format(machine_.data, machine_.log), Status::kOk);
    EXPECT_EQ(host_.OpenWith(All()), Status::kOk) << host_.why;
    host_.Create("v", kBlocks);
    holds_["v"].resize(kBlocks, {{0, 0}});
    for (size_t d = 0; d < machine_.devices; ++d) File(d).ios = 0;
    for (const DeviceFault& fault : faults_) File(fault.device).Arm(fault);
    Drive();
    std::vector<uint64_t> ios;
    for (size_t d = 0; d < machine_.devices; ++d) ios.push_back(File(d).ios);
    if (!testing::Test::HasFailure()) ExpectAll(strict_);
    Judge();
    return ios;
  }

 private:
  static constexpr uint64_t kBlocks = 256;
  static constexpr uint32_t kDepth = 6;
  // What may be there, by the version that put it there: the newest that was acknowledged, and what
  // may have come about since.
  using Block = std::map<uint64_t, uint64_t>;
  struct HostOp {
    Op op;
    Trace* trace = nullptr;
    std::string name;
    std::unique_ptr<BlockBuffer> data;
  };

  FaultyFile& File(size_t device) { return static_cast<FaultyFile&>(*host_.media[device]); }
  std::vector<size_t> All() const {
    std::vector<size_t> all;
    for (size_t d = 0; d < machine_.devices; ++d) all.push_back(d);
    return all;
  }
  uint32_t Find(const std::string& name) {
    for (const VolumeInfo& v : host_.pool->Volumes()) {
      if (v.name == name && !v.deleting) return v.handle;
      for (const SnapshotInfo& s : host_.pool->Snapshots(v.handle)) {
        if (s.name == name && !s.deleting) return s.handle;
      }
    }
    return 0;
  }

  bool Step() {
    host_.pool->Kick();
    if (host_.pool->Poll() > 0 || host_.pool->WantsPoll()) return true;
    for (size_t d = 0; d < machine_.devices; ++d) {
      if (File(d).WaitForOthers() > 0) return true;
    }
    bool late = false;
    for (size_t d = 0; d < machine_.devices; ++d) late |= File(d).Release();
    return late;
  }
  void Settle(uint32_t limit) {
    for (int i = 0; in_flight_ > limit; ++i) {
      Step();
      ASSERT_LT(i, 100000) << "operations that never end";
    }
  }
  template <typename F>
  Status Control(F f) {
    Status status = Status::kBusy;
    f([](void* c, Status s) { *static_cast<Status*>(c) = s; }, &status);
    for (int i = 0; i < 100000 && status == Status::kBusy; ++i) Step();
    EXPECT_NE(status, Status::kBusy) << "a control call that never ends";
    if (strict_) {
      EXPECT_EQ(status, Status::kOk) << host_.pool->Stats().fault;
    }
    return status;
  }

  void Submit(const std::string& name, OpKind kind, uint64_t lba, uint64_t blocks, uint8_t flags) {
    auto host = std::make_unique<HostOp>();
    host->trace = this;
    host->name = name;
    Op& op = host->op;
    op.kind = kind;
    op.flags = flags;
    op.volume = Find(name);
    op.lba = lba;
    op.blocks = blocks;
    op.context = host.get();
    op.done = &Trace::OnDone;
    if (kind == OpKind::kWrite || kind == OpKind::kRead) {
      host->data = std::make_unique<BlockBuffer>(blocks);
      op.data = host->data->data;
    }
    // W1: nothing is read while it changes.
    const bool change = kind == OpKind::kWrite || kind == OpKind::kUnmap;
    auto& conflicting = change ? reading_ : changing_;
    for (uint64_t i = 0; i < blocks; ++i) {
      if (conflicting.count({name, lba + i}) != 0) Settle(0);
    }
    for (uint64_t i = 0; i < blocks; ++i) (change ? changing_ : reading_).insert({name, lba + i});
    if (change) {
      op.version = ++host_.version;
      for (uint64_t i = 0; i < blocks; ++i) {
        const uint64_t value = kind == OpKind::kUnmap ? 0 : ++value_;
        if (value != 0) StampBlock(op.data + i * kBlockBytes, value);
        holds_[name][lba + i][op.version] = value;
      }
    }
    ++in_flight_;
    host_.pool->Submit(&host.release()->op);
  }
  static void OnDone(Op* op) {
    std::unique_ptr<HostOp> host(static_cast<HostOp*>(op->context));
    Trace& self = *host->trace;
    --self.in_flight_;
    const bool change = op->kind == OpKind::kWrite || op->kind == OpKind::kUnmap;
    if (self.strict_) {
      EXPECT_EQ(op->status, Status::kOk) << self.host_.pool->Stats().fault;
    }
    for (uint64_t i = 0; i < op->blocks; ++i) {
      Block& block = self.holds_[host->name][op->lba + i];
      auto& under_way = change ? self.changing_ : self.reading_;
      under_way.erase(under_way.find({host->name, op->lba + i}));
      if (op->status != Status::kOk) continue;
      if (change) block.erase(block.begin(), block.lower_bound(op->version));
      if (op->kind == OpKind::kRead) {
        self.ExpectBlock(host->name, op->lba + i, op->data + i * kBlockBytes);
      }
    }
  }
  void ExpectBlock(const std::string& name, uint64_t lba, const uint8_t* bytes) {
    const uint64_t value = StampOf(bytes);
    const Block& block = holds_[name][lba];
    const bool known = std::any_of(block.begin(), block.end(),
                                   [value](const auto& entry) { return entry.second == value; });
    EXPECT_TRUE(known) << name << " block " << lba << " holds " << value;
  }

  void Freeze(const std::string& name, const std::string& of, bool clone) {
    Settle(0);
    if (testing::Test::HasFatalFailure()) return;
    uint32_t handle = 0;
    const uint32_t from = Find(of);
    const Status status = Control([&](DoneFn done, void* c) {
      if (clone) {
        host_.pool->CloneSnapshot(from, Uuid{}, name, &handle, done, c);
        return;
      }
      SnapshotRequest request;
      request.volume = from;
      request.name = name;
      request.version = ++host_.version;
      request.handle = &handle;
      host_.pool->CreateSnapshots({&request, 1}, 0, done, c);
    });
    holds_[name] = holds_[of];
    if (status == Status::kOk) made_.insert(name);
  }

  void Drive() {
    std::mt19937_64 rng(3);
    for (int i = 1; i <= 70 && !testing::Test::HasFatalFailure(); ++i) {
      const bool clone = made_.count("clone") != 0 && rng() % 3 == 0;
      const std::string name = clone ? "clone" : "v";
      const uint64_t lba = rng() % kBlocks;
      const uint64_t blocks = 1 + rng() % std::min<uint64_t>(kBlocks - lba, 24);
      const auto flags = static_cast<uint8_t>(rng() % 4 == 0 ? kOpFua : 0);
      const bool atomic = rng() % 8 == 0;
      if (i == 20) Freeze("one", "v", false);
      if (i == 35) Freeze("two", "v", false);
      if (i == 45 && made_.count("two") != 0) Freeze("clone", "two", true);
      if (i == 60 && made_.count("one") != 0) {
        Settle(0);
        const Status status = Control(
            [&](DoneFn done, void* c) { host_.pool->DeleteSnapshot(Find("one"), done, c); });
        // Refused for a fault it may yet have happened.
        made_.erase("one");
        if (status == Status::kOk) holds_.erase("one");
      }
      if (i % 5 == 0) {
        Submit(name, OpKind::kRead, lba, blocks, 0);
      } else if (i % 7 == 0) {
        Submit(name, OpKind::kUnmap, lba, blocks, flags);
      } else if (i % 13 == 0) {
        Submit(name, OpKind::kFlush, 0, 0, 0);
      } else {
        Submit(name, OpKind::kWrite, lba, blocks, flags | (atomic ? kOpAtomic : 0));
      }
      if (i % 16 == 0) {
        static_cast<void>(Control([&](DoneFn done, void* c) { host_.pool->Checkpoint(done, c); }));
      }
      Settle(kDepth);
    }
    Settle(0);
  }

  // Everything; if it need not be readable each block by itself, so that one hides no other.
  void ExpectAll(bool readable) {
    const uint64_t at_once = readable ? 64 : 1;
    BlockBuffer buffer(at_once);
    for (const auto& [name, blocks] : holds_) {
      const uint32_t handle = Find(name);
      if (handle == 0) {
        EXPECT_EQ(made_.count(name), 0u) << name << " is gone";
        continue;
      }
      for (uint64_t lba = 0; lba < kBlocks; lba += at_once) {
        Op op;
        op.volume = handle;
        op.lba = lba;
        op.blocks = at_once;
        op.data = buffer.data;
        bool ended = false;
        op.context = &ended;
        op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
        host_.pool->Submit(&op);
        for (int i = 0; i < 10000 && !ended; ++i) Step();
        ASSERT_TRUE(ended) << "a read that never ends";
        if (readable) {
          ASSERT_EQ(op.status, Status::kOk) << name << " block " << op.failed_lba;
        }
        for (uint64_t i = 0; i < at_once && op.status == Status::kOk; ++i) {
          ExpectBlock(name, lba + i, buffer.data + i * kBlockBytes);
        }
        ASSERT_FALSE(testing::Test::HasFailure());
      }
    }
  }

  // A device that is back, as old as it is, gets what it missed.
  void BringBack() {
    for (size_t d = 0; d < machine_.devices; ++d) {
      const DeviceInfo info = host_.Device(d);
      if (info.state != DeviceState::kFaulted) continue;
      ProbeResult probe;
      ASSERT_EQ(Pool::Probe(*host_.media[d], &probe), Status::kOk);
      DeviceFile file = host_.File(d);
      file.label_slot = probe.label_slot;
      ASSERT_EQ(host_.Control([&](DoneFn done, void* c) {
        host_.pool->OnlineDevice(info.id, file, probe.sequence, done, c);
      }),
                Status::kOk);
    }
    ExpectAll(true);
    host_.Settle();
    for (size_t d = 0; d < machine_.devices; ++d) {
      ASSERT_EQ(host_.Device(d).state, DeviceState::kInSync) << d;
    }
  }

  // The devices answer again, and are what they were when they stopped.
  void Judge() {
    if (!strict_ || !while_open_) host_.pool.reset();
    for (size_t d = 0; d < machine_.devices; ++d) {
      if (host_.pool == nullptr) File(d).Drop();
      File(d).Recover();
    }
    if (host_.pool == nullptr) {
      ASSERT_EQ(host_.OpenWith(All()), Status::kOk) << host_.why;
      EXPECT_FALSE(host_.pool->Stats().log_damaged);
      ExpectAll(true);
    }
    BringBack();
    if (testing::Test::HasFailure()) return;
    ASSERT_EQ(host_.Close(), Status::kOk);
    host_.ExpectClean(All());
    // Each side by itself.
    host_.options.read_only = true;
    size_t sides = machine_.log.size();
    for (const auto& vdev : machine_.data) sides = std::max(sides, vdev.size());
    for (size_t place = 0; place < sides && !testing::Test::HasFailure(); ++place) {
      std::vector<size_t> alone;
      for (const auto& vdev : machine_.data) alone.push_back(vdev[place % vdev.size()]);
      if (!machine_.log.empty()) alone.push_back(machine_.log[place % machine_.log.size()]);
      ASSERT_EQ(host_.OpenWith(alone), Status::kOk) << host_.why;
      ExpectAll(true);
      host_.pool.reset();
    }
  }

  Machine machine_;
  std::vector<DeviceFault> faults_;
  bool strict_;
  bool while_open_;
  PoolHost host_;
  std::map<std::string, std::vector<Block>> holds_;
  std::multiset<std::pair<std::string, uint64_t>> reading_, changing_;
  std::set<std::string> made_ = {"v"};  // What must be there.
  uint64_t value_ = 0;
  uint32_t in_flight_ = 0;
};

const Machine kMirror = {{{0, 1}}, {}, 2};
const Machine kMirrors = {{{0, 1}, {2, 3}}, {}, 4};
const Machine kThreeWay = {{{0, 1, 2}}, {}, 3};
const Machine kMirroredLog = {{{0, 1}}, {2, 3}, 4};
const Machine kStripe = {{{0}, {1}}, {}, 2};
const Machine kMixed = {{{0}, {1, 2}}, {}, 3};

// Every `stride`th I/O of `device`, with the faults that `faults` makes of it.
template <typename F>
void EachIo(const Machine& machine, size_t device, uint64_t stride, bool strict, F faults) {
  const std::vector<uint64_t> ios = Trace(machine, {}, true).Run();
  ASSERT_GT(ios[device], 60u) << "a trace too short to show anything";
  for (uint64_t at = 1; at <= ios[device]; at += stride) {
    for (const bool forever : {false, true}) {
      SCOPED_TRACE("I/O " + std::to_string(at) + " of " + std::to_string(ios[device]) +
                   " of device " + std::to_string(device) +
                   (forever ? ", and all that follow" : ""));
      const std::vector<DeviceFault> all = faults(at, forever);
      if (forever && all[0].wrong == Wrong::kBad) continue;
      Trace(machine, all, strict, at % 2 == 0).Run();
      if (testing::Test::HasFailure()) return;
    }
  }
}

int32_t ErrorOf(uint64_t at) { return at % 3 == 0 ? -ENOSPC : -EIO; }

class DeviceFaults : public testing::TestWithParam<Wrong> {};

TEST_P(DeviceFaults, OfOneSideOfAMirrorAreSeenByNobody) {
  const Wrong wrong = GetParam();
  struct Case {
    const Machine& machine;
    size_t device;
    uint64_t stride;
  };
  for (const Case& c :
       {Case{kMirror, 1, 2}, {kMirrors, 2, 7}, {kThreeWay, 0, 11}, {kMirroredLog, 3, 11}}) {
    EachIo(c.machine, c.device, c.stride, true, [&](uint64_t at, bool forever) {
      return std::vector<DeviceFault>{{c.device, wrong, at, forever, ErrorOf(at), true}};
    });
    if (HasFailure()) return;
  }
}

TEST_P(DeviceFaults, OfOneSideOfEachMirrorAndOfTwoOfThreeAreSeenByNobody) {
  const Wrong wrong = GetParam();
  for (uint64_t apart : {0, 5, 60}) {
    EachIo(kMirrors, 1, 23, true, [&](uint64_t at, bool forever) {
      return std::vector<DeviceFault>{{1, wrong, at, forever, ErrorOf(at), true},
                                      {2, wrong, at + apart, forever, ErrorOf(at + 1), true}};
    });
    EachIo(kThreeWay, 0, 23, true, [&](uint64_t at, bool forever) {
      return std::vector<DeviceFault>{{0, wrong, at, forever, ErrorOf(at), true},
                                      {2, wrong, at + apart, true, ErrorOf(at + 1), true}};
    });
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(T8, DeviceFaults,
                         testing::Values(Wrong::kError, Wrong::kShort, Wrong::kLate, Wrong::kVanish,
                                         Wrong::kBad));

class LastSideFaults : public testing::TestWithParam<Wrong> {};

// Of both sides, and of the only one.
TEST_P(LastSideFaults, LoseNothingThatWasAcknowledgedAndReadNothingWrong) {
  const Wrong wrong = GetParam();
  for (uint64_t apart : {0, 4}) {
    EachIo(kMirror, 0, 13, wrong == Wrong::kLate, [&](uint64_t at, bool forever) {
      return std::vector<DeviceFault>{{0, wrong, at, forever, ErrorOf(at)},
                                      {1, wrong, at + apart, forever, ErrorOf(at + 1)}};
    });
    if (HasFailure()) return;
  }
  for (const Machine* machine : {&kStripe, &kMixed}) {
    EachIo(*machine, 0, 5, wrong == Wrong::kLate, [&](uint64_t at, bool forever) {
      return std::vector<DeviceFault>{{0, wrong, at, forever, ErrorOf(at)}};
    });
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(T8, LastSideFaults,
                         testing::Values(Wrong::kError, Wrong::kShort, Wrong::kLate, Wrong::kBad));

// Places that cannot be read, of data and of metadata, on a device alone and on one side of a
// mirror: the data on the first is what cannot be read, block by block, and nothing else.
TEST(BadPlaces, WithoutAMirrorExactlyTheirBlocksAreDamaged) {
  constexpr uint64_t kBlocks = 1024;
  PoolHost host;
  for (int i = 0; i < 3; ++i) host.AddMedium(64);
  ASSERT_EQ(host.Format({{0}, {1, 2}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  std::vector<uint64_t> head(kBlocks), frozen;
  const uint32_t v = host.Create("v", kBlocks);
  uint64_t value = 1;
  auto write = [&](uint64_t lba, uint64_t blocks) {
    ASSERT_EQ(host.Write(v, lba, value, blocks), Status::kOk);
    for (uint64_t i = 0; i < blocks; ++i) head[lba + i] = value++;
  };
  for (uint64_t lba = 0; lba < kBlocks; lba += 32) write(lba, 32);
  SnapshotRequest request;
  request.volume = v;
  request.name = "s";
  request.version = ++host.version;
  ASSERT_EQ(host.Control([&](DoneFn done, void* c) {
    host.pool->CreateSnapshots({&request, 1}, 0, done, c);
  }),
            Status::kOk);
  frozen = head;
  for (uint64_t lba = 5; lba + 9 < kBlocks; lba += 40) write(lba, 9);
  ASSERT_EQ(host.Close(), Status::kOk);

  std::set<uint64_t> lost;
  uint64_t healed = 0;
  for (size_t d : {0, 1}) {
    auto bad = std::make_shared<std::set<uint64_t>>();
    for (uint64_t block = 100; block < 16000; ++block) {
      if (block % 9 != d) continue;
      const uint64_t held = StampOf(host.media[d]->Block(block));
      bad->insert(block);
      if (held == 0 || held == ~0ull) continue;
      if (d == 0) lost.insert(held);
      healed += d == 1;
    }
    host.media[d]->fail = [bad](const IoRequest& r) {
      const auto it = bad->lower_bound(r.offset / kBlockBytes);
      const bool touched = it != bad->end() && *it < (r.offset + r.bytes) / kBlockBytes;
      return r.kind == IoKind::kRead && touched ? -EIO : 0;
    };
  }
  ASSERT_GT(lost.size(), 30u);
  ASSERT_GT(healed, 30u);
  ASSERT_EQ(host.OpenWith({0, 1, 2}), Status::kOk) << host.why;
  for (const bool snapshot : {false, true}) {
    const uint32_t volume = host.Handle("v");
    const std::vector<uint64_t>& holds = snapshot ? frozen : head;
    BlockBuffer buffer(64);
    for (uint64_t lba = 0; lba < kBlocks; lba += 64) {
      std::vector<BlockTag> tags(64);
      Op op;
      op.volume = snapshot ? host.pool->Snapshots(volume)[0].handle : volume;
      op.lba = lba;
      op.blocks = 64;
      op.data = buffer.data;
      op.tags = tags.data();
      const Status status = host.Run(&op);
      uint64_t first = ~0ull;
      for (uint64_t i = 0; i < 64; ++i) {
        const bool gone = lost.count(holds[lba + i]) != 0;
        if (gone) first = std::min(first, lba + i);
        EXPECT_EQ(tags[i].result == kTagDamaged, gone) << "block " << lba + i;
        EXPECT_EQ(StampOf(buffer.data + i * kBlockBytes), gone ? 0 : holds[lba + i]);
      }
      EXPECT_EQ(status, first == ~0ull ? Status::kOk : Status::kDamaged);
      if (first != ~0ull) {
        EXPECT_EQ(op.failed_lba, first);
      }
    }
  }
  EXPECT_EQ(host.pool->Stats().state, PoolState::kOpen);
  // A lost block is written anew, elsewhere; what the snapshot lost stays lost.
  const auto it =
      std::find_if(head.begin(), head.end(), [&](uint64_t held) { return lost.count(held) != 0; });
  const auto lba = static_cast<uint64_t>(it - head.begin());
  EXPECT_EQ(host.Write(host.Handle("v"), lba, 777777), Status::kOk);
  EXPECT_EQ(host.Read(host.Handle("v"), lba), 777777u);
}

// One side of a mirror takes its time with everything: hosts read from the other meanwhile.
TEST(SlowDevice, IsNotReadFromWhileTheOtherSideIsFree) {
  PoolHost host;
  for (int i = 0; i < 2; ++i) host.media.push_back(std::make_unique<FaultyFile>(16 * kMiB));
  ASSERT_EQ(host.Format({{0, 1}}), Status::kOk);
  ASSERT_EQ(host.OpenWith({0, 1}), Status::kOk);
  const uint32_t v = host.Create("v", 256);
  for (uint64_t lba = 0; lba < 256; lba += 32) {
    ASSERT_EQ(host.Write(v, lba, lba + 1, 32), Status::kOk);
  }
  auto& slow = static_cast<FaultyFile&>(*host.media[0]);
  slow.Arm({0, Wrong::kLate, 0, true});
  BlockBuffer buffer(256);
  std::vector<Op> ops(256);
  uint32_t ended = 0;
  for (uint64_t lba = 0; lba < 256; ++lba) {
    Op& op = ops[lba];
    op.volume = v;
    op.lba = lba;
    op.blocks = 1;
    op.data = buffer.data + lba * kBlockBytes;
    op.context = &ended;
    op.done = [](Op* o) { ++*static_cast<uint32_t*>(o->context); };
    host.pool->Submit(&op);
    for (int i = 0; i < 10; ++i) {
      host.pool->Kick();
      host.pool->Poll();
      static_cast<FaultyFile&>(*host.media[1]).WaitForOthers();
    }
  }
  // The one that found both idle went to it; all that came later did not.
  EXPECT_GE(ended, 255u);
  for (int i = 0; i < 1000 && ended < 256; ++i) host.Step();
  for (uint64_t lba = 0; lba < 256; ++lba) {
    EXPECT_EQ(ops[lba].status, Status::kOk);
    EXPECT_EQ(StampOf(ops[lba].data), lba + 1);
  }
}

}  // namespace
}  // namespace ashlar
