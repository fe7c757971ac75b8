// How things end, and who things are.
#pragma once

#include <cstdint>

namespace ashlar {

// The values cross the binding as integers, equal to src/block/status.ts.
enum class [[nodiscard]] Status : uint8_t{
    kOk = 0,
    kOutOfRange = 1,
    kNoSpace = 2,  // N1-N3. Nothing was changed; by an unmap, nothing from Op::failed_lba on.
    kDamaged = 3,  // Bad checksum or unreadable: Op::failed_lba is the first bad block (W9).
    kIoError = 4,  // The medium failed; the pool is faulted (S9).
    kOffline = 5,  // Closed, or closing.
    kReadOnly = 7,
    kBusy = 8,
    kNotFound = 16,  // Control calls only, from here on.
    kExists = 17,
    kInvalid = 18,
    kNotAPool = 19,  // No valid superblock.
    kCorrupt = 20,   // A superblock was there, but what it reaches is not.
    kTooSmall = 21,
    kVersion = 22,         // A format version this build does not know, or no longer.
    kTooFew = 23,          // A vdev has no device in sync among those given.
    kForeign = 24,         // A device that is not of this pool.
    kDiverged = 25,        // Two halves of a mirror were used without each other.
    kOwned = 26,           // Another machine used it last, and did not export it.
    kHasSnapshots = 32,    // A volume that is to be deleted, without its snapshots being named.
    kHasClones = 33,       // A snapshot that volumes were cloned from.
    kLaterSnapshots = 34,  // A rollback past newer snapshots, without leave to delete them.
};

struct Uuid {
  uint8_t bytes[16];
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

}  // namespace ashlar
