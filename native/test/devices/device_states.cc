// Crash states of pools of many devices (T7). Hosts write, take snapshots and clones, write to
// those too, promote them and roll volumes back, while an operator takes devices offline and back,
// attaches, replaces, detaches and adds some; all media are frozen at many instants, each with its
// own subset of what was not flushed, torn by sectors. Every state opens, holds what hosts were
// promised, checks clean; and once what was resilvering is in sync, any side of a mirror alone
// holds the same.
//
//   device_states --mutants [--mutant N] [--states N]: the test of this test;
//   native/engine/mutants.h device_states [--states N] [--seed S] [--operations N] [--jobs N]
//   [--device-calls PERCENT]
//                 [--label-cuts PERCENT] [--replay SEED:CUT:VARIANT]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "native/engine/crc32c.h"
#include "native/engine/label.h"
#include "native/engine/mutants.h"
#include "native/test/crash/judge.h"
#include "native/test/crash/shares.h"
#include "native/test/devices/recording_set.h"

namespace ashlar::crash {
namespace {

constexpr uint64_t kDeviceBytes = 12 << 20;
constexpr uint16_t kDevices = 6;
constexpr uint32_t kVolumeBlocks = 320;    // Of the largest.
constexpr uint64_t kLaterNumber = 0x1000;  // In the bytes of what is written after the crash.
constexpr uint64_t kLabelWindow = 80;      // In events: about as long as labels are under way.

struct Options {
  uint64_t states = 3000;
  uint64_t seed = 1;
  uint32_t operations = 250;
  uint32_t jobs = 2;
  uint32_t device_calls = 7;  // In a hundred operations.
  uint32_t label_cuts = 33;   // Of a hundred, while labels are under way.
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

// An operator at work on the devices, while hosts are at work on the volumes.
class Devices : public Machine {
 public:
  Devices(SetRecorder *recorder, std::vector<std::unique_ptr<SetFile>> *media, uint32_t percent)
      : recorder_(recorder), media_(media), percent_(percent) {}

  Status Open(const PoolOptions &options, std::unique_ptr<Pool> *pool, std::string *why) override {
    std::vector<uint16_t> used;
    return OpenAll(*media_, {0, 1, 2, 3, 4, 5}, options, pool, why, &used);
  }
  uint64_t Now() const override { return recorder_->events.size(); }
  void Wait() override {
    for (auto &medium : *media_) medium->Wait();
  }
  uint32_t percent() const override { return percent_; }

  bool DeviceCall(Pool &pool, Rng &rng, DoneFn done, void *context) override {
    const std::vector<DeviceInfo> devices = pool.Devices();
    const DeviceInfo &chosen = devices[Below(rng, devices.size())];
    std::vector<uint16_t> spare;
    for (uint16_t d = 0; d < kDevices; ++d) {
      if (!pool.HoldsFile((*media_)[d].get())) spare.push_back(d);
    }
    const uint64_t dice = Below(rng, 100);
    if (chosen.state != DeviceState::kInSync && chosen.state != DeviceState::kResilvering) {
      pool.OnlineDevice(chosen.id, {}, 0, done, context);
    } else if (dice < 35) {
      pool.OfflineDevice(chosen.id, done, context);
    } else if (dice < 45) {
      pool.DetachDevice(chosen.id, done, context);
    } else if (dice < 52) {
      pool.StartScrub(done, context);
    } else if (dice < 58) {
      pool.StartRebalance(done, context);
    } else if (!spare.empty()) {
      const uint16_t d = spare[Below(rng, spare.size())];
      DeviceFile file{(*media_)[d].get(), Name(d), {}};
      for (uint8_t &byte : file.id.bytes) byte = static_cast<uint8_t>(rng());
      if (dice < 65) {
        pool.AddVdev({file}, done, context);
      } else {
        pool.AttachDevice(chosen.id, file, dice < 85, done, context);
      }
    } else {
      return false;
    }
    return true;
  }

