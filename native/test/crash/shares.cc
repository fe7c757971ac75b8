#include "native/test/crash/shares.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <vector>

#include "native/test/crash/history.h"

namespace ashlar::crash {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kShowEvery = std::chrono::seconds(10);

// One seed has been judged.
struct Report {
  uint32_t job = 0;
  uint64_t states = 0;
};

volatile sig_atomic_t g_ended_by = 0;
void OnSignal(int signal) { g_ended_by = signal; }

void Catch(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // Without SA_RESTART: a read under way ends.
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int Work(const Shares& shares, uint32_t job, int out,
         const std::function<uint64_t(uint64_t, uint64_t)>& explore) {
  const uint64_t share = (shares.states + shares.jobs - 1) / shares.jobs;
  uint64_t judged = 0;
  for (uint64_t seed = shares.seed + job; judged < share; seed += shares.jobs) {
    const Report report{job, explore(seed, share - judged)};
    if (report.states == kNever) return 1;
    judged += report.states;
    if (write(out, &report, sizeof report) != sizeof report) return 1;
  }
  return 0;
}

}  // namespace

SharesEnd RunShares(const Shares& shares,
                    const std::function<uint64_t(uint64_t, uint64_t)>& explore) {
  const auto begin = Clock::now();
  SharesEnd end;
  int ends[2];
  if (pipe(ends) != 0) return end;
  std::fflush(stdout);
  Catch(&OnSignal);
  std::vector<pid_t> children;
  for (uint32_t job = 0; job < shares.jobs; ++job) {
    const pid_t child = fork();
    if (child == 0) {
      Catch(SIG_DFL);
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      close(ends[0]);
      const int code = Work(shares, job, ends[1], explore);
      std::fflush(stdout);
      _exit(code);
    }
    if (child > 0) children.push_back(child);
  }
  close(ends[1]);
  std::vector<uint64_t> next(shares.jobs);  // By job: the seed it is at.
  for (uint32_t job = 0; job < shares.jobs; ++job) next[job] = shares.seed + job;
  auto show = [&] {
    // Seeds above it that are done are judged again: each stands for itself.
    const uint64_t from = *std::min_element(next.begin(), next.end());
    const uint64_t left = shares.states - std::min(shares.states, end.judged);
    std::fprintf(stderr, "%llu of %llu states, %.0f s; from here: %s --seed %llu --states %llu\n",
                 static_cast<unsigned long long>(end.judged),
                 static_cast<unsigned long long>(shares.states),
                 std::chrono::duration<double>(Clock::now() - begin).count(), shares.again.c_str(),
                 static_cast<unsigned long long>(from), static_cast<unsigned long long>(left));
  };
  auto shown = begin;
  for (Report report; g_ended_by == 0;) {
    const ssize_t got = read(ends[0], &report, sizeof report);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof report) break;
    end.judged += report.states;
    next[report.job] += shares.jobs;
    if (Clock::now() - shown < kShowEvery) continue;
    shown = Clock::now();
    show();
  }
  if (g_ended_by != 0) {
    for (const pid_t child : children) kill(child, SIGTERM);
    show();
  }
  end.good = g_ended_by == 0 && children.size() == shares.jobs;
  for (const pid_t child : children) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    end.good &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (WIFSIGNALED(status) && g_ended_by == 0) {
      std::fprintf(stderr, "a process died of signal %d, at one of the seeds", WTERMSIG(status));
      for (const uint64_t seed : next) std::fprintf(stderr, " %llu", (unsigned long long)seed);
      std::fprintf(stderr, "\n");
    }
  }
  close(ends[0]);
  end.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return end;
}

}  // namespace ashlar::crash
