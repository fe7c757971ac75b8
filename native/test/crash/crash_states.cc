// Crash states of the engine (T7). For each seeded workload, the medium is frozen at many instants;
// what had been flushed is there, of the rest a chosen subset, torn by sectors. Each state is
// opened and judged: it opens, every value is one that the history allows, the counters are exact,
// an offline check is clean, opening again changes nothing, the older superblock leads to the same,
// and a second crash inside recovery is survived too.
//
//   crash_states [--states N] [--seed S] [--operations N] [--jobs N] [--replay SEED:CUT:VARIANT]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "native/test/crash/recording_file.h"
#include "native/test/crash/workload.h"

namespace ashlar::crash {
namespace {

constexpr uint64_t kMediumBytes = 32 << 20;
constexpr uint64_t kLogBytes = 256
                               << 10;  // 64 blocks, the least: the ring wraps within a workload.

struct Options {
  uint64_t states = 20000;
  uint64_t seed = 1;
  uint32_t operations = 300;
  uint32_t jobs = 2;
  uint64_t only_cut = kNever;
  uint64_t only_variant = kNever;
  bool lose_flushes = false;
};

struct AlignedBuffer {
  explicit AlignedBuffer(uint64_t bytes)
      : data(static_cast<uint8_t*>(std::aligned_alloc(kPage, bytes))) {
    if (data == nullptr) std::abort();
  }
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  uint8_t* data;
};

// What a reopened pool holds, for comparing one opening with another.
struct Contents {
  std::vector<uint64_t> values;
  friend bool operator==(const Contents&, const Contents&) = default;
};

void DrainBackground(Pool& pool) {
  for (int turn = 0; pool.WantsPoll() && turn < 100000; turn += 1) {
    pool.Kick();
    pool.Poll();
  }
}

std::string ReadBlocks(Pool& pool, uint32_t handle, uint64_t lba, uint64_t blocks, uint8_t* data) {
  Op op;
  op.kind = OpKind::kRead;
  op.volume = handle;
  op.lba = lba;
  op.blocks = blocks;
  op.data = data;
  bool done = false;
  op.context = &done;
  op.done = [](Op* ended) { *static_cast<bool*>(ended->context) = true; };
  pool.Submit(&op);
  for (int turn = 0; !done && turn < 1000; turn += 1) {
    pool.Kick();
    pool.Poll();
  }
  if (!done) return "a read never ends";
  if (op.status != Status::kOk) return "block " + std::to_string(op.failed_lba) + " cannot be read";
  return "";
}

// An atomic write that shows anywhere shows everywhere, but where something later has come over it.
std::string JudgeAtomicWrites(const VolumeHistory& volume, const std::vector<uint64_t>& values,
                              uint64_t cut) {
  for (const AtomicWrite& write : volume.atomic_writes) {
    if (write.issued > cut) break;
    size_t shown = 0;
    size_t missing = 0;
    for (size_t at = 0; at < write.changes.size(); at += 1) {
      const uint64_t lba = write.lba + at;
      const uint64_t value = lba < values.size() ? values[lba] : 0;
      if (value == write.value)
        shown += 1;
      else if (!volume.blocks[lba].HasLater(write.changes[at], value))
        missing += 1;
    }
    if (shown > 0 && missing > 0) {
      return "the atomic write of value " + std::to_string(write.value) + " at block " +
             std::to_string(write.lba) + " is torn: " + std::to_string(shown) + " blocks of it, " +
             std::to_string(missing) + " from before";
    }
  }
  return "";
}

// Reads everything and judges it by the history. `contents` gets what was found.
std::string Judge(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                  Contents* contents) {
  static AlignedBuffer buffer(64 * kBlockBytes);
  DrainBackground(pool);
  uint64_t mapped_total = 0;
  size_t known = 0;
  const std::vector<VolumeInfo> found = pool.Volumes();
  for (const auto& volume : workload.volumes()) {
    const VolumeInfo* info = nullptr;
    for (const VolumeInfo& each : found) {
      if (each.name == volume->name && !each.deleting) info = &each;
    }
    if (!volume->existence.Allows(info == nullptr ? 0 : 1, cut, kind, 0)) {
      return volume->name + (info == nullptr ? " is gone" : " is back");
    }
    contents->values.push_back(info == nullptr ? kNever : info->size_blocks);
    if (info == nullptr) continue;
    known += 1;
    if (!(info->id == volume->id)) return volume->name + " has another id";
    if (!volume->size.Allows(info->size_blocks, cut, kind, 0))
      return volume->name + " has size " + std::to_string(info->size_blocks);
    // T7: contig is at least what the last flush covered; and what it says is true, below.
    uint64_t least = 0;
    for (const ContigMark& mark : volume->contig_marks) {
      if (mark.at <= cut) least = kind == CutKind::kKill ? mark.applied : mark.durable;
    }
    if (info->contig < least) {
      return volume->name + " has contig " + std::to_string(info->contig) + ", had " +
             std::to_string(least);
    }
    contents->values.push_back(info->contig);
    uint64_t mapped = 0;
    std::vector<uint64_t> values;
    for (uint64_t lba = 0; lba < info->size_blocks; lba += 64) {
      const uint64_t blocks = std::min<uint64_t>(64, info->size_blocks - lba);
      const std::string why = ReadBlocks(pool, info->handle, lba, blocks, buffer.data);
      if (!why.empty()) return volume->name + ": " + why;
      for (uint64_t at = 0; at < blocks; at += 1) {
        uint64_t value = 0;
        const std::string place = volume->name + " block " + std::to_string(lba + at);
        if (!ReadBlock(volume->id.bytes[0], lba + at, buffer.data + at * kBlockBytes, &value))
          return place + " holds foreign bytes";
        if (!volume->blocks[lba + at].Allows(value, cut, kind, 0, info->contig))
          return place + " holds value " + std::to_string(value);
        mapped += value == 0 ? 0 : 1;
        contents->values.push_back(value);
        values.push_back(value);
      }
    }
    const std::string torn = JudgeAtomicWrites(*volume, values, cut);
    if (!torn.empty()) return volume->name + ": " + torn;
    if (mapped != info->mapped_blocks) {
      return volume->name + " counts " + std::to_string(info->mapped_blocks) +
             " mapped blocks, has " + std::to_string(mapped);
    }
    mapped_total += mapped;
    for (const auto& [key, reg] : volume->blobs) {
      std::vector<uint8_t> bytes;
      uint64_t value = 0;
      if (pool.GetBlob(info->handle, key, &bytes) && bytes.size() >= 8)
        std::memcpy(&value, bytes.data(), 8);
      if (!reg.Allows(value, cut, kind, 0))
        return volume->name + " " + key + " holds value " + std::to_string(value);
      for (size_t at = 8; at < bytes.size(); at += 1) {
        if (bytes[at] != static_cast<uint8_t>(value)) return volume->name + " " + key + " is torn";
      }
      contents->values.push_back(value);
    }
  }
  size_t alive = 0;
  for (const VolumeInfo& each : found) alive += each.deleting ? 0 : 1;
  if (alive != known) return "there are volumes that nobody made";
  const PoolStats stats = pool.Stats();
  if (stats.data_blocks != mapped_total) {
    return "the pool counts " + std::to_string(stats.data_blocks) +
           " data blocks, its volumes have " + std::to_string(mapped_total);
  }
  if (stats.state != PoolState::kOpen) return "the pool is faulted: " + stats.fault;
  return "";
}

std::string OpenAndJudge(BlockFile& medium, Rng& rng, bool older, const Workload& workload,
                         uint64_t cut, CutKind kind, Contents* contents) {
  PoolOptions options;
  options.cache_bytes = 4 << 20;
  options.prefer_older_superblock = older;
  for (uint8_t& byte : options.open_id.bytes) byte = static_cast<uint8_t>(rng());
  std::unique_ptr<Pool> pool;
  std::string why;
  const Status status = Pool::Open(medium, options, &pool, &why);
  if (status != Status::kOk)
    return "does not open: status " + std::to_string(static_cast<int>(status)) + " " + why;
  if (pool->Stats().log_damaged) return "an honest crash is taken for a damaged log";
  return Judge(*pool, workload, cut, kind, contents);
}

std::string CheckClean(OverlayFile& medium) {
  CheckReport report;
  const Status status = Pool::Check(medium, true, &report);
  if (status == Status::kOk && report.clean) return "";
  return "the check finds: " + (report.findings.empty()
                                    ? "status " + std::to_string(static_cast<int>(status))
                                    : report.findings[0]);
}

// Everything that is asked of one crash state.
std::string JudgeState(const OverlayFile& state, Rng& rng, const Workload& workload, uint64_t cut,
                       CutKind kind) {
  OverlayFile medium(&state);
  Contents contents;
  std::string why = OpenAndJudge(medium, rng, false, workload, cut, kind, &contents);
  if (!why.empty()) return why;
  why = CheckClean(medium);
  if (!why.empty()) return why;
  const uint64_t dice = Below(rng, 8);
  if (dice < 4) {  // Opening again changes nothing.
    Contents again;
    why = OpenAndJudge(medium, rng, false, workload, cut, kind, &again);
    if (!why.empty()) return "opened again: " + why;
    if (!(again == contents)) return "opened again it holds something else";
  }
  if (dice < 6) {  // The older superblock leads to the same (S3).
    OverlayFile other(&state);
    Contents older;
    why = OpenAndJudge(other, rng, true, workload, cut, kind, &older);
    if (!why.empty()) return "from the older superblock: " + why;
    if (!(older == contents)) return "from the older superblock it holds something else";
    why = CheckClean(other);
    if (!why.empty()) return "from the older superblock: " + why;
  }
  if (dice >= 6) {  // A second crash, inside recovery.
    RecordingFile recording(&state, rng());
    PoolOptions options;
    options.cache_bytes = 4 << 20;
    std::unique_ptr<Pool> pool;
    std::string text;
    if (Pool::Open(recording, options, &pool, &text) != Status::kOk)
      return "does not open when writes complete late: " + text;
    pool.reset();
    const auto& events = recording.events();
    const uint64_t stop = Below(rng, events.size() + 1);
    OverlayFile second(&state);
    std::vector<char> completed(recording.writes().size(), 0);
    std::vector<char> submitted(recording.writes().size(), 0);
    std::vector<char> flushed(recording.writes().size(), 0);
    std::vector<char> covered;
    for (uint64_t at = 0; at < stop; at += 1) {
      const Event& event = events[at];
      if (event.kind == EventKind::kWriteSubmitted) submitted[event.index] = 1;
      if (event.kind == EventKind::kWriteCompleted) completed[event.index] = 1;
      if (event.kind == EventKind::kFlushSubmitted) covered = completed;
      if (event.kind == EventKind::kFlushCompleted) flushed = covered;
    }
    for (size_t write = 0; write < submitted.size(); write += 1) {
      const bool there = flushed[write] || (kind == CutKind::kKill && completed[write]);
      if (submitted[write] && (there || Chance(rng, 50))) {
        const RecordedWrite& recorded = recording.writes()[write];
        second.Put(recorded.offset, recorded.data.data(), recorded.data.size());
      }
    }
    Contents after;
    why = OpenAndJudge(second, rng, false, workload, cut, kind, &after);
    if (!why.empty()) return "after a crash inside recovery: " + why;
    why = CheckClean(second);
    if (!why.empty()) return "after a crash inside recovery: " + why;
  }
  return "";
}

class Explorer {
 public:
  explicit Explorer(const Options& options) : options_(options) {}

