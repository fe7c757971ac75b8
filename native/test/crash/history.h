// What a host may find after a crash: for each block, volume and blob, which values are allowed at
// which cut (consistency.md §1). Time is counted in medium events: a cut at t means that events
// 0..t-1 happened and nothing after.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "native/engine/pool.h"

namespace ashlar::crash {

inline constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

// One change of one register. Value 0 of a block is a hole (reads as zeros).
struct Change {
  uint64_t value = 0;
  uint64_t issued = 0;        // Events that had happened when it was submitted.
  uint64_t acked = kNever;    // ... when the host heard of it.
  uint64_t durable = kNever;  // ... when a FUA ack or a later flush promised it.
  uint64_t version = 0;       // E1, of a change that counts for contig (W10). 0: of none.
  uint64_t acked_tick =
      kNever;  // When the host heard of it, on the host's own count of what it did and heard.
};

// Process killed: what was acked stays. Power cut: what was flushed stays.
enum class CutKind : uint8_t { kKill, kPower };

class Register {
 public:
  size_t Issue(uint64_t value, uint64_t now) {
    changes_.push_back({value, now});
    return changes_.size() - 1;
  }
  Change& change(size_t index) { return changes_[index]; }
  size_t size() const { return changes_.size(); }
  // Was `value` given to it after the change `index`?
  bool HasLater(size_t index, uint64_t value) const {
    for (size_t at = index + 1; at < changes_.size(); ++at) {
      if (changes_[at].value == value) return true;
    }
    return false;
  }

  // The value when all changes so far have come about.
  uint64_t Last(uint64_t initial) const {
    return changes_.empty() ? initial : changes_.back().value;
  }

  // May a crash at `cut` leave `value`? `initial` is the register's value before its first change.
  // What the pool calls contiguous is there; changes from `limit` on do not count.
  bool Allows(uint64_t value, uint64_t cut, CutKind kind, uint64_t initial, uint64_t contig = 0,
              size_t limit = ~size_t{0}) const {
    bool allowed = value == initial;
    for (const Change& change : changes_) {
      if (change.issued > cut || limit-- == 0) break;
      const uint64_t promised = kind == CutKind::kKill ? change.acked : change.durable;
      // Everything older is gone for good.
      if (promised <= cut || (change.version != 0 && change.version <= contig)) allowed = false;
      if (change.value == value) allowed = true;
    }
    return allowed;
  }

  // May a read that was submitted at the host's `tick` return `value`? Not older than what was
  // acknowledged by then.
  bool AllowsRead(uint64_t value, uint64_t tick, uint64_t initial) const {
    bool allowed = value == initial;
    for (const Change& change : changes_) {
      if (change.acked_tick < tick) allowed = false;
      if (change.value == value) allowed = true;
    }
    return allowed;
  }

 private:
  std::vector<Change> changes_;
};

// A write that a crash leaves whole or undone: one value in all of its blocks.
struct AtomicWrite {
  uint64_t lba = 0;
  uint64_t value = 0;           // Not 0: unique to this write.
  uint64_t issued = 0;          // Events that had happened when it was submitted.
  std::vector<size_t> changes;  // Its change in the register of each block.
};

// What the pool said of W10's contig when a change or a flush had ended.
struct ContigMark {
  uint64_t at = 0;       // Events that had happened.
  uint64_t applied = 0;  // contig: a kill may not lower it.
  uint64_t durable = 0;  // The part that a flush covered: a power cut may not.
};

struct VolumeHistory;

// A snapshot, and what the volume held when it was asked for.
struct SnapshotHistory {
  std::string name;
  Uuid id{};
  uint32_t handle = 0;
  bool open = false;
  VolumeHistory* volume = nullptr;  // It changes with a promotion.
  uint64_t group = 0;               // Those taken together.
  Register existence;
  uint64_t size = 0;
  struct Block {
    uint64_t value = 0;
    const Register* reg = nullptr;
    size_t changes = 0;  // That came before it.
    uint64_t initial = 0;
  };
  std::vector<Block> blocks;
};

struct VolumeHistory {
  std::string name;
  Uuid id{};
  uint64_t number = 0;  // In its blocks' bytes: a clone's are its origin's.
  SnapshotHistory* origin = nullptr;
  std::vector<uint64_t> initial;  // What the blocks of a clone begin as.
  uint32_t handle = 0;
  bool open = false;   // Created, as far as the host knows, and not being deleted.
  Register existence;  // 1 exists, 0 does not; durable when acked.
  Register size;       // In blocks; durable when acked.
  std::vector<Register> blocks;
  std::map<std::string, Register> blobs;
  uint64_t Initial(uint64_t lba) const { return lba < initial.size() ? initial[lba] : 0; }
  std::vector<AtomicWrite> atomic_writes;
  bool keeps_holes = false;  // W6: unmaps too count for contig, and blocks are installed (B4).
  std::vector<ContigMark> contig_marks;
};

// The bytes of block `lba` holding `value`: every byte depends on all three.
void FillBlock(uint64_t volume_number, uint64_t lba, uint64_t value, uint8_t* block);
// The value a block carries, checked byte by byte. False: bytes that nobody wrote there.
bool ReadBlock(uint64_t volume_number, uint64_t lba, const uint8_t* block, uint64_t* value);

}  // namespace ashlar::crash
