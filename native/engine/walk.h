// Walks over everything that a pool holds, while it serves: scrub (every copy is read and tested),
// resilver (what a device missed is written to it), rebalance (blocks move to emptier vdevs). One
// runs at a time; resilver goes before scrub before rebalance.
//
// The trees are walked as they are in memory now, leaf by leaf, in a fixed order, and the place of
// the next leaf is kept in the superblock: after a restart the walk goes on from there. What
// changes behind the walk's back is written to every device by the write itself.
//
// A rebalance looks at volumes' data on vdevs that are fuller than the pool is, and writes it anew,
// to one that is emptier, as a copy of exactly this version (H3): a change that comes in between
// wins, and a crash leaves the block at either place. What a snapshot shares stays where it is:
// moved, it would be there twice.
#pragma once

#include <string>
#include <vector>

#include "native/engine/device_set.h"
#include "native/engine/pool.h"

namespace ashlar {

class PoolImpl;
struct Tree;

// Blocks side by side on a vdev, or the copies of one page, to be looked at.
struct Walk;
struct WalkTask {
  Walk* walk = nullptr;
  uint64_t phys = 0;
  uint32_t blocks = 0;
  uint32_t first = 0;  // Of its leaf's entries.
  bool is_page = false;
  bool is_blob = false;
  PagePtr ptr;
  PageIdentity identity{};
  uint64_t tree = 0;  // Whose: for the report.
  uint64_t lba[128];
  uint32_t crc[128];
  uint64_t bad[2] = {0, 0};
  uint64_t lost[2] = {0, 0};
  std::vector<uint16_t> sides;                         // To be read and tested, then:
  std::vector<std::pair<uint16_t, uint64_t>> targets;  // to be written: device, address.
  size_t side = 0;
  uint32_t left = 0;
  uint8_t* buffer = nullptr;  // Of 128 blocks.
  bool holds = false;         // The checkpoint.
  uint64_t shared = 0;  // Of a move: what was born up to here a snapshot had when it was looked at.
  // Rebalance: the write that moves the blocks, if they are still what was read.
  Op op;
  BlockTag tags[128];
  class PoolImpl* pool = nullptr;
};

struct Walk {
  WalkKind kind = WalkKind::kScrub;
  WalkRecord record{};  // As it will be in the next superblock.
  uint64_t seen[8];     // By level: the page looked at last.
  uint64_t seen_tree = ~uint64_t{0};
  std::vector<WalkTask*> queue;
  uint32_t in_flight = 0;
  uint64_t begun_tree = 0;  // The leaf whose tasks are under way: from there on after a crash.
  uint64_t begun_leaf = 0;
  uint64_t begun_done = 0;             // Blocks looked at before it.
  uint64_t first_tree = ~uint64_t{0};  // The leaf looked at last, maybe again, and when for the
  uint64_t first_leaf = 0;             // first time.
  uint64_t first_generation = 0;
  bool wrote = false;           // Resilver: since it last waited for checkpoints.
  uint64_t run_started_ms = 0;  // This opening's part, for the pace.
  uint64_t run_done = 0;
  uint64_t wait_checkpoints = 0;  // Goes on once so many have ended.
  uint64_t wait_sequence = 0;     // ... and the log is applied up to here.
};

}  // namespace ashlar