  // Explores `states` crash states of the workload `seed`. Returns how many it judged; kNever after
  // a finding, which is printed.
  uint64_t Explore(uint64_t seed, uint64_t states);

 private:
  std::string JudgeVariant(uint64_t cut, uint64_t variant, const Workload& workload);
  void Advance(uint64_t cut);

  Options options_;
  uint64_t seed_ = 0;
  std::vector<uint8_t> durable_;  // The medium as of position_, flushed writes only.
  uint64_t position_ = 0;
  const std::vector<Event>* events_ = nullptr;
  const std::vector<RecordedWrite>* writes_ = nullptr;
  std::vector<uint32_t> completed_;  // Not flushed, in order of submission.
  std::vector<uint32_t> in_flight_;
  std::vector<uint32_t> covered_;  // Completed when the flush under way was submitted.
};

void Explorer::Advance(uint64_t cut) {
  for (; position_ < cut; position_ += 1) {
    const Event& event = (*events_)[position_];
    switch (event.kind) {
      case EventKind::kWriteSubmitted:
        in_flight_.push_back(event.index);
        break;
      case EventKind::kWriteCompleted:
        std::erase(in_flight_, event.index);
        completed_.insert(std::upper_bound(completed_.begin(), completed_.end(), event.index),
                          event.index);
        break;
      case EventKind::kFlushSubmitted:
        covered_ = completed_;
        break;
      case EventKind::kFlushCompleted:
        for (const uint32_t index : covered_) {
          const RecordedWrite& write = (*writes_)[index];
          std::memcpy(durable_.data() + write.offset, write.data.data(), write.data.size());
          std::erase(completed_, index);
        }
        covered_.clear();
        break;
    }
  }
}

// Variants: 0 nothing of the rest, 1 all of it, 2 only the completed (a kill), then seeded subsets.
std::string Explorer::JudgeVariant(uint64_t cut, uint64_t variant, const Workload& workload) {
  Rng rng(seed_ * 1000003 + cut * 8191 + variant);
  OverlayFile state(durable_.data(), durable_.size());
  const CutKind kind = variant % 3 == 2 ? CutKind::kKill : CutKind::kPower;
  std::vector<uint32_t> rest = completed_;
  rest.insert(rest.end(), in_flight_.begin(), in_flight_.end());
  std::sort(rest.begin(), rest.end());
  const uint64_t shape = Below(rng, 4);
  const size_t single = rest.empty() ? 0 : Below(rng, rest.size());
  const uint32_t percent = static_cast<uint32_t>(5 + Below(rng, 90));
  for (size_t at = 0; at < rest.size(); at += 1) {
    const RecordedWrite& write = (*writes_)[rest[at]];
    const bool done = std::binary_search(completed_.begin(), completed_.end(), rest[at]);
    bool there = false;
    bool torn = false;
    if (kind == CutKind::kKill && done) {
      there = true;
    } else if (variant == 1) {
      there = true;
    } else if (variant > 1) {
      if (shape == 0)
        there = at != single;  // A single loss.
      else if (shape == 1)
        there = at == single;  // A single survivor.
      else
        there = Chance(rng, percent);
      torn = !(shape < 2) && Chance(rng, 25);
    }
    if (torn) {
      for (size_t sector = 0; sector < write.data.size(); sector += kSector) {
        if (Chance(rng, 50)) state.Put(write.offset + sector, write.data.data() + sector, kSector);
      }
    } else if (there) {
      state.Put(write.offset, write.data.data(), write.data.size());
    }
  }
  return JudgeState(state, rng, workload, cut, kind);
}

uint64_t Explorer::Explore(uint64_t seed, uint64_t states) {
  seed_ = seed;
  const std::vector<uint8_t> zeros(kMediumBytes, 0);
  OverlayFile blank(zeros.data(), zeros.size());
  FormatOptions format;
  format.name = "crash";
  format.log_bytes = kLogBytes;
  Rng rng(seed);
  for (uint8_t& byte : format.store_id.bytes) byte = static_cast<uint8_t>(rng());
  if (Pool::Format(blank, format) != Status::kOk) {
    std::printf("seed %llu: format failed\n", static_cast<unsigned long long>(seed));
    return kNever;
  }
  RecordingFile file(&blank, seed);
  file.set_lose_flushes(options_.lose_flushes);
  WorkloadOptions workload_options;
  workload_options.seed = seed;
  workload_options.operations = options_.operations;
  Workload workload(&file, workload_options);
  const std::string wrong = workload.Run();
  if (!wrong.empty()) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
    return kNever;
  }
  durable_.resize(kMediumBytes);
  blank.Get(0, durable_.data(), durable_.size());
  position_ = 0;
  events_ = &file.events();
  writes_ = &file.writes();
  completed_.clear();
  in_flight_.clear();
  covered_.clear();

