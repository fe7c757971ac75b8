// Crash states of pools of many devices (T7). A host writes while an operator
// takes devices offline and back, attaches, replaces, detaches and adds some;
// all media are frozen at many instants, each with its own subset of what was
// not flushed, torn by sectors. Snapshots and clones come and go meanwhile.
// Every state opens, holds what hosts were promised, checks clean; and once
// what was resilvering is in sync, any side of a mirror alone holds the same.
//
//   device_states --mutants [--states N]: the test of this test; see
//   native/engine/mutants.h device_states [--states N] [--seed S] [--operations
//   N] [--jobs N] [--replay SEED:CUT:VARIANT]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "native/engine/label.h"
#include "native/engine/mutants.h"
#include "native/test/crash/history.h"
#include "native/test/devices/recording_set.h"

namespace ashlar::crash {
namespace {

constexpr uint64_t kDeviceBytes = 12 << 20;
constexpr uint16_t kDevices = 6;
constexpr uint64_t kVolumeBlocks = 384;
constexpr uint64_t kLaterValues = 1 << 30;  // Of what is written after the crash.
constexpr uint64_t kLabelWindow = 80;       // In events: about as long as labels are under way.

struct Options {
  uint64_t states = 3000;
  uint64_t seed = 1;
  uint32_t operations = 250;
  uint32_t jobs = 2;
  uint64_t only_cut = kNever;
  uint64_t only_variant = kNever;
  uint8_t mutant = 0;  // Of those, this one alone. 0: all.
};

std::string Name(uint16_t device) { return "disk" + std::to_string(device); }

// What of a pool is on these media: those with a label, less those that the
// pool has let go of.
template <typename File>
Status OpenAll(std::vector<std::unique_ptr<File>> &media, const std::vector<uint16_t> &which,
               const PoolOptions &options, std::unique_ptr<Pool> *pool, std::string *why,
               std::vector<uint16_t> *used) {
  std::vector<uint16_t> devices;
  for (uint16_t d : which) {
    ProbeResult probe;
    if (Pool::Probe(*media[d], &probe) == Status::kOk) devices.push_back(d);
  }
  while (true) {
    std::vector<DeviceFile> files;
    for (uint16_t d : devices) files.push_back({media[d].get(), Name(d), {}});
    const Status status = Pool::Open(files, options, pool, why);
    *used = devices;
    if (status != Status::kForeign || devices.size() < 2) return status;
    const size_t before = devices.size();
    std::erase_if(devices, [&](uint16_t d) { return why->rfind(Name(d) + " ", 0) == 0; });
    if (devices.size() == before) return status;
  }
}

struct Block {
  explicit Block(uint64_t blocks)
      : data(static_cast<uint8_t *>(std::aligned_alloc(kPage, blocks * kPage))) {
    if (data == nullptr) std::abort();
  }
  ~Block() { std::free(data); }
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;
  uint8_t *data;
};

// --- The workload ---

struct HostOp {
  Op op;
  class Workload *workload = nullptr;
  std::unique_ptr<Block> data;
  std::vector<size_t> changes;
  uint64_t tick = 0;
};

// A snapshot of the volume, or a clone of one: what it holds never changes.
struct Frozen {
  std::string name;  // Of a clone: a volume's.
  Frozen *of = nullptr;
  uint32_t handle = 0;
  bool open = false;
  Register existence;
  std::vector<uint64_t> values;
  std::vector<size_t> changes;  // Of each block's register, that came before it.
};

class Workload {
 public:
  Workload(SetRecorder *recorder, std::vector<std::unique_ptr<SetFile>> *media, uint64_t seed)
      : recorder_(recorder), media_(media), rng_(seed), blocks_(kVolumeBlocks) {}

  std::string Run(uint32_t operations) {
    PoolOptions options;
    options.cache_bytes = 4 << 20;
    options.open_id.bytes[0] = 1;
    std::string why;
    std::vector<uint16_t> used;
    if (OpenAll(*media_, {0, 1, 2, 3, 4, 5}, options, &pool_, &why, &used) != Status::kOk) {
      return "the fresh pool does not open: " + why;
    }
    pool_->CreateVolume(Uuid{}, "v", kVolumeBlocks, &handle_, &Workload::OnControl, this);
    ++control_;
    Settle(0);
    base_ = Now();
    for (uint32_t i = 0; i < operations && error_.empty(); ++i) Step();
    Settle(0);
    return error_;
  }

