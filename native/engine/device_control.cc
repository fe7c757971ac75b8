// What an operator does with devices while the pool serves. One such call at a time: each changes
// the labels, and is done when they are durable. Whatever needs new space or a resilver goes on
// after it.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr uint64_t kMinRegionBlocks = 256;  // Less is not worth a region.
}

Status PoolImpl::DeviceCallStatus() const {
  if (Faulted()) return Status::kIoError;
  if (state_ == PoolState::kClosed || closing_) return Status::kOffline;
  if (options_.read_only) return Status::kReadOnly;
  return Status::kOk;
}

Status PoolImpl::BeginDeviceCall(DoneFn done, void* context) {
  Status status = DeviceCallStatus();
  if (status == Status::kOk && device_call_busy_) status = Status::kBusy;
  if (status != Status::kOk) return status;
  device_call_busy_ = true;
  device_done_ = done;
  device_context_ = context;
  return Status::kOk;
}

void PoolImpl::EndDeviceCall(Status status) {
  if (!device_call_busy_) return;
  device_call_busy_ = false;
  CompleteControl(device_done_, device_context_, status);
}

// The change is in memory: makes it last, then ends the call.
void PoolImpl::KeepDevices() {
  devices_.UpdateLabels([](void* self) { static_cast<PoolImpl*>(self)->DevicesKept(); }, this);
}

void PoolImpl::DevicesKept() {
  need_kick_ = true;
  EnsureRegions();
  CheckResilver(false);
  EndDeviceCall(devices_.TakeJoinFailure());
}

// Devices that left are wiped, so that they are not taken for members again, and let go.
void PoolImpl::DropLeaving() {
  if (devices_.labels_busy()) return;
  for (uint16_t index = 0; index < devices_.devices().size(); ++index) {
    DeviceSet::Device* device = devices_.device(index);
    if (device == nullptr || !device->leaving || device->in_flight > 0) continue;
    if (device->file != nullptr && !device->wiped) {
      device->wiped = true;
      WipeLabels(index);
      if (device->in_flight > 0) continue;
    }
    devices_.RemoveDevice(index);
  }
}

bool PoolImpl::AnyLeaving() const {
  for (const auto& device : devices_.devices()) {
    if (device != nullptr && device->leaving && device->in_flight == 0) return true;
  }
  return false;
}

void PoolImpl::WipeLabels(uint16_t index) {
  const uint64_t size = devices_.device(index)->record.size_blocks;
  uint8_t* zeros = TakeBuffer();
  std::memset(zeros, 0, kEndBlocks * kBlockBytes);
  wipe_buffers_.push_back({zeros, 2});
  for (const uint64_t place : {uint64_t{0}, size - kEndBlocks}) {
    SubmitToDevice(index, IoKind::kWrite, place, kEndBlocks, zeros, zeros, &PoolImpl::WipeDone);
  }
}

// Best effort: a device that cannot be wiped is known by its id, which no label names any more.
void PoolImpl::WipeDone(EngineIo* io) {
  auto* zeros = static_cast<uint8_t*>(io->owner);
  FreeIo(io);
  for (auto it = wipe_buffers_.begin(); it != wipe_buffers_.end(); ++it) {
    if (it->first != zeros || --it->second > 0) continue;
    ReleaseBuffer(zeros);
    wipe_buffers_.erase(it);
    return;
  }
}

// --- Space ---

// Space of vdevs that no region speaks of yet: added, or grown, or begun before a crash.
void PoolImpl::EnsureRegions() {
  for (uint32_t v = 0; v < devices_.vdevs().size(); ++v) {
    const DeviceSet::Vdev& vdev = devices_.vdevs()[v];
    if (vdev.sides.empty() || vdev.vdev_class != VdevClass::kData) continue;
    uint64_t end = PhysAt(v, kEndBlocks);
    if (VdevOf(sb_.log_start) == v) end = std::max(end, sb_.log_start + sb_.log_blocks);
    for (uint32_t r = 0; r < range_.count; ++r) {
      if (VdevOf(regions_[r].start) == v) {
        end = std::max(end, regions_[r].start + regions_[r].blocks);
      }
    }
    const uint64_t blocks = devices_.VdevBlocks(v);
    if (blocks <= kEndBlocks) continue;
    const uint64_t limit = PhysAt(v, blocks - kEndBlocks);
    if (limit < end + kMinRegionBlocks || range_.count == kMaxRegions) continue;
    regions_[range_.count++] = {end, limit - end, 0};
  }
  if (range_.count == active_regions_) return;
  Grow(&space_, HeightFor(GroupCount()));
  region_checkpoints_ = 0;
  want_checkpoint_ = true;
}

