// Labels: what every device of a pool says about the whole pool, so that it is found again when
// names change, and so that a device which missed writes is known for what it is. A label is 16 KiB
// in each of two slots at both ends of the device. A label goes to the slot where the device's
// newest is not, and that one is durable before: whatever a power cut tears, one is left. The
// sequence does not tell the slot: a device that joined, was away, or was missed by a crash has not
// had every label.
//
// A device that is taken out of its mirror is never told: the label that says so goes to the
// others, and is durable there before anything is acknowledged without it. So its own label stays
// older than `out_sequence` in theirs; one that is not older went on by itself, and has diverged.
//
// A label names the machine that uses the pool, its owner. Another machine opens the pool only once
// it was exported, or by force; the old owner then finds itself a stranger to it.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "native/engine/format.h"
#include "native/engine/pool_devices.h"

namespace ashlar {

inline constexpr uint32_t kLabelBytes = static_cast<uint32_t>(kLabelBlocks) * kBlockBytes;
inline constexpr uint32_t kMaxDevices = 64;
// A mirror of three, and the device that is to replace one of them.
inline constexpr uint32_t kMaxSides = 4;
inline constexpr uint32_t kMaxMirror = 3;

struct DeviceRecord {
  Uuid id;
  uint16_t vdev;
  uint8_t place;  // Among the sides of its vdev.
  DeviceState state;
  VdevClass vdev_class;
  uint8_t reserved0[3];
  uint64_t size_blocks;   // What the pool uses of it, both ends included.
  uint64_t stale_since;   // Not in sync: what was born after this generation may be missing on it.
  uint64_t out_sequence;  // Of the label that took it out of its mirror.
  Uuid replaces;          // The device that leaves once this one is in sync. Zero: none.
  uint64_t read_errors;   // Counts as of this label.
  uint64_t write_errors;
  uint64_t checksum_errors;
  char path[96];  // Where it was last seen. A hint, for people.
  uint8_t reserved1[8];
};
static_assert(sizeof(DeviceRecord) == 192 && std::is_trivially_copyable_v<DeviceRecord>);

inline constexpr uint32_t kLabelExported = 1;  // Closed cleanly, to be opened elsewhere.

struct Label {
  char magic[8];
  uint32_t format_version;
  uint32_t device_count;
  Uuid pool_id;
  Uuid device_id;     // Whose label this is.
  uint64_t sequence;  // One more than the label before.
  Uuid opening;       // The open id of whoever wrote it (E7).
  uint32_t flags;
  uint32_t reserved0;
  char name[64];  // The pool's. Zero-terminated.
  Uuid owner;               // The machine that uses the pool. Zero: not known.
  uint64_t owned_since_s;   // Unix time.
  char owner_name[64];      // For people. Zero-terminated.
  uint8_t reserved1[280];
  DeviceRecord devices[kMaxDevices];
  uint8_t reserved2[kLabelBytes - 512 - 64 * 192 - 4];
  uint32_t crc;  // Last field: CRC32C of every byte before it.
};
static_assert(offsetof(Label, owner) == 144 && offsetof(Label, owner_name) == 168);
static_assert(offsetof(Label, devices) == 512);
static_assert(sizeof(Label) == kLabelBytes && std::is_trivially_copyable_v<Label>);

void SealLabel(Label* label);
// kNotAPool: no label, or torn. kVersion: of a newer format. kCorrupt: numbers that cannot be.
Status ParseLabel(const uint8_t* bytes, Label* out);

// First block of a label slot, 0 or 1; `device_blocks` is the device's size.
inline constexpr uint64_t LabelPlace(uint64_t slot, bool back, uint64_t device_blocks) {
  const uint64_t at = kSuperSlots + slot * kLabelBlocks;
  return back ? device_blocks - at - kLabelBlocks : at;
}
inline constexpr uint64_t SuperPlace(uint64_t generation, bool back, uint64_t device_blocks) {
  return back ? device_blocks - kSuperSlots + (generation & 1) : generation & 1;
}

inline bool IsZero(const Uuid& id) { return id == Uuid{}; }

}  // namespace ashlar
