// Making a pool of blank devices, taking a device's pool from it, and looking whose a device is. None
// of it opens a pool.
#include <algorithm>

#include "native/engine/aligned_blocks.h"
#include "native/engine/device_set.h"
#include "native/engine/pool.h"

namespace ashlar {
namespace {

uint64_t DefaultLogBlocks(uint64_t size_blocks) {
  return std::clamp<uint64_t>(size_blocks / 32, kMinLogBlocks, kMaxLogBlocks);
}

}  // namespace

Status Pool::Format(BlockFile& file, const FormatOptions& options) {
  PoolLayout layout;
  layout.data.push_back({DeviceFile{&file, "", {}}});
  return Format(layout, options);
}

Status Pool::Format(const PoolLayout& layout, const FormatOptions& options) {
  if (options.name.size() > 63 || options.growth_limit_percent == 0 ||
      options.growth_limit_percent > 100 || layout.data.empty()) {
    return Status::kInvalid;
  }
  // The vdevs: the data's first, then the log's own.
  std::vector<std::vector<DeviceFile>> vdevs = layout.data;
  if (!layout.log.empty()) vdevs.push_back(layout.log);
  if (vdevs.size() > kMaxVdevs) return Status::kInvalid;
  const auto label = std::make_unique<Label>();
  label->pool_id = options.store_id;
  std::memcpy(label->name, options.name.data(), options.name.size());
  label->sequence = 1;
  std::vector<uint64_t> sizes;
  std::vector<const DeviceFile*> files;
  for (size_t v = 0; v < vdevs.size(); ++v) {
    if (vdevs[v].empty() || vdevs[v].size() > kMaxMirror) return Status::kInvalid;
    uint64_t size = ~uint64_t{0};
    for (size_t place = 0; place < vdevs[v].size(); ++place) {
      const DeviceFile& file = vdevs[v][place];
      const uint64_t blocks = file.file->size_bytes() / kBlockBytes;
      if (blocks < kMinPoolBlocks) return Status::kTooSmall;
      if (blocks > kPhysBlockMask || label->device_count == kMaxDevices) return Status::kInvalid;
      size = std::min(size, blocks);
      DeviceRecord& record = label->devices[label->device_count];
      record.id = file.id;
      if (IsZero(record.id)) {
        record.id = options.store_id;
        record.id.bytes[0] = static_cast<uint8_t>(record.id.bytes[0] ^ (label->device_count + 1));
        record.id.bytes[8] = static_cast<uint8_t>(record.id.bytes[8] ^ 0x5A);
      }
      record.vdev = static_cast<uint16_t>(v);
      record.place = static_cast<uint8_t>(place);
      record.state = DeviceState::kInSync;
      const bool log = !layout.log.empty() && v + 1 == vdevs.size();
      record.vdev_class = log ? VdevClass::kLog : VdevClass::kData;
      record.size_blocks = blocks;
      std::strncpy(record.path, file.path.c_str(), sizeof record.path - 1);
      files.push_back(&file);
      ++label->device_count;
    }
    sizes.push_back(size);
  }
  Superblock sb{};
  sb.store_id = options.store_id;
  std::memcpy(sb.name, options.name.data(), options.name.size());
  sb.growth_limit_percent = options.growth_limit_percent;
  for (uint64_t size : sizes) sb.size_blocks += size;
  const uint64_t log_vdev = layout.log.empty() ? 0 : vdevs.size() - 1;
  const uint64_t room = sizes[log_vdev];
  sb.log_start = PhysAt(log_vdev, kEndBlocks);
  sb.log_blocks =
      options.log_bytes == 0 ? DefaultLogBlocks(sb.size_blocks) : options.log_bytes / kBlockBytes;
  sb.log_blocks = std::clamp<uint64_t>(
      sb.log_blocks, kMinLogBlocks,
      std::min<uint64_t>(kMaxLogBlocks, layout.log.empty() ? room / 4 : room - 2 * kEndBlocks));
  for (size_t v = 0; v < layout.data.size(); ++v) {
    const uint64_t start = v == log_vdev ? kEndBlocks + sb.log_blocks : uint64_t{kEndBlocks};
    sb.regions[sb.region_count++] = {PhysAt(v, start), sizes[v] - kEndBlocks - start, 0};
  }
  sb.next_tree = 16;
  sb.blobs.height = 1;
  sb.catalog.height = 2;
  const uint64_t groups = PhysRange{sb.regions, sb.region_count}.Groups();
  while ((groups - 1) >> (kFanOutBits * sb.space.height) != 0) ++sb.space.height;
  AlignedBlocks buffer(kLabelBlocks);
  auto write = [&](size_t i, uint64_t place, uint32_t blocks) {
    return TransferBlocks(*files[i]->file, IoKind::kWrite, place, blocks, buffer.data);
  };
  auto flush = [&] {
    for (const DeviceFile* file : files) {
      if (!TransferBlocks(*file->file, IoKind::kFlush, 0, 0, nullptr)) return false;
    }
    return true;
  };
  // What was there goes first: no mixture of two pools is ever found.
  for (size_t i = 0; i < files.size(); ++i) {
    const uint64_t size = label->devices[i].size_blocks;
    for (const bool back : {false, true}) {
      for (uint64_t slot = 0; slot < 2; ++slot) {
        if (!write(i, SuperPlace(slot, back, size), 1)) return Status::kIoError;
        if (!write(i, LabelPlace(slot, back, size), kLabelBlocks)) return Status::kIoError;
      }
    }
    if (label->devices[i].vdev == log_vdev && !write(i, BlockOf(sb.log_start), 1)) {
      return Status::kIoError;
    }
  }
  if (!flush()) return Status::kIoError;
  for (uint64_t generation = 0; generation < 2; ++generation) {
    sb.generation = generation;
    SealSuperblock(&sb);
    std::memcpy(buffer.data, &sb, sizeof sb);
    for (size_t i = 0; i < files.size(); ++i) {
      for (const bool back : {false, true}) {
        if (!write(i, SuperPlace(generation, back, label->devices[i].size_blocks), 1)) {
          return Status::kIoError;
        }
      }
    }
  }
  // The labels make it a pool.
  if (!flush()) return Status::kIoError;
  for (size_t i = 0; i < files.size(); ++i) {
    label->device_id = label->devices[i].id;
    SealLabel(label.get());
    std::memcpy(buffer.data, label.get(), sizeof *label);
    for (const bool back : {false, true}) {
      if (!write(i, LabelPlace(1, back, label->devices[i].size_blocks), kLabelBlocks)) {
        return Status::kIoError;
      }
    }
  }
  return flush() ? Status::kOk : Status::kIoError;
}

Status Pool::WipeDevice(BlockFile& file) {
  const uint64_t size = file.size_bytes() / kBlockBytes;
  if (size < kMinPoolBlocks) return Status::kTooSmall;
  AlignedBlocks zeros(kEndBlocks);
  for (const uint64_t place : {uint64_t{0}, size - kEndBlocks}) {
    if (!TransferBlocks(file, IoKind::kWrite, place, kEndBlocks, zeros.data)) {
      return Status::kIoError;
    }
  }
  return TransferBlocks(file, IoKind::kFlush, 0, 0, nullptr) ? Status::kOk : Status::kIoError;
}

Status Pool::Probe(BlockFile& file, ProbeResult* result) {
  const auto label = std::make_unique<Label>();
  const Status status = ReadLabel(file, label.get(), &result->label_slot);
  if (status != Status::kOk) return status;
  result->store_id = label->pool_id;
  result->name = label->name;
  result->device_id = label->device_id;
  result->sequence = label->sequence;
  result->exported = (label->flags & kLabelExported) != 0;
  result->devices = label->device_count;
  result->owner = label->owner;
  result->owner_name = label->owner_name;
  result->owned_since_s = label->owned_since_s;
  return Status::kOk;
}

Status Pool::Probe(BlockFile& file, Uuid* store_id, std::string* name) {
  ProbeResult result;
  const Status status = Probe(file, &result);
  if (status != Status::kOk) return status;
  *store_id = result.store_id;
  *name = result.name;
  return status;
}

}  // namespace ashlar
