// Faults of the engine's own, to be switched on by the test of the crash test
// (T7): each must be caught by it. Only in builds that define ASHLAR_MUTANTS;
// elsewhere they are not there.
#pragma once

#include <cstdint>

namespace ashlar {

enum class Mutant : uint8_t {
  kNone = 0,
  kSuperblockWithoutFlush = 1,  // The pages that a superblock reaches are not flushed before it.
  kReuseEarly = 2,              // Freed blocks are taken again one superblock early.
  kTornDataReplayed = 3,        // Replay trusts data that no flush covered (S7).
  kFuaWithoutFlush = 4,         // An acknowledgement before what it promises.
  kBornComparedWrongly = 5,     // A block that the newest snapshot has is freed.
  kListLost = 6,                // A deleted snapshot's list is not its successor's.
  kSharedPageChanged = 7,       // The head changes a page that a snapshot has.
  kSnapshotOvertakes = 8,       // A snapshot is logged before changes that came before it.
  // Of pools of many devices (device_states).
  kWalkNeverGoesBack = 9,   // A resilver misses what a deleted snapshot showed for its heir.
  kSnapshotsUnwalked = 10,  // A resilver looks at volumes alone.
  kAckBeforeLabels = 11,    // A side is out, and writes go on before the labels say so.
  kLabelsUneven = 12,       // The newest label is left where a crash left it, not given to all.
  kLabelsByParity = 13,     // A label goes to the slot that its sequence names.
  // Of crash_states again.
  kCutInsideBlock = 14,  // A checkpoint has a part of the log block that its replay begins with.
};
inline constexpr uint8_t kMutants = 8;
inline constexpr uint8_t kDeviceMutants = 5;  // After those.

#ifdef ASHLAR_MUTANTS
inline Mutant g_mutant = Mutant::kNone;
inline bool Mutated(Mutant mutant) { return g_mutant == mutant; }
#else
inline constexpr bool Mutated(Mutant) { return false; }
#endif

}  // namespace ashlar