// After each checkpoint. Both superblocks must know a region before anything is put there: the
// older one may have to be opened from.
void PoolImpl::ActivateRegions() {
  if (range_.count == active_regions_) return;
  if (sb_.region_count < range_.count || ++region_checkpoints_ < 2) {
    want_checkpoint_ = true;
    return;
  }
  active_regions_ = range_.count;
  LayOutGroups();
  SetLimits();
}

// --- Calls ---

void PoolImpl::AddVdev(const std::vector<DeviceFile>& sides, DoneFn done, void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  bool mine = status == Status::kOk;
  if (mine &&
      (sides.empty() || sides.size() > kMaxMirror ||
       devices_.DeviceCount() + sides.size() > kMaxDevices || range_.count == kMaxRegions)) {
    status = Status::kInvalid;
  }
  for (const DeviceFile& side : sides) {
    if (status != Status::kOk) break;
    if (side.file->size_bytes() / kBlockBytes < kMinPoolBlocks) status = Status::kTooSmall;
    if (devices_.HoldsFile(side.file)) status = Status::kExists;
  }
  if (status == Status::kOk) {
    const uint32_t vdev = devices_.AddVdev(VdevClass::kData);
    if (vdev >= kMaxVdevs) status = Status::kInvalid;
    for (size_t place = 0; place < sides.size() && status == Status::kOk; ++place) {
      devices_.AddDevice(sides[place], static_cast<uint16_t>(vdev), static_cast<uint8_t>(place),
                         VdevClass::kData, DeviceState::kInSync,
                         sides[place].file->size_bytes() / kBlockBytes);
    }
  }
  if (status == Status::kOk) {
    KeepDevices();
  } else if (mine) {
    EndDeviceCall(status);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

// A new side for the vdev of `beside`; `replaces` leaves once it is in sync.
Status PoolImpl::JoinSide(const Uuid& beside, const DeviceFile& file, bool replaces) {
  const int index = devices_.FindDevice(beside);
  if (index < 0 || devices_.device(static_cast<uint32_t>(index))->leaving) return Status::kNotFound;
  const DeviceRecord old = devices_.device(static_cast<uint32_t>(index))->record;
  const auto& sides = devices_.vdevs()[old.vdev].sides;
  if (devices_.HoldsFile(file.file)) return Status::kExists;
  if (file.file->size_bytes() / kBlockBytes < devices_.VdevBlocks(old.vdev)) {
    return Status::kTooSmall;
  }
  if (sides.size() >= (replaces ? kMaxSides : kMaxMirror) ||
      devices_.DeviceCount() == kMaxDevices) {
    return Status::kInvalid;
  }
  uint8_t place = 0;
  for (uint8_t p = 0; p < kMaxSides; ++p) {
    const bool taken = std::any_of(sides.begin(), sides.end(), [&](uint16_t side) {
      return devices_.device(side)->record.place == p;
    });
    if (!taken) {
      place = p;
      break;
    }
  }
  const int slot =
      devices_.AddDevice(file, old.vdev, place, old.vdev_class, DeviceState::kResilvering,
                         file.file->size_bytes() / kBlockBytes);
  if (slot < 0) return Status::kInvalid;
  DeviceRecord& record = devices_.device(static_cast<uint32_t>(slot))->record;
  record.stale_since = 0;
  if (replaces) record.replaces = beside;
  return Status::kOk;
}

void PoolImpl::AttachDevice(const Uuid& beside, const DeviceFile& file, bool replaces, DoneFn done,
                            void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  if (status != Status::kOk) {
    CompleteControl(done, context, status);
  } else if (status = JoinSide(beside, file, replaces); status != Status::kOk) {
    EndDeviceCall(status);
  } else {
    KeepDevices();
  }
  Leave();
}

void PoolImpl::DetachDevice(const Uuid& id, DoneFn done, void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  if (status != Status::kOk) {
    CompleteControl(done, context, status);
    Leave();
    return;
  }
  const int index = devices_.FindDevice(id);
  DeviceSet::Device* device = index < 0 ? nullptr : devices_.device(static_cast<uint32_t>(index));
  if (device == nullptr || device->leaving) {
    EndDeviceCall(Status::kNotFound);
  } else if (device->record.state == DeviceState::kInSync &&
             devices_.ReadableSides(device->record.vdev) < 2) {
    EndDeviceCall(Status::kTooFew);  // It is the last one with the data.
  } else {
    devices_.LetGo(static_cast<uint16_t>(index));
    KeepDevices();
  }
  Leave();
}

void PoolImpl::OfflineDevice(const Uuid& id, DoneFn done, void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  if (status != Status::kOk) {
    CompleteControl(done, context, status);
    Leave();
    return;
  }
  const int index = devices_.FindDevice(id);
  if (index < 0) {
    EndDeviceCall(Status::kNotFound);
  } else if (devices_.device(static_cast<uint32_t>(index))->record.state == DeviceState::kFaulted ||
             devices_.device(static_cast<uint32_t>(index))->record.state == DeviceState::kMissing) {
    devices_.device(static_cast<uint32_t>(index))->record.state = DeviceState::kOffline;
    KeepDevices();
  } else if (!devices_.TakeOut(static_cast<uint16_t>(index), DeviceState::kOffline,
                               "it was taken offline")) {
    EndDeviceCall(Status::kTooFew);
  } else {
    KeepDevices();
  }
  Leave();
}

// `file.file` null: the one it had. `sequence`: of the label that is on it now.
void PoolImpl::OnlineDevice(const Uuid& id, const DeviceFile& file, uint64_t sequence, DoneFn done,
                            void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  if (status != Status::kOk) {
    CompleteControl(done, context, status);
    Leave();
    return;
  }
  const int index = devices_.FindDevice(id);
  DeviceSet::Device* device = index < 0 ? nullptr : devices_.device(static_cast<uint32_t>(index));
  if (device == nullptr || device->leaving) {
    status = Status::kNotFound;
  } else if (device->Writable()) {
    EndDeviceCall(Status::kOk);
    Leave();
    return;
  } else if (file.file == nullptr && device->file == nullptr) {
    status = Status::kNotFound;
  } else if (file.file != nullptr && sequence >= device->record.out_sequence) {
    status = Status::kDiverged;
  } else if (file.file != nullptr &&
             file.file->size_bytes() / kBlockBytes < device->record.size_blocks) {
    status = Status::kTooSmall;
  }
  if (status == Status::kOk) {
    if (file.file != nullptr) {
      device->file = file.file;
      device->path = file.path;
      device->label_slot = file.label_slot;
      std::memset(device->record.path, 0, sizeof device->record.path);
      std::strncpy(device->record.path, file.path.c_str(), sizeof device->record.path - 1);
    }
    device->record.state = DeviceState::kResilvering;
    device->returning = true;
    device->why.clear();
    KeepDevices();
  } else {
    EndDeviceCall(status);
  }
  Leave();
}

// Takes into use what devices have grown by: a vdev by what the smallest of its sides has.
void PoolImpl::GrowDevices(DoneFn done, void* context) {
  Enter();
  Status status = BeginDeviceCall(done, context);
  if (status != Status::kOk) {
    CompleteControl(done, context, status);
  } else {
    for (const auto& device : devices_.devices()) {
      if (device == nullptr || !device->Writable()) continue;
      device->record.size_blocks =
          std::max(device->record.size_blocks, device->file->size_bytes() / kBlockBytes);
    }
    KeepDevices();
  }
  Leave();
}

void PoolImpl::SetGrowthLimit(uint32_t percent, DoneFn done, void* context) {
  Enter();
  Status status = DeviceCallStatus();
  if (status == Status::kOk && (percent == 0 || percent > 100)) status = Status::kInvalid;
  if (status == Status::kOk) {
    growth_limit_ = percent;
    SetLimits();
    checkpoint_waiters_.push_back({cuts_ + 1, done, context, false});
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::Export(DoneFn done, void* context) { CloseForOther(false, done, context); }

void PoolImpl::GiveBack(DoneFn done, void* context) { CloseForOther(true, done, context); }

void PoolImpl::LookBeforeWriting() {
  if (state_ == PoolState::kOpen && !options_.read_only) devices_.LookBeforeWriting();
}

void PoolImpl::CloseForOther(bool as_found, DoneFn done, void* context) {
  Enter();
  export_as_found_ = as_found;
  export_done_ = done;
  export_context_ = context;
  Close([](void* self, Status status) { static_cast<PoolImpl*>(self)->ClosedForExport(status); },
        this);
  Leave();
}

void PoolImpl::ClosedForExport(Status status) {
  if (status != Status::kOk || options_.read_only) {
    return CompleteControl(export_done_, export_context_, status);
  }
  if (export_as_found_) {
    devices_.RestoreOwner();
  } else {
    devices_.set_exported(true);
  }
  export_labels_ = true;
  devices_.UpdateLabels([](void* self) { static_cast<PoolImpl*>(self)->EndExport(Status::kOk); },
                        this);
  need_kick_ = true;
}

void PoolImpl::EndExport(Status status) {
  if (!export_labels_) return;
  export_labels_ = false;
  CompleteControl(export_done_, export_context_, status);
}

// --- Resilver ---

uint32_t PoolImpl::ResilverTargets(uint64_t* since) const {
  uint32_t print = 0;
  *since = ~uint64_t{0};
  for (const auto& device : devices_.devices()) {
    if (device == nullptr || device->file == nullptr || device->leaving ||
        device->record.state != DeviceState::kResilvering) {
      continue;
    }
    // Out and back again, it is another target: it missed what came in between.
    uint32_t h = 2166136261u;
    for (uint8_t byte : device->record.id.bytes) h = (h ^ byte) * 16777619u;
    for (uint64_t word : {device->record.out_sequence, device->record.stale_since}) {
      h = (h ^ static_cast<uint32_t>(word)) * 16777619u;
    }
    print += h | 1;
    *since = std::min(*since, device->record.stale_since);
  }
  return print;
}

// Begins, goes on with, or ends the resilver, as the devices now are. `opening`: the walk may be
// one that a restart interrupted.
void PoolImpl::CheckResilver(bool opening) {
  uint64_t since = 0;
  const uint32_t targets = ResilverTargets(&since);
  WalkRecord& r = resilver_.record;
  if (targets == 0) {
    if (Running(resilver_)) {
      DropTasks(&resilver_);
      r.state = static_cast<uint32_t>(WalkState::kCancelled);
    }
    return;
  }
  if (Running(resilver_) && r.reserved == targets) {
    if (opening) {
      // What had been written by the superblock that was opened from is flushed on the targets too;
      // what came later may not be.
      r.cursor_since =
          r.cursor_since == 0 ? base_generation_ : std::min(r.cursor_since, base_generation_);
    }
  } else {
    BeginWalk(&resilver_, since);
    r.reserved = targets;
  }
  // Everything under way when the targets joined must be in its place: writes are applied, and a
  // checkpoint that began before is over.
  resilver_.wait_sequence = next_sequence_;
  resilver_.wait_checkpoints = checkpoints_ + 2;
  resilver_.wrote = true;
  want_checkpoint_ = true;
}

// The walk has seen everything. True: its targets are in sync. Before that, two checkpoints: the
// devices' superblocks then lead to nothing older than the walk, and need no older log.
bool PoolImpl::FinishResilver() {
  uint64_t since = 0;
  if (ResilverTargets(&since) != resilver_.record.reserved) {
    // Another device is joining, or one has left.
    CheckResilver(false);
    return false;
  }
  if (resilver_.wrote) {
    resilver_.wrote = false;
    resilver_.wait_checkpoints = checkpoints_ + 3;
    return false;
  }
  for (const auto& device : devices_.devices()) {
    if (device == nullptr || device->record.state != DeviceState::kResilvering) continue;
    device->record.state = DeviceState::kInSync;
    device->record.stale_since = device->record.out_sequence = 0;
    if (IsZero(device->record.replaces)) continue;
    const int old = devices_.FindDevice(device->record.replaces);
    if (old >= 0) devices_.LetGo(static_cast<uint16_t>(old));
    device->record.replaces = {};
  }
  devices_.UpdateLabels([](void* self) { static_cast<PoolImpl*>(self)->EnsureRegions(); }, this);
  return true;
}

}  // namespace ashlar
