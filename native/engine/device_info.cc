// What the pool says about its devices.
#include "native/engine/pool_impl.h"

namespace ashlar {

std::vector<DeviceInfo> PoolImpl::Devices() const {
  std::vector<DeviceInfo> all;
  for (const auto& device : devices_.devices()) {
    if (device == nullptr) continue;
    const DeviceRecord& record = device->record;
    DeviceInfo info;
    info.id = record.id;
    info.path = device->path.empty() ? std::string(record.path) : device->path;
    info.vdev = record.vdev;
    info.place = record.place;
    info.vdev_class = record.vdev_class;
    info.state = record.state;
    info.size_blocks = record.size_blocks;
    info.device_blocks = device->file == nullptr ? 0 : device->file->size_bytes() / kBlockBytes;
    info.stale_since = record.stale_since;
    info.replacing = !IsZero(record.replaces);
    info.replaces = record.replaces;
    info.read_errors = record.read_errors;
    info.write_errors = record.write_errors;
    info.checksum_errors = record.checksum_errors;
    info.why = device->why;
    all.push_back(std::move(info));
  }
  return all;
}

std::vector<VdevInfo> PoolImpl::Vdevs() const {
  std::vector<VdevInfo> all;
  for (uint32_t v = 0; v < devices_.vdevs().size(); ++v) {
    const DeviceSet::Vdev& vdev = devices_.vdevs()[v];
    if (vdev.sides.empty()) continue;
    VdevInfo info;
    info.vdev = v;
    info.vdev_class = vdev.vdev_class;
    for (uint32_t r = 0; r < range_.count; ++r) {
      if (VdevOf(regions_[r].start) != v) continue;
      info.size_blocks += regions_[r].blocks;
      info.used_blocks += regions_[r].used;
    }
    all.push_back(info);
  }
  return all;
}

bool PoolImpl::HoldsFile(const BlockFile* file) const { return devices_.HoldsFile(file); }

}  // namespace ashlar