  uint64_t base() const { return base_; }
  uint64_t ticks() const { return tick_; }
  const std::vector<Register> &blocks() const { return blocks_; }
  const std::vector<std::unique_ptr<Frozen>> &frozen() const { return frozen_; }

 private:
  struct Control {
    Workload *workload;
    Frozen *frozen;
    size_t change;
  };
  uint64_t Now() const { return recorder_->events.size(); }

  void Step() {
    const uint64_t dice = Below(rng_, 100);
    if (dice < 7) {
      if (control_ == 0) DeviceOp();
    } else if (dice < 11) {
      if (control_ == 0) FreezeOp();
    } else if (dice < 14) {
      Submit(OpKind::kFlush, 0, 0);
    } else {
      const uint64_t lba = Chance(rng_, 40) ? Below(rng_, 16) : Below(rng_, kVolumeBlocks);
      const uint64_t longest = Chance(rng_, 10) ? kMaxAtomicBlocks : 24;
      const uint64_t blocks = std::min(1 + Below(rng_, longest), kVolumeBlocks - lba);
      Submit(dice < 22 ? OpKind::kRead : dice < 30 ? OpKind::kUnmap : OpKind::kWrite, lba, blocks);
    }
    if (Chance(rng_, 50)) pool_->Kick();
    if (Chance(rng_, 60)) pool_->Poll();
    Settle(10);
    if (Chance(rng_, 2)) pool_->Checkpoint([](void *, Status) {}, nullptr);
  }

  void Settle(uint32_t limit) {
    uint32_t idle = 0;
    while (in_flight_ + control_ > limit && error_.empty()) {
      pool_->Kick();
      if (pool_->Poll() == 0) ++idle;
      if (idle > 10) {
        for (auto &medium : *media_) medium->Wait();
      }
      if (idle > 200000) error_ = "operations in flight that never end";
    }
  }

  void DeviceOp() {
    const std::vector<DeviceInfo> devices = pool_->Devices();
    const DeviceInfo &chosen = devices[Below(rng_, devices.size())];
    std::vector<uint16_t> spare;
    for (uint16_t d = 0; d < kDevices; ++d) {
      if (!pool_->HoldsFile((*media_)[d].get())) spare.push_back(d);
    }
    const uint64_t dice = Below(rng_, 100);
    ++control_;
    if (chosen.state != DeviceState::kInSync && chosen.state != DeviceState::kResilvering) {
      pool_->OnlineDevice(chosen.id, {}, 0, &Workload::OnControl, this);
    } else if (dice < 35) {
      pool_->OfflineDevice(chosen.id, &Workload::OnControl, this);
    } else if (dice < 45) {
      pool_->DetachDevice(chosen.id, &Workload::OnControl, this);
    } else if (dice < 52) {
      pool_->StartScrub(&Workload::OnControl, this);
    } else if (dice < 58) {
      pool_->StartRebalance(&Workload::OnControl, this);
    } else if (!spare.empty()) {
      const uint16_t d = spare[Below(rng_, spare.size())];
      DeviceFile file{(*media_)[d].get(), Name(d), {}};
      for (uint8_t &byte : file.id.bytes) byte = static_cast<uint8_t>(rng_());
      if (dice < 65) {
        pool_->AddVdev({file}, &Workload::OnControl, this);
      } else {
        pool_->AttachDevice(chosen.id, file, dice < 85, &Workload::OnControl, this);
      }
    } else {
      --control_;
    }
  }

