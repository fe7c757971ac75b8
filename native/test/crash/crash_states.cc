// Crash states of the engine (T7). For each seeded workload, the medium is frozen at many instants;
// what had been flushed is there, of the rest a chosen subset, torn by sectors. Each state is
// opened and judged: it opens, every value is one that the history allows, the counters are exact,
// an offline check is clean, opening again changes nothing, the older superblock leads to the same,
// and a second crash inside recovery is survived too.
//
//   crash_states --mutants [--states N]: the test of this test; see native/engine/mutants.h
//   crash_states [--states N] [--seed S] [--operations N] [--jobs N] [--replay SEED:CUT:VARIANT]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "native/engine/mutants.h"
#include "native/test/crash/judge.h"
#include "native/test/crash/recording_file.h"
#include "native/test/crash/shares.h"
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

// The one medium of these workloads.
class OneFile : public Machine {
 public:
  explicit OneFile(RecordingFile* file) : file_(file) {}
  Status Open(const PoolOptions& options, std::unique_ptr<Pool>* pool, std::string* why) override {
    return Pool::Open(*file_, options, pool, why);
  }
  uint64_t Now() const override { return file_->events().size(); }
  void Wait() override { file_->Wait(); }

 private:
  RecordingFile* file_;
};

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
  OneFile machine(&file);
  Workload workload(&machine, workload_options);
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

#ifdef ASHLAR_MUTANTS
// Until something is bad. Whether it was.
bool FindsSomething(const Options& options) {
  Explorer explorer(options);
  uint64_t judged = 0;
  for (uint64_t seed = options.seed; judged < options.states; ++seed) {
    const uint64_t count =
        explorer.Explore(seed, std::min(kStatesPerSeed, options.states - judged));
    if (count == kNever) return true;
    judged += count;
  }
  return false;
}

// The test of the test: with each fault of the engine switched on, some state must be bad. A broken
// assertion counts, as does a workload that reads what was not there.
int RunMutants(const Options& options) {
  bool missed = false;
  // The eighth, kSnapshotOvertakes, shows only where writes wait for pages of the map, which are
  // all in memory here: engine_snapshot_test asks for that order by itself.
  std::vector<Mutant> here;
  for (uint8_t mutant = 1; mutant < kMutants; mutant += 1) here.push_back(Mutant{mutant});
  here.push_back(Mutant::kCutInsideBlock);
  for (const Mutant mutant : here) {
    const auto begin = std::chrono::steady_clock::now();
    std::fflush(stdout);
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      g_mutant = mutant;
      if (freopen("/dev/null", "w", stdout) == nullptr ||
          freopen("/dev/null", "w", stderr) == nullptr)
        _exit(2);
      _exit(FindsSomething(options) ? 1 : 0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0) return 1;
    const bool survived = WIFEXITED(status) && WEXITSTATUS(status) != 1;
    missed |= survived;
    std::printf("mutant %u %s after %.1f s\n", static_cast<uint32_t>(mutant),
                survived ? "NOT CAUGHT" : "caught",
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return missed ? 1 : 0;
}
#endif

int Main(int argc, char** argv) {
  Options options;
  bool mutants = false;
  for (int at = 1; at < argc; at += 1) {
    const std::string flag = argv[at];
    if (flag == "--mutants") {
      mutants = true;
      continue;
    }
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
  if (mutants) {
#ifdef ASHLAR_MUTANTS
    return RunMutants(options);
#else
    std::fprintf(stderr, "built without mutants: cmake -DASHLAR_MUTANTS=ON\n");
    return 2;
#endif
  }
  Explorer explorer(options);
  const std::string operations = std::to_string(options.operations);
  const SharesEnd end = RunShares({options.states, options.seed, options.jobs,
                                   std::string(argv[0]) + " --operations " + operations +
                                       (options.lose_flushes ? " --lose-flushes" : "")},
                                  [&explorer](uint64_t seed, uint64_t states) {
                                    return explorer.Explore(seed, std::min(kStatesPerSeed, states));
                                  });
  std::printf("%llu crash states judged in %.1f s, %s\n",
              static_cast<unsigned long long>(end.judged), end.seconds,
              end.good ? "none bad" : "some bad, or not all judged");
  return end.good ? 0 : 1;
}

}  // namespace
}  // namespace ashlar::crash

int main(int argc, char** argv) { return ashlar::crash::Main(argc, argv); }
