// A long run over many seeds, shared out to processes: what is done is told as it goes on, an end
// by a signal says how to go on later.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace ashlar::crash {

struct Shares {
  uint64_t states = 0;  // To judge in all.
  uint64_t seed = 1;    // The first; job j has seed + j, seed + j + jobs, …
  uint32_t jobs = 1;
  std::string again;  // The command, and what it was told besides --states, --seed and --jobs.
};

struct SharesEnd {
  uint64_t judged = 0;
  double seconds = 0;
  bool good = false;  // All were judged, and none is bad.
};

// `explore` judges at most so many states of a seed, in a process of its own, and returns how many;
// kNever after a finding, which it has printed with its replay.
SharesEnd RunShares(const Shares& shares,
                    const std::function<uint64_t(uint64_t seed, uint64_t states)>& explore);

}  // namespace ashlar::crash