  // A snapshot or a clone is made, or deleted.
  void FreezeOp() {
    std::vector<Frozen *> free;  // No clone stands on them.
    std::vector<Frozen *> snapshots;
    for (const auto &f : frozen_) {
      if (!f->open) continue;
      if (f->of == nullptr) snapshots.push_back(f.get());
      const bool held = std::any_of(frozen_.begin(), frozen_.end(), [&](const auto &other) {
        return other->open && other->of == f.get();
      });
      if (!held) free.push_back(f.get());
    }
    ++control_;
    const uint64_t dice = Below(rng_, 100);
    if (!free.empty() && (dice < 45 || snapshots.size() > 4)) {
      Frozen *f = free[Below(rng_, free.size())];
      f->open = false;
      auto *control = new Control{this, f, f->existence.Issue(0, Now())};
      if (f->of == nullptr) {
        pool_->DeleteSnapshot(f->handle, &Workload::OnFrozen, control);
      } else {
        pool_->DeleteVolume(f->handle, &Workload::OnFrozen, control, false);
      }
      return;
    }
    auto fresh = std::make_unique<Frozen>();
    Frozen *f = fresh.get();
    frozen_.push_back(std::move(fresh));
    f->name = "frozen-" + std::to_string(frozen_.size());
    auto *control = new Control{this, f, f->existence.Issue(1, Now())};
    if (!snapshots.empty() && dice < 60) {
      f->of = snapshots[Below(rng_, snapshots.size())];
      f->values = f->of->values;
      pool_->CloneSnapshot(f->of->handle, Uuid{}, f->name, &f->handle, &Workload::OnFrozen,
                           control);
      return;
    }
    for (const Register &reg : blocks_) {
      f->values.push_back(reg.Last(0));
      f->changes.push_back(reg.size());
    }
    SnapshotRequest request;
    request.volume = handle_;
    request.name = f->name;
    request.version = (uint64_t{1} << 40) | ++tick_;
    request.handle = &f->handle;
    pool_->CreateSnapshots({&request, 1}, 1, &Workload::OnFrozen, control);
  }

  static void OnFrozen(void *context, Status status) {
    std::unique_ptr<Control> control(static_cast<Control *>(context));
    Workload &self = *control->workload;
    --self.control_;
    Change &change = control->frozen->existence.change(control->change);
    if (status != Status::kOk) {
      self.error_ = control->frozen->name + " failed with status " +
                    std::to_string(static_cast<int>(status)) + " " + self.pool_->Stats().fault;
      return;
    }
    change.acked = change.durable = self.Now();
    control->frozen->open = change.value == 1;
  }

  void Submit(OpKind kind, uint64_t lba, uint64_t blocks) {
    auto host = std::make_unique<HostOp>();
    host->workload = this;
    host->tick = ++tick_;
    Op &op = host->op;
    op.kind = kind;
    op.volume = handle_;
    op.lba = lba;
    op.blocks = blocks;
    op.context = host.get();
    op.done = &Workload::OnDone;
    const bool change = kind == OpKind::kWrite || kind == OpKind::kUnmap;
    op.flags = change && Chance(rng_, 15) ? kOpFua : 0;
    if (kind == OpKind::kWrite && Chance(rng_, 25)) op.flags |= kOpAtomic;
    if (kind == OpKind::kWrite || kind == OpKind::kRead) {
      host->data = std::make_unique<Block>(blocks);
      op.data = host->data->data;
    }
    if (change) {
      const uint64_t value = kind == OpKind::kUnmap ? 0 : next_value_++;
      op.version = (uint64_t{1} << 40) | host->tick;
      for (uint64_t i = 0; i < blocks; ++i) {
        host->changes.push_back(blocks_[lba + i].Issue(value, Now()));
        if (kind == OpKind::kWrite) FillBlock(1, lba + i, value, op.data + i * kPage);
      }
    }
    ++in_flight_;
    pool_->Submit(&host.release()->op);
  }

  static void OnDone(Op *op) {
    std::unique_ptr<HostOp> host(static_cast<HostOp *>(op->context));
    Workload &self = *host->workload;
    --self.in_flight_;
    ++self.tick_;
    if (op->status != Status::kOk) {
      self.error_ = "an operation failed: status " + std::to_string(static_cast<int>(op->status)) +
                    " " + self.pool_->Stats().fault;
      return;
    }
    if (op->kind == OpKind::kFlush) {
      std::erase_if(self.acked_, [&](const Touched &t) {
        if (t.tick >= host->tick) return false;
        t.reg->change(t.change).durable = self.Now();
        return true;
      });
    }
    if (op->kind == OpKind::kRead) {
      for (uint64_t i = 0; i < op->blocks; ++i) {
        uint64_t value = 0;
        if (!ReadBlock(1, op->lba + i, op->data + i * kPage, &value) ||
            !self.blocks_[op->lba + i].AllowsRead(value, host->tick, 0)) {
          self.error_ = "a read returned what was not there: block " + std::to_string(op->lba + i);
        }
      }
    }
    for (size_t i = 0; i < host->changes.size(); ++i) {
      Register &reg = self.blocks_[op->lba + i];
      Change &change = reg.change(host->changes[i]);
      change.acked = self.Now();
      change.acked_tick = self.tick_;
      if ((op->flags & kOpFua) != 0) {
        change.durable = self.Now();
      } else {
        self.acked_.push_back({&reg, host->changes[i], self.tick_});
      }
    }
  }

