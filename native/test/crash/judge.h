// What a reopened pool holds, judged by the history of its workload.
#pragma once

#include <string>
#include <vector>

#include "native/engine/pool.h"
#include "native/test/crash/workload.h"

namespace ashlar::crash {

// What was found, for comparing one opening with another.
struct Contents {
  std::vector<uint64_t> values;
  friend bool operator==(const Contents&, const Contents&) = default;
};

// Reads everything and judges it by the history of what came before `cut`. `contents` gets what was
// found. With `settled` deletions, resilvers and the like end first; without, it is read while they
// go on. Empty, or what is wrong.
std::string Judge(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                  Contents* contents, bool settled = true);

}  // namespace ashlar::crash