 private:
  SetRecorder *recorder_;
  std::vector<std::unique_ptr<SetFile>> *media_;
  uint32_t percent_;
};

// --- Judging ---

using Media = std::vector<std::unique_ptr<OverlayFile>>;
// Checksums of all blocks of all volumes and snapshots, by name.
using Bytes = std::map<std::string, std::vector<uint32_t>>;

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

// Hosts go on: what they are told is durable now must be there when a side is lost next.
std::string WriteMore(Pool &pool, Rng &rng, const Workload &workload) {
  Block block(1);
  const std::vector<VolumeInfo> volumes = pool.Volumes();
  for (uint64_t i = 0; i < 8 && !volumes.empty(); ++i) {
    const VolumeInfo &v = volumes[Below(rng, volumes.size())];
    if (v.deleting) continue;
    const uint64_t lba = Below(rng, v.size_blocks);
    FillBlock(kLaterNumber, lba, i + 1, block.data);
    Op op;
    op.kind = OpKind::kWrite;
    op.flags = kOpFua;
    op.volume = v.handle;
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

// Of everything, whoever wrote it: by name and place.
std::string ReadAll(Pool &pool, Bytes *bytes) {
  static Block buffer(64);
  auto read = [&](uint32_t handle, const std::string &name, uint64_t size) -> std::string {
    std::vector<uint32_t> &sums = (*bytes)[name];
    for (uint64_t lba = 0; lba < size; lba += 64) {
      Op op;
      op.kind = OpKind::kRead;
      op.volume = handle;
      op.lba = lba;
      op.blocks = std::min<uint64_t>(64, size - lba);
      op.data = buffer.data;
      if (RunOp(pool, &op) != Status::kOk) {
        return name + " block " + std::to_string(op.failed_lba) + " cannot be read";
      }
      for (uint64_t i = 0; i < op.blocks; ++i) {
        sums.push_back(Crc32c(buffer.data + i * kPage, kPage));
      }
    }
    return "";
  };
  for (const VolumeInfo &v : pool.Volumes()) {
    if (v.deleting) continue;
    if (std::string why = read(v.handle, v.name, v.size_blocks); !why.empty()) return why;
    for (const SnapshotInfo &s : pool.Snapshots(v.handle)) {
      if (s.deleting) continue;
      if (std::string why = read(s.handle, s.name, s.size_blocks); !why.empty()) return why;
    }
  }
  return "";
}

std::string Difference(const Bytes &values, const Bytes &again) {
  std::string why;
  for (const auto &[name, sums] : values) {
    const auto other = again.find(name);
    if (other == again.end()) {
      why += " " + name + " is gone";
      continue;
    }
    if (sums.size() != other->second.size()) why += " " + name + " has another size";
    for (uint64_t lba = 0; lba < std::min(sums.size(), other->second.size()); ++lba) {
      if (sums[lba] == other->second[lba]) continue;
      why += " " + name + " block " + std::to_string(lba);
      break;
    }
  }
  for (const auto &[name, sums] : again) {
    if (!values.contains(name)) why += " " + name + " is back";
  }
  return why;
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
  // While what was behind catches up, and once it has.
  for (const bool settled : {false, true}) {
    Contents contents;
    why = Judge(*pool, workload, cut, kind, &contents, settled);
    if (!why.empty()) return (settled ? "" : "at once: ") + why;
  }
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
  why = WriteMore(*pool, rng, workload);
  Bytes values;
  if (why.empty()) why = ReadAll(*pool, &values);
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
  Bytes again;
  if (OpenAll(media, half, options, &pool, &why, &used) != Status::kOk) {
    return "without some sides it does not open: " + why;
  }
  why = ReadAll(*pool, &again);
  if (!why.empty()) return "without some sides: " + why;
  if (again == values) return "";
  return "without some sides it holds something else:" + Difference(values, again);
}

class Explorer {
 public:
  explicit Explorer(const Options &options) : options_(options), zeros_(kDeviceBytes, 0) {}

  // What a state depends on besides its seed, cut and variant.
  std::string Mix() const {
    return " --operations " + std::to_string(options_.operations) + " --device-calls " +
           std::to_string(options_.device_calls) + " --label-cuts " +
           std::to_string(options_.label_cuts);
  }

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
    Devices machine(&recorder, &media, options_.device_calls);
    WorkloadOptions what;
    what.seed = seed;
    what.operations = options_.operations;
    what.max_blocks = kVolumeBlocks;
    Workload workload(&machine, what);
    if (const std::string wrong = workload.Run(); !wrong.empty()) {
      return Finding(seed, wrong);
    }
    Media durable;
    for (uint16_t d = 0; d < kDevices; ++d) {
      durable.push_back(std::make_unique<OverlayFile>(blank[d].get()));
    }
    // Many of them while labels are under way: these are rare, and say who is believed.
    std::vector<uint64_t> labels;
    for (uint64_t e = workload.base(); e < recorder.events.size(); ++e) {
      const SetEvent &event = recorder.events[e];
      if (event.kind != EventKind::kWriteSubmitted) continue;
      const SetWrite &write = recorder.writes[event.index];
      if (IsLabel(write.data)) labels.push_back(e + 1);
    }
    std::vector<uint64_t> cuts;
    for (uint64_t i = 0; i < states; ++i) {
      if (!labels.empty() && Below(rng, 100) < options_.label_cuts) {
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
      std::printf("replay: device_states --replay %llu:%llu:%llu%s\n",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cuts[i]),
                  static_cast<unsigned long long>(variant), Mix().c_str());
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

#ifdef ASHLAR_MUTANTS
// Until something is bad. Whether it was.
bool FindsSomething(const Options &options) {
  Explorer explorer(options);
  uint64_t judged = 0;
  for (uint64_t seed = options.seed; judged < options.states; ++seed) {
    const uint64_t count = explorer.Explore(seed, kStatesPerSeed);
    if (count == kNever) return true;
    judged += count;
  }
  return false;
}

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
      if (freopen("/dev/null", "w", stdout) == nullptr ||
          freopen("/dev/null", "w", stderr) == nullptr) {
        _exit(2);
      }
      _exit(FindsSomething(options) ? 1 : 0);
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
    } else if (flag == "--device-calls") {
      options.device_calls = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    } else if (flag == "--label-cuts") {
      options.label_cuts = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
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
  Explorer explorer(options);
  const SharesEnd end = RunShares(
      {options.states, options.seed, options.jobs, std::string(argv[0]) + explorer.Mix()},
      [&explorer](uint64_t seed, uint64_t) { return explorer.Explore(seed, kStatesPerSeed); });
  std::printf("%llu crash states of many devices judged in %.1f s, %s\n",
              static_cast<unsigned long long>(end.judged), end.seconds,
              end.good ? "none bad" : "some bad, or not all judged");
  return end.good ? 0 : 1;
}

}  // namespace
}  // namespace ashlar::crash

int main(int argc, char **argv) { return ashlar::crash::Main(argc, argv); }