  // A device call may be refused: the last side cannot leave, a smaller one
  // cannot join.
  static void OnControl(void *context, Status status) {
    auto *self = static_cast<Workload *>(context);
    --self->control_;
    if (status == Status::kIoError)
      self->error_ = "a device call failed: " + self->pool_->Stats().fault;
  }

  struct Touched {
    Register *reg;
    size_t change;
    uint64_t tick;
  };
  SetRecorder *recorder_;
  std::vector<std::unique_ptr<SetFile>> *media_;
  Rng rng_;
  std::unique_ptr<Pool> pool_;
  uint32_t handle_ = 0;
  std::vector<Register> blocks_;
  std::vector<std::unique_ptr<Frozen>> frozen_;  // By age.
  std::vector<Touched> acked_;
  uint64_t tick_ = 0;
  uint64_t next_value_ = 1;
  uint64_t base_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t control_ = 0;
  std::string error_;
};

// --- Judging ---

using Media = std::vector<std::unique_ptr<OverlayFile>>;

void Drain(Pool &pool) {
  for (int turn = 0; pool.WantsPoll() && turn < 200000; ++turn) {
    pool.Kick();
    pool.Poll();
  }
}

// To its end; one that has none is a finding too.
Status RunOp(Pool &pool, Op *op) {
  bool done = false;
  op->context = &done;
  op->done = [](Op *ended) { *static_cast<bool *>(ended->context) = true; };
  pool.Submit(op);
  for (int turn = 0; !done && turn < 10000; ++turn) {
    pool.Kick();
    pool.Poll();
  }
  if (!done) {
    std::fprintf(stderr, "an operation never ends\n");
    std::abort();  // It might yet, in a frame that is gone.
  }
  return op->status;
}

std::string ReadOne(Pool &pool, uint32_t handle, std::vector<uint64_t> *values) {
  static Block buffer(64);
  for (uint64_t lba = 0; lba < kVolumeBlocks; lba += 64) {
    Op op;
    op.kind = OpKind::kRead;
    op.volume = handle;
    op.lba = lba;
    op.blocks = 64;
    op.data = buffer.data;
    if (RunOp(pool, &op) != Status::kOk) {
      return "block " + std::to_string(op.failed_lba) + " cannot be read";
    }
    for (uint64_t i = 0; i < 64; ++i) {
      uint64_t value = 0;
      if (!ReadBlock(1, lba + i, buffer.data + i * kPage, &value)) {
        return "block " + std::to_string(lba + i) + " holds foreign bytes";
      }
      values->push_back(value);
    }
  }
  return "";
}

// All volumes and snapshots, by name.
using Contents = std::map<std::string, std::vector<uint64_t>>;

std::string ReadAll(Pool &pool, Contents *contents) {
  for (const VolumeInfo &v : pool.Volumes()) {
    if (v.deleting) continue;
    std::string why = ReadOne(pool, v.handle, &(*contents)[v.name]);
    if (!why.empty()) return v.name + ": " + why;
    for (const SnapshotInfo &s : pool.Snapshots(v.handle)) {
      if (s.deleting) continue;
      why = ReadOne(pool, s.handle, &(*contents)[s.name]);
      if (!why.empty()) return s.name + ": " + why;
    }
  }
  return "";
}

std::string JudgeContents(const Contents &contents, const Workload &workload, uint64_t cut,
                          CutKind kind) {
  const auto volume = contents.find("v");
  if (volume == contents.end()) return "the volume is gone";
  for (uint64_t lba = 0; lba < kVolumeBlocks; ++lba) {
    if (!workload.blocks()[lba].Allows(volume->second[lba], cut, kind, 0)) {
      return "block " + std::to_string(lba) + " holds value " + std::to_string(volume->second[lba]);
    }
  }
  size_t known = 1;
  for (const auto &f : workload.frozen()) {
    const auto found = contents.find(f->name);
    const bool there = found != contents.end();
    if (!f->existence.Allows(there ? 1 : 0, cut, kind, 0)) {
      return f->name + (there ? " is back" : " is gone");
    }
    if (!there) continue;
    ++known;
    // Reported, it is exactly what came before it (P1). Not reported, no more
    // than that.
    const bool promised = f->of != nullptr || f->existence.change(0).durable <= cut;
    for (uint64_t lba = 0; lba < kVolumeBlocks; ++lba) {
      const uint64_t value = found->second[lba];
      const bool right =
          promised ? value == f->values[lba]
                   : workload.blocks()[lba].Allows(value, cut, kind, 0, 0, f->changes[lba]);
      if (right) continue;
      return f->name + " block " + std::to_string(lba) + " holds value " + std::to_string(value) +
             ", not " + std::to_string(f->values[lba]);
    }
  }
  return known == contents.size() ? "" : "there is something that nobody made";
}

// Hosts go on: what they are told is durable now must be there when a side is lost next.
std::string WriteMore(Pool &pool, Rng &rng, const Workload &workload,
                      std::vector<uint64_t> *values) {
  uint32_t handle = 0;
  for (const VolumeInfo &v : pool.Volumes()) {
    if (v.name == "v") handle = v.handle;
  }
  Block block(1);
  for (uint64_t i = 0; i < 8; ++i) {
    const uint64_t lba = Below(rng, kVolumeBlocks);
    (*values)[lba] = kLaterValues + i;
    FillBlock(1, lba, (*values)[lba], block.data);
    Op op;
    op.kind = OpKind::kWrite;
    op.flags = kOpFua;
    op.volume = handle;
    op.lba = lba;
    op.blocks = 1;
    op.data = block.data;
    op.version = (uint64_t{2} << 40) | (workload.ticks() + i + 1);
    if (Status status = RunOp(pool, &op); status != Status::kOk) {
      return "a write after the crash fails: status " + std::to_string(static_cast<int>(status));
    }
  }
  return "";
}

std::string JudgeState(Media &media, Rng &rng, const Workload &workload, uint64_t cut,
                       CutKind kind) {
  PoolOptions options;
  options.cache_bytes = 4 << 20;
  for (uint8_t &byte : options.open_id.bytes) byte = static_cast<uint8_t>(rng());
  options.prefer_older_superblock = Chance(rng, 20);
  std::unique_ptr<Pool> pool;
  std::string why;
  std::vector<uint16_t> all = {0, 1, 2, 3, 4, 5};
  std::vector<uint16_t> used;
  const Status status = OpenAll(media, all, options, &pool, &why, &used);
  if (status != Status::kOk) {
    return "does not open: status " + std::to_string(static_cast<int>(status)) + " " + why;
  }
  if (pool->Stats().log_damaged) return "an honest crash is taken for a damaged log";
  // A crash tears nothing that was flushed, and replay puts the rest on all sides: after it no side
  // in sync has a bad block, not even one that another side heals.
  const uint64_t bad_before = pool->Stats().checksum_errors;
  Contents values;
  why = ReadAll(*pool, &values);
  if (why.empty()) why = JudgeContents(values, workload, cut, kind);
  if (!why.empty()) return why;
  // Whatever was behind catches up; then the sides are alike.
  Drain(*pool);
  if (pool->Stats().state != PoolState::kOpen) return "faulted: " + pool->Stats().fault;
  if (pool->Stats().checksum_errors != bad_before) return "a side in sync lacks what was flushed";
  std::vector<DeviceInfo> devices = pool->Devices();
  for (const DeviceInfo &d : devices) {
    if (d.state == DeviceState::kResilvering) return d.path + " does not get in sync";
  }
  for (const WalkKind walk : {WalkKind::kResilver, WalkKind::kScrub}) {
    if (pool->WalkInfo(walk).damaged_blocks > 0) return "a walk finds damage";
  }
  why = WriteMore(*pool, rng, workload, &values["v"]);
  if (!why.empty()) return why;
  pool.reset();  // As a kill.
  std::vector<DeviceFile> files;
  std::vector<uint16_t> left;
  for (uint16_t d : used) {
    ProbeResult probe;
    if (Pool::Probe(*media[d], &probe) != Status::kOk) continue;
    const bool member = std::any_of(devices.begin(), devices.end(),
                                    [&](const DeviceInfo &i) { return i.id == probe.device_id; });
    if (!member) continue;
    files.push_back({media[d].get(), Name(d), {}});
    left.push_back(d);
  }
  CheckReport report;
  const Status checked = Pool::Check(files, true, &report, &why);
  if (checked != Status::kOk) return "cannot be checked: " + why;
  if (!report.clean) return "the check finds: " + report.findings[0];
  // Without one side of each mirror.
  std::vector<uint16_t> half;
  for (uint16_t d : left) {
    ProbeResult probe;
    if (Pool::Probe(*media[d], &probe) != Status::kOk) continue;
    for (DeviceInfo &info : devices) {
      if (!(info.id == probe.device_id)) continue;
      uint32_t sides = 0;
      for (const DeviceInfo &other : devices) {
        sides += other.vdev == info.vdev && other.state == DeviceState::kInSync;
      }
      if (info.state == DeviceState::kInSync && sides > 1 && Chance(rng, 50)) {
        info.state = DeviceState::kMissing;
      } else {
        half.push_back(d);
      }
    }
  }
  // With the newest superblock lost as well: a side is in sync once both generations say so.
  options.prefer_older_superblock = Chance(rng, 30);
  Contents again;
  if (OpenAll(media, half, options, &pool, &why, &used) != Status::kOk) {
    return "without some sides it does not open: " + why;
  }
  why = ReadAll(*pool, &again);
  if (!why.empty()) return "without some sides: " + why;
  if (again == values) return "";
  why = "without some sides it holds something else:";
  for (const auto &[name, blocks] : values) {
    const auto other = again.find(name);
    if (other == again.end()) {
      why += " " + name + " is gone";
      continue;
    }
    for (uint64_t lba = 0; lba < kVolumeBlocks; ++lba) {
      if (blocks[lba] == other->second[lba]) continue;
      why += " " + name + " block " + std::to_string(lba) + ": " + std::to_string(blocks[lba]) +
             ", then " + std::to_string(other->second[lba]) + ";";
      break;
    }
  }
  for (const auto &[name, blocks] : again) {
    if (!values.contains(name)) why += " " + name + " is back";
  }
  return why;
}

class Explorer {
 public:
  explicit Explorer(const Options &options) : options_(options), zeros_(kDeviceBytes, 0) {}