  // Every flush boundary gets its share, and as many cuts anywhere.
  std::vector<uint64_t> cuts;
  for (uint64_t at = 0; at < events_->size(); at += 1) {
    const EventKind kind = (*events_)[at].kind;
    if (kind == EventKind::kFlushSubmitted || kind == EventKind::kFlushCompleted) {
      cuts.push_back(at);
      cuts.push_back(at + 1);
    }
  }
  const size_t boundaries = cuts.size();
  for (size_t count = 0; count < boundaries + 50; count += 1)
    cuts.push_back(Below(rng, events_->size() + 1));
  std::sort(cuts.begin(), cuts.end());
  const uint64_t variants = std::max<uint64_t>(1, (states + cuts.size() - 1) / cuts.size());
  uint64_t judged = 0;
  for (const uint64_t cut : cuts) {
    if (options_.only_cut != kNever && cut != options_.only_cut) continue;
    Advance(cut);
    for (uint64_t variant = 0; variant < variants; variant += 1) {
      const uint64_t chosen = variants < 4 ? Below(rng, 12) : variant;
      if (options_.only_variant != kNever && options_.only_variant != chosen) continue;
      const std::string why = JudgeVariant(cut, chosen, workload);
      judged += 1;
      if (!why.empty()) {
        std::printf("seed %llu, cut %llu of %zu, variant %llu: %s\n",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cut),
                    events_->size(), static_cast<unsigned long long>(chosen), why.c_str());
        std::printf("replay: crash_states --replay %llu:%llu:%llu --operations %u\n",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cut),
                    static_cast<unsigned long long>(chosen), options_.operations);
        return kNever;
      }
    }
  }
  return judged;
}

