// How far a volume has come (W10): `contig` is the highest version up to which every change, in the
// order of Submit, is applied. Each log entry carries the version of the change submitted before
// its own, so that after a crash the chain of what is really there says the same, exactly: a change
// that was torn or lost ends it (S7, B1).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <type_traits>

namespace ashlar {

// A change of which a checkpoint holds a part, or all, while an earlier one is not applied yet.
struct SavedChange {
  uint64_t version;
  uint64_t previous;
  uint16_t parts;  // Bit i: part i is applied.
  uint8_t total;   // A count of parts.
  uint8_t reserved[5];
};
static_assert(sizeof(SavedChange) == 24 && std::is_trivially_copyable_v<SavedChange>);

inline constexpr uint32_t kSavedChanges = 16;
// As in a volume's record.
struct ProgressRecord {
  uint64_t contig;
  uint32_t
      count;  // Of `changes`. Those beyond are left out: contig is then lower than it could be.
  uint32_t flags;  // Bit 0: a change failed or is missing, and contig rests; bits 8 to 31: since
                   // this epoch.
  SavedChange changes[kSavedChanges];
};
static_assert(sizeof(ProgressRecord) == 16 + 24 * kSavedChanges);

class Progress {
 public:
  static constexpr uint64_t kUntracked = ~0ull;

  uint64_t contig() const { return contig_; }

  // A change begins. `previous` goes into its log entries. Changes whose versions do not rise are
  // not tracked.
  uint64_t Begin(uint64_t version, uint32_t parts, uint64_t* previous);
  void PartApplied(uint64_t ticket, uint32_t part);
  // `applied` false: it failed. Then contig rests, until Set or a change of a later epoch: with
  // that the recovery of the volume (V4) has settled what is missing.
  void End(uint64_t ticket, bool applied);
  // With no change under way, or contig may be found lower after a crash.
  void Set(uint64_t contig);

  void Save(ProgressRecord* record) const;
  void Load(const ProgressRecord& record);
  // Recovery: one part of a change was applied. In the order of the log.
  void Replayed(uint64_t version, uint64_t previous, uint32_t part, uint32_t total);
  // The replay is over. `highest`: the version of the newest change that the volume holds.
  void Recovered(uint64_t highest);

 private:
  struct Change {
    SavedChange saved;
    bool done = false;
  };
  void Follow();
  // A change of a later epoch: what was missing is settled.
  void LeaveRest(uint64_t version);

  std::deque<Change> open_;
  uint64_t base_ = 0;  // Ticket of the front.
  uint64_t contig_ = 0;
  uint64_t last_ = 0;   // Version of the newest change begun.
  uint64_t chain_ = 0;  // What the next one is told as `previous`.
  bool resting_ = false;
  uint64_t resting_epoch_ = 0;
  std::map<uint64_t, SavedChange> waiting_;  // Recovery only: by `previous`.
};

}  // namespace ashlar