  uint64_t Explore(uint64_t seed, uint64_t states) {
    Rng rng(seed);
    Media blank;
    for (uint16_t d = 0; d < kDevices; ++d) {
      blank.push_back(std::make_unique<OverlayFile>(zeros_.data(), kDeviceBytes));
    }
    const std::vector<std::vector<std::vector<uint16_t>>> layouts = {
        {{0, 1}}, {{0, 1}, {2, 3}}, {{0}}, {{0}, {1, 2}}, {{0, 1, 2}}};
    PoolLayout layout;
    for (const auto &vdev : layouts[seed % layouts.size()]) {
      layout.data.emplace_back();
      for (uint16_t d : vdev) layout.data.back().push_back({blank[d].get(), Name(d), {}});
    }
    FormatOptions format;
    format.name = "crash";
    format.log_bytes = 256 << 10;
    for (uint8_t &byte : format.store_id.bytes) byte = static_cast<uint8_t>(rng());
    if (Pool::Format(layout, format) != Status::kOk) return Finding(seed, "format failed");
    SetRecorder recorder;
    std::vector<std::unique_ptr<SetFile>> media;
    for (uint16_t d = 0; d < kDevices; ++d) {
      media.push_back(
          std::make_unique<SetFile>(&recorder, d, blank[d].get(), rng(), seed % 3 == 0));
    }
    Workload workload(&recorder, &media, seed);
    if (const std::string wrong = workload.Run(options_.operations); !wrong.empty()) {
      return Finding(seed, wrong);
    }
    Media durable;
    for (uint16_t d = 0; d < kDevices; ++d) {
      durable.push_back(std::make_unique<OverlayFile>(blank[d].get()));
    }
    // A third of them while labels are under way: these are rare, and say who is believed.
    std::vector<uint64_t> labels;
    for (uint64_t e = workload.base(); e < recorder.events.size(); ++e) {
      const SetEvent &event = recorder.events[e];
      if (event.kind != EventKind::kWriteSubmitted) continue;
      const SetWrite &write = recorder.writes[event.index];
      if (IsLabel(write.data)) labels.push_back(e + 1);
    }
    std::vector<uint64_t> cuts;
    for (uint64_t i = 0; i < states; ++i) {
      if (!labels.empty() && i % 3 == 0) {
        const uint64_t cut = labels[Below(rng, labels.size())] + Below(rng, kLabelWindow);
        cuts.push_back(std::min<uint64_t>(cut, recorder.events.size()));
      } else {
        cuts.push_back(workload.base() + Below(rng, recorder.events.size() - workload.base() + 1));
      }
    }
    std::sort(cuts.begin(), cuts.end());
    uint64_t at = 0;
    std::vector<std::vector<uint32_t>> completed(kDevices), in_flight(kDevices), covered(kDevices);
    for (uint64_t i = 0; i < cuts.size(); ++i) {
      for (; at < cuts[i]; ++at) {
        const SetEvent &e = recorder.events[at];
        auto &done = completed[e.device];
        if (e.kind == EventKind::kWriteSubmitted) in_flight[e.device].push_back(e.index);
        if (e.kind == EventKind::kWriteCompleted) {
          std::erase(in_flight[e.device], e.index);
          done.insert(std::upper_bound(done.begin(), done.end(), e.index), e.index);
        }
        if (e.kind == EventKind::kFlushSubmitted) covered[e.device] = done;
        if (e.kind == EventKind::kFlushCompleted) {
          for (uint32_t index : covered[e.device]) {
            const SetWrite &w = recorder.writes[index];
            durable[e.device]->Put(w.offset, w.data.data(), w.data.size());
            std::erase(done, index);
          }
          covered[e.device].clear();
        }
      }
      const uint64_t variant = Below(rng, 64);
      if (options_.only_cut != kNever &&
          (options_.only_cut != cuts[i] || options_.only_variant != variant)) {
        continue;
      }
      Rng chance(seed * 1000003 + cuts[i] * 8191 + variant);
      const CutKind kind = variant % 3 == 2 ? CutKind::kKill : CutKind::kPower;
      Media state;
      for (uint16_t d = 0; d < kDevices; ++d) {
        state.push_back(std::make_unique<OverlayFile>(durable[d].get()));
        std::vector<uint32_t> rest = completed[d];
        rest.insert(rest.end(), in_flight[d].begin(), in_flight[d].end());
        std::sort(rest.begin(), rest.end());
        // Each device by its own luck: nothing, all, or some, torn.
        const uint64_t luck = Below(chance, 4);
        for (uint32_t index : rest) {
          const SetWrite &w = recorder.writes[index];
          const bool done = std::binary_search(completed[d].begin(), completed[d].end(), index);
          if ((kind == CutKind::kKill && done) || luck == 1) {
            state[d]->Put(w.offset, w.data.data(), w.data.size());
          } else if (luck > 1 && Chance(chance, 50)) {
            const bool torn = Chance(chance, 25);
            for (size_t s = 0; s < w.data.size(); s += kSector) {
              if (!torn || Chance(chance, 50)) {
                state[d]->Put(w.offset + s, w.data.data() + s, kSector);
              }
            }
          }
        }
      }
      const std::string why = JudgeState(state, chance, workload, cuts[i], kind);
      if (why.empty()) continue;
      std::printf("seed %llu, cut %llu of %zu, variant %llu (%s): %s\n",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cuts[i]),
                  recorder.events.size(), static_cast<unsigned long long>(variant),
                  kind == CutKind::kKill ? "kill" : "power cut", why.c_str());
      std::printf("replay: device_states --replay %llu:%llu:%llu --operations %u\n",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cuts[i]),
                  static_cast<unsigned long long>(variant), options_.operations);
      return kNever;
    }
    return cuts.size();
  }

