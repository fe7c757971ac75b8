// The engine against a model: seeded random sequences of all operations, every block of every
// volume compared, space exact, offline check clean. A failure prints its seed, which replays it
// exactly.
//
//   model_run [--seeds N] [--first-seed K] [--operations N] [--jobs N]
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "native/test/model/driver.h"

namespace ashlar::model {
namespace {

struct Options {
  uint64_t seeds = 200;
  uint64_t first_seed = 1;
  uint64_t operations = 10000;
  uint64_t jobs = 2;
};

bool Parse(int argc, char** argv, Options* options) {
  for (int at = 1; at + 1 < argc; at += 2) {
    const std::string name = argv[at];
    uint64_t* value = name == "--seeds"        ? &options->seeds
                      : name == "--first-seed" ? &options->first_seed
                      : name == "--operations" ? &options->operations
                      : name == "--jobs"       ? &options->jobs
                                               : nullptr;
    char* end = nullptr;
    const uint64_t number = std::strtoull(argv[at + 1], &end, 10);
    if (value == nullptr || *end != 0 || end == argv[at + 1]) return false;
    *value = number;
  }
  return argc % 2 == 1 && options->jobs > 0;
}

void PrintReplay(const Options& options, uint64_t seed) {
  std::fprintf(
      stderr, "replay: npm run test:model -- --seeds 1 --first-seed %llu --operations %llu\n",
      static_cast<unsigned long long>(seed), static_cast<unsigned long long>(options.operations));
}

// The seeds of one job. Its counts go to `out`; `at` says which seed is under way, also when it
// ends by a signal.
int Job(const Options& options, uint64_t job, int out, volatile uint64_t* at) {
  DriverCounts sum;
  for (uint64_t i = job; i < options.seeds; i += options.jobs) {
    const uint64_t seed = options.first_seed + i;
    *at = seed;
    Driver driver({seed, static_cast<uint32_t>(options.operations)});
    const std::string why = driver.Run();
    if (!why.empty()) {
      std::fprintf(stderr, "seed %llu, %s\n", static_cast<unsigned long long>(seed), why.c_str());
      PrintReplay(options, seed);
      return 1;
    }
    sum.Add(driver.counts());
  }
  return write(out, &sum, sizeof sum) == sizeof sum ? 0 : 1;
}

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::fprintf(stderr, "model_run [--seeds N] [--first-seed K] [--operations N] [--jobs N]\n");
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  int pipes[2];
  if (pipe(pipes) != 0) return 1;
  void* shared = mmap(nullptr, options.jobs * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  auto* under_way = static_cast<volatile uint64_t*>(shared);
  std::vector<pid_t> children;
  for (uint64_t job = 0; job < options.jobs; ++job) {
    const pid_t child = fork();
    if (child == 0) _exit(Job(options, job, pipes[1], under_way + job));
    if (child < 0) return 1;
    children.push_back(child);
  }
  close(pipes[1]);
  bool good = true;
  for (size_t job = 0; job < children.size(); ++job) {
    int status = 0;
    waitpid(children[job], &status, 0);
    if (WIFSIGNALED(status)) {
      std::fprintf(stderr, "seed %llu died by signal %d\n",
                   static_cast<unsigned long long>(under_way[job]), WTERMSIG(status));
      PrintReplay(options, under_way[job]);
    }
    good &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  DriverCounts sum, one;
  while (read(pipes[0], &one, sizeof one) == sizeof one) {
    sum.Add(one);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu seeds, %llu operations in %.1f s: %llu installs, %llu refused for want of space, %llu "
      "deletions, %llu snapshots, %llu clones, %llu promotions, %llu rollbacks (%llu gone on with "
      "after a kill), %llu refused for what depends on it, %llu diffs, %llu "
      "reopenings (%llu without a close, %llu with a space map that had rotted), %llu devices added, %llu rebalances (%llu blocks moved), %llu offline checks, %llu blocks compared: %s\n",
      n(options.seeds), n(sum.operations), seconds, n(sum.installs), n(sum.refusals),
      n(sum.deletions), n(sum.snapshots), n(sum.clones), n(sum.promotions), n(sum.rollbacks),
      n(sum.resumed_rollbacks), n(sum.held_back), n(sum.diffs), n(sum.reopenings), n(sum.kills),
      n(sum.rotten), n(sum.devices), n(sum.rebalances), n(sum.moved_blocks),
      n(sum.checks), n(sum.blocks_compared), good ? "none differs" : "FAILED");
  return good ? 0 : 1;
}

}  // namespace
}  // namespace ashlar::model

int main(int argc, char** argv) { return ashlar::model::Main(argc, argv); }