constexpr uint64_t kStatesPerSeed = 500;

// One process' share: seeds first, first + step, … until `states` are judged.
int RunShare(const Options& options, uint64_t first, uint64_t step, uint64_t states, int report) {
  Explorer explorer(options);
  uint64_t judged = 0;
  for (uint64_t seed = first; judged < states; seed += step) {
    const uint64_t count = explorer.Explore(seed, std::min(kStatesPerSeed, states - judged));
    if (count == kNever) return 1;
    judged += count;
  }
  return write(report, &judged, sizeof(judged)) == sizeof(judged) ? 0 : 1;
}

int Main(int argc, char** argv) {
  Options options;
  for (int at = 1; at < argc; at += 1) {
    const std::string flag = argv[at];
    if (flag == "--lose-flushes") {
      options.lose_flushes = true;
      continue;
    }
    const char* value = at + 1 < argc ? argv[++at] : "";
    if (flag == "--states")
      options.states = std::strtoull(value, nullptr, 10);
    else if (flag == "--seed")
      options.seed = std::strtoull(value, nullptr, 10);
    else if (flag == "--operations")
      options.operations = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    else if (flag == "--jobs")
      options.jobs = std::max(1u, static_cast<uint32_t>(std::strtoul(value, nullptr, 10)));
    else if (flag == "--replay") {
      unsigned long long seed = 0, cut = 0, variant = 0;
      if (std::sscanf(value, "%llu:%llu:%llu", &seed, &cut, &variant) != 3) return 2;
      options.seed = seed;
      options.only_cut = cut;
      options.only_variant = variant;
      options.jobs = 1;
      options.states = 1;
      Explorer explorer(options);
      const uint64_t judged = explorer.Explore(seed, 10000);
      std::printf("%s\n", judged == kNever ? "found again"
                          : judged == 0    ? "no such state"
                                           : "clean");
      return judged == 0 || judged == kNever ? 1 : 0;
    } else {
      std::fprintf(stderr, "unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  int ends[2];
  if (pipe(ends) != 0) return 1;
  for (uint32_t job = 0; job < options.jobs; job += 1) {
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      close(ends[0]);
      const uint64_t share = (options.states + options.jobs - 1) / options.jobs;
      const int code = RunShare(options, options.seed + job, options.jobs, share, ends[1]);
      std::fflush(stdout);
      _exit(code);
    }
  }
  close(ends[1]);
  bool bad = false;
  for (uint32_t job = 0; job < options.jobs; job += 1) {
    int status = 0;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) bad = true;
  }
  uint64_t total = 0;
  uint64_t judged = 0;
  while (read(ends[0], &judged, sizeof(judged)) == sizeof(judged)) total += judged;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu crash states judged in %.1f s, %s\n", static_cast<unsigned long long>(total),
              seconds, bad ? "some bad" : "none bad");
  return bad ? 1 : 0;
}

}  // namespace
}  // namespace ashlar::crash

int main(int argc, char** argv) { return ashlar::crash::Main(argc, argv); }