 private:
  uint64_t Finding(uint64_t seed, const std::string &why) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), why.c_str());
    return kNever;
  }
  Options options_;
  std::vector<uint8_t> zeros_;
};

constexpr uint64_t kStatesPerSeed = 100;

int RunShare(const Options &options, uint64_t first, uint64_t states, int report) {
  Explorer explorer(options);
  uint64_t judged = 0;
  for (uint64_t seed = first; judged < states; seed += options.jobs) {
    const uint64_t count = explorer.Explore(seed, kStatesPerSeed);
    if (count == kNever) return 1;
    judged += count;
  }
  return write(report, &judged, sizeof judged) == sizeof judged ? 0 : 1;
}

#ifdef ASHLAR_MUTANTS
// With each fault of the engine switched on some state must be bad.
int RunMutants(const Options &options) {
  bool missed = false;
  for (uint8_t i = 1; i <= kDeviceMutants; ++i) {
    const uint8_t mutant = kMutants + i;
    if (options.mutant != 0 && options.mutant != mutant) continue;
    std::fflush(stdout);
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      g_mutant = static_cast<Mutant>(mutant);
      Options alone = options;
      alone.jobs = 1;
      int ends[2];
      if (freopen("/dev/null", "w", stdout) == nullptr ||
          freopen("/dev/null", "w", stderr) == nullptr || pipe(ends) != 0) {
        _exit(2);
      }
      _exit(RunShare(alone, options.seed, options.states, ends[1]));
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0) return 1;
    const bool survived = WIFEXITED(status) && WEXITSTATUS(status) != 1;
    missed |= survived;
    std::printf("mutant %u %s\n", mutant, survived ? "NOT CAUGHT" : "caught");
  }
  return missed ? 1 : 0;
}
#endif

