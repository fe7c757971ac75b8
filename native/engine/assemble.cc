// Putting a pool together from media: whose they are, which of them may be read, and whether they
// suffice. Nothing is written here.
#include <algorithm>

#include "native/engine/aligned_blocks.h"
#include "native/engine/device_set.h"
#include "native/engine/mutants.h"
#include "native/engine/wall_clock.h"

namespace ashlar {
namespace {

std::string Quote(const std::string& path) { return path.empty() ? "a device" : path; }

bool IsOut(DeviceState state) {
  return state == DeviceState::kOffline || state == DeviceState::kFaulted ||
         state == DeviceState::kMissing;
}

std::string VdevName(const Label& label, uint32_t vdev) {
  uint32_t sides = 0;
  bool log = false;
  for (uint32_t i = 0; i < label.device_count; ++i) {
    sides += label.devices[i].vdev == vdev;
    log |= label.devices[i].vdev == vdev && label.devices[i].vdev_class == VdevClass::kLog;
  }
  return (log         ? "the log device"
          : sides > 1 ? "mirror " + std::to_string(vdev)
                      : "device " + std::to_string(vdev));
}

}  // namespace

bool TransferBlocks(BlockFile& file, IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data) {
  bool ended = false;
  IoRequest request;
  request.kind = kind;
  request.offset = block * kBlockBytes;
  request.bytes = blocks * kBlockBytes;
  request.data = data;
  request.context = &ended;
  request.done = [](IoRequest* r) { *static_cast<bool*>(r->context) = true; };
  file.Submit(&request);
  file.Kick();
  while (!ended) file.Wait();
  return request.result == 0;
}

Status ReadLabel(BlockFile& file, Label* label, uint8_t* newest_slot) {
  AlignedBlocks buffer(kLabelBlocks);
  const auto parsed = std::make_unique<Label>();
  const uint64_t blocks = file.size_bytes() / kBlockBytes;
  if (blocks < kMinPoolBlocks) return Status::kNotAPool;
  Status worst = Status::kNotAPool;
  bool found = false;
  uint64_t used_blocks = blocks;  // Of the device, by the newest label.
  auto look = [&](uint8_t slot, bool back, uint64_t size) {
    if (!TransferBlocks(file, IoKind::kRead, LabelPlace(slot, back, size), kLabelBlocks,
                        buffer.data)) {
      return;
    }
    const Status status = ParseLabel(buffer.data, parsed.get());
    if (status != Status::kOk) {
      if (status != Status::kNotAPool) worst = status;
      return;
    }
    uint64_t own_blocks = 0;
    for (uint32_t i = 0; i < parsed->device_count; ++i) {
      if (parsed->devices[i].id == parsed->device_id) own_blocks = parsed->devices[i].size_blocks;
    }
    // What lies at an end that was not this device's, when the label was written, is not about it.
    if (back && own_blocks != size) return;
    if (found && !(parsed->device_id == label->device_id && parsed->pool_id == label->pool_id)) {
      return;
    }
    if (found && parsed->sequence <= label->sequence) return;
    *label = *parsed;
    *newest_slot = slot;
    used_blocks = own_blocks;
    found = true;
  };
  // At both ends: the newest may have been kept at one of them alone.
  for (const bool back : {false, true}) {
    for (uint8_t slot = 0; slot < 2; ++slot) look(slot, back, blocks);
  }
  // A medium that has grown keeps the back ones where its end was.
  if (const uint64_t size = used_blocks; found && size < blocks && size >= kMinPoolBlocks) {
    for (uint8_t slot = 0; slot < 2; ++slot) look(slot, true, size);
  }
  if (found) return Status::kOk;
  // A pool of before there were labels.
  if (TransferBlocks(file, IoKind::kRead, 0, 1, buffer.data)) {
    const auto sb = std::make_unique<Superblock>();
    const Status status = ParseSuperblock(buffer.data, sb.get());
    if (status == Status::kVersion || (status != Status::kNotAPool && worst == Status::kNotAPool)) {
      worst = status == Status::kOk ? Status::kCorrupt : status;
    }
  }
  return worst;
}

// Whose the pool is from now on. Of a pool that is closed and not exported nobody can say that it
// is closed: the machine may have it open over storage that both reach, or come back.
Status DeviceSet::Claim(const Label& truth, const PoolOwner& owner, std::string* why) {
  owner_id_ = truth.owner;
  owner_name_ = truth.owner_name;
  owned_since_s_ = truth.owned_since_s;
  if (!found_) found_ = {owner_id_, owner_name_, owned_since_s_, exported_};
  if (truth.owner == owner.id) {
    // Taken a moment ago, perhaps, by who was killed while it waited for the other machine.
    const uint64_t settled_s = truth.owned_since_s + owner.settle_ms / 1000 + 1;
    settling_ = owner.take_over && UnixSeconds() <= settled_s;
    return Status::kOk;
  }
  const bool was_ours = !IsZero(owner.former_id) && truth.owner == owner.former_id;
  const bool is_others = !IsZero(truth.owner) && !exported_ && !was_ours;
  if (is_others && !owner.take_over) {
    *why = "pool " + name_ + " belongs to " +
           (owner_name_.empty() ? "another machine" : "machine " + owner_name_) + " since " +
           UtcText(owned_since_s_) +
           ", which has not exported it and may have it open: two that write to it destroy it";
    return Status::kOwned;
  }
  settling_ = is_others;
  owner_id_ = owner.id;
  owner_name_ = owner.name;
  owned_since_s_ = UnixSeconds();
  labels_wanted_ = true;
  return Status::kOk;
}

Status DeviceSet::Assemble(const std::vector<DeviceFile>& files, const PoolOwner* owner,
                           std::string* why) {
  const bool read_only = owner == nullptr;
  struct Found {
    const DeviceFile* file;
    std::unique_ptr<Label> label;
    uint8_t slot = 0;
  };
  std::vector<Found> found;
  for (const DeviceFile& file : files) {
    auto label = std::make_unique<Label>();
    uint8_t slot = 0;
    const Status status = ReadLabel(*file.file, label.get(), &slot);
    if (status == Status::kOk) {
      found.push_back({&file, std::move(label), slot});
      continue;
    }
    if (files.size() == 1) {
      *why = status == Status::kVersion ? "the pool has a format this version does not know"
                                        : "no valid label";
      return status;
    }
    *why = Quote(file.path) + (status == Status::kVersion
                                   ? " carries a format this version does not know"
                                   : " carries no label of a pool; leave it out");
    return status == Status::kVersion ? status : Status::kForeign;
  }
  if (found.empty()) {
    *why = "no devices were given";
    return Status::kTooFew;
  }
  for (const Found& f : found) {
    if (f.label->pool_id == found[0].label->pool_id) continue;
    *why = Quote(f.file->path) + " belongs to pool " + f.label->name + ", " +
           Quote(found[0].file->path) + " to pool " + found[0].label->name +
           "; give the devices of one pool";
    return Status::kForeign;
  }
  const Found* newest = &found[0];
  for (const Found& f : found) {
    if (f.label->sequence > newest->label->sequence) newest = &f;
  }
  const Label& truth = *newest->label;
  for (const Found& f : found) {
    if (f.label->sequence == truth.sequence && !(f.label->opening == truth.opening)) {
      *why = Quote(f.file->path) + " and " + Quote(newest->file->path) +
             " were each used without the other and now differ; open the pool with one side only, "
             "and wipe the other before it is attached again";
      return Status::kDiverged;
    }
  }
  pool_id_ = truth.pool_id;
  name_ = truth.name;
  sequence_ = found_sequence_ = truth.sequence;
  exported_ = (truth.flags & kLabelExported) != 0;
  labels_wanted_ = exported_ && !read_only;
  if (!read_only) {
    if (const Status s = Claim(truth, *owner, why); s != Status::kOk) return s;
  }
  for (uint32_t i = 0; i < truth.device_count; ++i) {
    const DeviceRecord& record = truth.devices[i];
    if (vdevs_.size() <= record.vdev) vdevs_.resize(record.vdev + 1);
    vdevs_[record.vdev].vdev_class = record.vdev_class;
    DeviceFile file;
    file.id = record.id;
    file.path = record.path;
    const int slot = AddDevice(file, record.vdev, record.place, record.vdev_class, record.state,
                               record.size_blocks);
    Device& device = *devices_[static_cast<size_t>(slot)];
    device.record = record;
    device.path.clear();
    device.fresh = false;
  }
  for (Found& f : found) {
    const int index = FindDevice(f.label->device_id);
    if (index < 0) {
      *why = Quote(f.file->path) + " was taken out of pool " + name_ +
             " for good; leave it out, or wipe it and attach it anew";
      return Status::kForeign;
    }
    Device& device = *devices_[static_cast<size_t>(index)];
    if (device.file != nullptr) {
      *why = Quote(f.file->path) + " and " + Quote(device.path) +
             " carry the same label: one is a copy of the other; leave the copy out";
      return Status::kForeign;
    }
    if (IsOut(device.record.state) && f.label->sequence >= device.record.out_sequence) {
      *why = Quote(f.file->path) + " went on without the rest of its mirror, and " +
             Quote(newest->file->path) +
             " without it; open the pool with one side only, and wipe the other before it is "
             "attached again";
      return Status::kDiverged;
    }
    if (f.file->file->size_bytes() / kBlockBytes < device.record.size_blocks) {
      *why = Quote(f.file->path) +
             " is smaller than it was: " + std::to_string(f.file->file->size_bytes()) +
             " bytes, not " + std::to_string(device.record.size_blocks * kBlockBytes);
      return Status::kTooSmall;
    }
    device.file = f.file->file;
    device.path = f.file->path;
    device.label_slot = f.slot;
    // A crash came before the newest label was on all of them: what it says, that a side is out
    // perhaps, must not depend on the devices that have it.
    if (f.label->sequence < truth.sequence && device.Writable() &&
        !Mutated(Mutant::kLabelsUneven)) {
      labels_wanted_ = !read_only;
    }
    std::memset(device.record.path, 0, sizeof device.record.path);
    std::strncpy(device.record.path, f.file->path.c_str(), sizeof device.record.path - 1);
  }
  for (uint32_t v = 0; v < vdevs_.size(); ++v) {
    if (vdevs_[v].sides.empty() || ReadableSides(v) > 0) continue;
    std::string missing;
    for (uint16_t index : vdevs_[v].sides) {
      const Device& device = *devices_[index];
      if (!missing.empty()) missing += ", ";
      if (device.file != nullptr) {
        missing += Quote(device.path) + " is stale";
      } else {
        missing +=
            (device.record.path[0] != 0 ? std::string(device.record.path) : "one") + " is missing";
      }
    }
    *why = VdevName(truth, v) + " of pool " + name_ + " has no device that is in sync: " + missing;
    return Status::kTooFew;
  }
  for (const auto& device : devices_) {
    DeviceRecord& record = device->record;
    if (device->file == nullptr && !IsOut(record.state)) {
      if (record.state == DeviceState::kInSync) record.stale_since = ~uint64_t{0};
      record.state = DeviceState::kMissing;
      record.out_sequence = sequence_ + 1;
      device->why = "it was not there when the pool was opened";
      labels_wanted_ = !read_only;
    } else if (device->file != nullptr && record.state == DeviceState::kMissing && !read_only) {
      record.state = DeviceState::kResilvering;
      labels_wanted_ = true;
    } else if (record.state == DeviceState::kFaulted) {
      device->why = "it failed before this opening";
    } else if (record.state == DeviceState::kMissing) {
      device->why = "it was not there when the pool was opened";
    } else if (record.state == DeviceState::kOffline) {
      device->why = "it was taken offline";
    }
  }
  exported_ = exported_ && read_only;
  return Status::kOk;
}

}  // namespace ashlar
