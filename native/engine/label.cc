#include "native/engine/label.h"

#include <cstddef>

#include "native/engine/crc32c.h"

namespace ashlar {
namespace {

constexpr char kLabelMagic[8] = {'A', 'S', 'H', 'L', 'A', 'B', 'E', 'L'};

bool RecordIsSound(const DeviceRecord& d) {
  return !IsZero(d.id) && d.vdev < kMaxVdevs && d.place < kMaxSides &&
         d.state >= DeviceState::kInSync && d.state <= DeviceState::kMissing &&
         (d.vdev_class == VdevClass::kData || d.vdev_class == VdevClass::kLog) &&
         d.size_blocks >= kMinPoolBlocks && d.size_blocks <= kPhysBlockMask &&
         d.path[sizeof d.path - 1] == 0;
}

}  // namespace

void SealLabel(Label* label) {
  std::memcpy(label->magic, kLabelMagic, sizeof kLabelMagic);
  label->format_version = kFormatVersion;
  label->crc = Crc32c(label, offsetof(Label, crc));
}

Status ParseLabel(const uint8_t* bytes, Label* out) {
  if (std::memcmp(bytes, kLabelMagic, sizeof kLabelMagic) != 0) return Status::kNotAPool;
  std::memcpy(out, bytes, sizeof *out);
  if (out->crc != Crc32c(bytes, offsetof(Label, crc))) return Status::kNotAPool;
  if (out->format_version != kFormatVersion) return Status::kVersion;
  if (out->device_count == 0 || out->device_count > kMaxDevices || out->name[63] != 0 ||
      out->owner_name[63] != 0) {
    return Status::kCorrupt;
  }
  bool own = false;
  bool in_sync[kMaxVdevs] = {};
  bool used[kMaxVdevs] = {};
  for (uint32_t i = 0; i < out->device_count; ++i) {
    const DeviceRecord& d = out->devices[i];
    if (!RecordIsSound(d)) return Status::kCorrupt;
    own |= d.id == out->device_id;
    used[d.vdev] = true;
    in_sync[d.vdev] |= d.state == DeviceState::kInSync;
    for (uint32_t j = 0; j < i; ++j) {
      const DeviceRecord& other = out->devices[j];
      if (other.id == d.id) return Status::kCorrupt;
      if (other.vdev == d.vdev && (other.place == d.place || other.vdev_class != d.vdev_class)) {
        return Status::kCorrupt;
      }
    }
  }
  if (!own) return Status::kCorrupt;
  // A vdev without a device in sync is not one that was ever written down.
  for (uint32_t v = 0; v < kMaxVdevs; ++v) {
    if (used[v] && !in_sync[v]) return Status::kCorrupt;
  }
  return Status::kOk;
}

}  // namespace ashlar