int Main(int argc, char **argv) {
  Options options;
  bool mutants = false;
  if (argc > 1 && std::string(argv[1]) == "--mutants") {
    mutants = true;
    --argc;
    ++argv;
  }
  for (int at = 1; at + 1 < argc; at += 2) {
    const std::string flag = argv[at];
    const char *value = argv[at + 1];
    if (flag == "--states") {
      options.states = std::strtoull(value, nullptr, 10);
    } else if (flag == "--seed") {
      options.seed = std::strtoull(value, nullptr, 10);
    } else if (flag == "--operations") {
      options.operations = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (flag == "--mutant") {
      options.mutant = static_cast<uint8_t>(std::strtoul(value, nullptr, 10));
    } else if (flag == "--jobs") {
      options.jobs = std::max(1u, static_cast<uint32_t>(std::strtoul(value, nullptr, 10)));
    } else if (flag == "--replay") {
      unsigned long long seed = 0, cut = 0, variant = 0;
      if (std::sscanf(value, "%llu:%llu:%llu", &seed, &cut, &variant) != 3) return 2;
      options.seed = seed;
      options.only_cut = cut;
      options.only_variant = variant;
    } else {
      std::fprintf(stderr, "unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  if (mutants) {
#ifdef ASHLAR_MUTANTS
    return RunMutants(options);
#else
    std::fprintf(stderr, "built without mutants: cmake -DASHLAR_MUTANTS=ON\n");
    return 2;
#endif
  }
  if (options.only_cut != kNever) {
    return Explorer(options).Explore(options.seed, kStatesPerSeed) == kNever ? 1 : 0;
  }
  const auto begin = std::chrono::steady_clock::now();
  int ends[2];
  if (pipe(ends) != 0) return 1;
  for (uint32_t job = 0; job < options.jobs; ++job) {
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      close(ends[0]);
      const uint64_t share = (options.states + options.jobs - 1) / options.jobs;
      const int code = RunShare(options, options.seed + job, share, ends[1]);
      std::fflush(stdout);
      _exit(code);
    }
  }
  close(ends[1]);
  bool bad = false;
  for (uint32_t job = 0; job < options.jobs; ++job) {
    int status = 0;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) bad = true;
  }
  uint64_t total = 0, judged = 0;
  while (read(ends[0], &judged, sizeof judged) == sizeof judged) total += judged;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu crash states of many devices judged in %.1f s, %s\n",
              static_cast<unsigned long long>(total), seconds, bad ? "some bad" : "none bad");
  return bad ? 1 : 0;
}

}  // namespace
}  // namespace ashlar::crash

int main(int argc, char **argv) { return ashlar::crash::Main(argc, argv); }
