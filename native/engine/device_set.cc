#include "native/engine/device_set.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>

#include "native/engine/mutants.h"

namespace ashlar {
namespace {
// A write that fails goes to the same device again before the device is taken out.
constexpr uint8_t kSideTries = 3;
uint64_t Bit(uint16_t device) { return uint64_t{1} << device; }
}  // namespace

DeviceSet::~DeviceSet() {
  for (uint8_t* buffer : label_buffers_) std::free(buffer);
}

// --- One device ---

void DeviceSet::Send(uint16_t index, SetIo* io) {
  Device& device = *devices_[index];
  io->device = index;
  io->request.context = io;
  io->request.done = &DeviceSet::OnSent;
  ++device.in_flight;
  ++in_flight_;
  if (device.file == nullptr) {
    io->request.result = -ENXIO;
    OnSent(&io->request);
    return;
  }
  device.kick = kick_pending_ = true;
  device.file->Submit(&io->request);
}

void DeviceSet::OnSent(IoRequest* request) {
  SetIo* io = static_cast<SetIo*>(request->context);
  DeviceSet* self = io->set;
  Device& device = *self->devices_[io->device];
  --device.in_flight;
  --self->in_flight_;
  if (request->result != 0) {
    ++(request->kind == IoKind::kRead ? device.record.read_errors : device.record.write_errors);
  }
  self->Deliver(io);
}

void DeviceSet::Deliver(SetIo* io) {
  if (holding_ && io->request.kind != IoKind::kRead && !io->direct) {
    io->next_held = nullptr;
    (held_tail_ != nullptr ? held_tail_->next_held : held_head_) = io;
    held_tail_ = io;
    return;
  }
  if (!abandoned_) io->ended(io);
}

// The one with the least to do; of equals, by place on the medium, so that a sequential reader
// stays on one for a while.
uint16_t DeviceSet::PickSide(const Vdev& vdev) {
  const Device* best = nullptr;
  uint16_t best_index = vdev.sides[0];
  for (uint16_t index : vdev.sides) {
    const Device& device = *devices_[index];
    if (!device.Readable()) continue;
    if (best == nullptr || device.in_flight < best->in_flight) {
      best = &device;
      best_index = index;
    }
  }
  return best_index;
}

// --- All sides ---

DeviceSet::SideIo* DeviceSet::NewSide(SetIo* io, uint16_t device) {
  if (free_sides_.empty()) free_sides_.push_back(&all_sides_.emplace_back());
  SideIo* side = free_sides_.back();
  free_sides_.pop_back();
  side->request = io->request;
  side->request.result = 0;
  side->request.next = nullptr;
  side->request.context = side;
  side->request.done = &DeviceSet::OnSide;
  side->set = this;
  side->parent = io;
  side->device = device;
  side->tries = 0;
  return side;
}

void DeviceSet::SendSide(SideIo* side) {
  Device& device = *devices_[side->device];
  ++device.in_flight;
  ++in_flight_;
  device.kick = kick_pending_ = true;
  device.file->Submit(&side->request);
}

void DeviceSet::SubmitWrite(SetIo* io) {
  SideIo* sides[kMaxSides];
  uint32_t count = 0;
  for (uint16_t index : vdevs_[io->vdev].sides) {
    if (devices_[index]->Writable()) sides[count++] = NewSide(io, index);
  }
  assert(count > 0);
  io->left = static_cast<uint8_t>(count);
  io->ok = io->failed = 0;
  io->error = 0;
  for (uint32_t i = 0; i < count; ++i) SendSide(sides[i]);
}

void DeviceSet::SubmitFlush(SetIo* io) {
  if (devices_.size() == 1) return Send(0, io);
  std::vector<SideIo*> sides;
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if (devices_[index] != nullptr && devices_[index]->Writable()) {
      sides.push_back(NewSide(io, index));
    }
  }
  assert(!sides.empty());
  io->left = static_cast<uint8_t>(sides.size());
  io->ok = io->failed = 0;
  io->error = 0;
  for (SideIo* side : sides) SendSide(side);
}

void DeviceSet::OnSide(IoRequest* request) {
  SideIo* side = static_cast<SideIo*>(request->context);
  side->set->SideDone(side);
}

void DeviceSet::SideDone(SideIo* side) {
  Device& device = *devices_[side->device];
  SetIo* io = side->parent;
  --device.in_flight;
  --in_flight_;
  const int32_t result = side->request.result;
  if (result != 0) {
    if (device.Writable()) ++device.record.write_errors;
    // A flush is never repeated: what it failed to write may be marked clean (S9).
    if (side->request.kind == IoKind::kWrite && device.Writable() && !abandoned_ &&
        ++side->tries < kSideTries) {
      side->request.result = 0;
      return SendSide(side);
    }
    io->failed |= Bit(side->device);
    if (io->error == 0) io->error = result;
  } else {
    io->ok |= Bit(side->device);
  }
  side->parent = nullptr;
  free_sides_.push_back(side);
  if (--io->left > 0 || abandoned_) return;
  if (io->request.kind == IoKind::kFlush) return SettleFlush(io);
  Settle(io);
}

// A write has ended on all sides. It is good if a side in sync has it: then those that failed are
// out. If none has, the fault is perhaps the place's (S10): nobody is out, the engine tries
// another.
void DeviceSet::Settle(SetIo* io) {
  bool good = false;
  for (uint16_t index : vdevs_[io->vdev].sides) {
    good |= (io->ok & Bit(index)) != 0 && devices_[index]->Readable();
  }
  io->request.result = good ? 0 : io->error != 0 ? io->error : -EIO;
  for (uint16_t index = 0; io->failed >> index != 0; ++index) {
    if ((io->failed & Bit(index)) == 0) continue;
    Device* device = devices_[index].get();
    if (device == nullptr || !device->Writable()) continue;
    const bool resilvering = device->record.state == DeviceState::kResilvering;
    if (good || resilvering) {
      static_cast<void>(TakeOut(index, DeviceState::kFaulted, "it failed a write"));
    }
  }
  Deliver(io);
}

void DeviceSet::SettleFlush(SetIo* io) {
  io->request.result = 0;
  for (const Vdev& vdev : vdevs_) {
    bool asked = false;
    bool good = false;
    for (uint16_t index : vdev.sides) {
      asked |= ((io->ok | io->failed) & Bit(index)) != 0;
      good |= (io->ok & Bit(index)) != 0 && devices_[index]->Readable();
    }
    if (!asked) continue;  // It has joined since: nothing of it is meant.
    if (!good) io->request.result = io->error != 0 ? io->error : -EIO;
    for (uint16_t index : vdev.sides) {
      if ((io->failed & Bit(index)) == 0 || !devices_[index]->Writable()) continue;
      if (good || devices_[index]->record.state == DeviceState::kResilvering) {
        static_cast<void>(TakeOut(index, DeviceState::kFaulted, "it failed a flush"));
      }
    }
  }
  Deliver(io);
}

void DeviceSet::Kick() {
  if (!kick_pending_) return;
  kick_pending_ = false;
  if (look_.reading && look_.left == 0 && !abandoned_) EndLook();
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device* device = devices_[i].get();
    if (device == nullptr || !device->kick) continue;
    device->kick = false;
    device->file->Kick();
  }
}

int DeviceSet::Poll() {
  int delivered = 0;
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device* device = devices_[i].get();
    if (device != nullptr && device->in_flight > 0) delivered += device->file->Poll();
  }
  return delivered;
}

int DeviceSet::Wait() {
  Kick();
  int delivered = Poll();
  if (delivered > 0) return delivered;
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device* device = devices_[i].get();
    if (device != nullptr && device->in_flight > 0) return device->file->Wait();
  }
  return 0;
}

void DeviceSet::Abandon() {
  abandoned_ = true;
  held_head_ = held_tail_ = nullptr;
  look_.held.clear();
  waiters_.clear();
}

// --- Who is in and who is out ---

bool DeviceSet::TakeOut(uint16_t index, DeviceState state, std::string why) {
  if (index >= devices_.size() || devices_[index] == nullptr) return true;  // It has left.
  Device& device = *devices_[index];
  if (!device.Writable()) return true;
  if (device.record.state == DeviceState::kInSync) {
    if (ReadableSides(device.record.vdev) < 2) return false;
    // What was born up to the newest durable superblock had been flushed on it.
    device.record.stale_since = durable_generation_;
  }
  device.record.state = state;
  device.record.out_sequence = sequence_ + 1;
  device.why = std::move(why);
  holding_ = !Mutated(Mutant::kAckBeforeLabels);
  UpdateLabels(nullptr, nullptr);
  return true;
}

void DeviceSet::LetGo(uint16_t index) {
  Device& device = *devices_[index];
  if (device.Writable() && !Mutated(Mutant::kAckBeforeLabels)) holding_ = true;
  device.record.state = DeviceState::kOffline;
  device.leaving = true;
  for (const auto& other : devices_) {
    if (other != nullptr && other->record.replaces == device.record.id) other->record.replaces = {};
  }
}

int DeviceSet::AddDevice(const DeviceFile& file, uint16_t vdev, uint8_t place, VdevClass vdev_class,
                         DeviceState state, uint64_t size_blocks) {
  size_t slot = 0;
  while (slot < devices_.size() && devices_[slot] != nullptr) ++slot;
  if (slot >= kMaxDevices) return -1;
  if (slot == devices_.size()) devices_.emplace_back();
  devices_[slot] = std::make_unique<Device>();
  Device& device = *devices_[slot];
  device.file = file.file;
  device.path = file.path;
  device.record.id = IsZero(file.id) ? FreshId(slot) : file.id;
  device.record.vdev = vdev;
  device.record.place = place;
  device.record.state = state;
  device.record.vdev_class = vdev_class;
  device.record.size_blocks = size_blocks;
  device.fresh = true;
  device.label_slot = file.label_slot;
  std::strncpy(device.record.path, file.path.c_str(), sizeof device.record.path - 1);
  auto& sides = vdevs_[vdev].sides;
  sides.push_back(static_cast<uint16_t>(slot));
  std::sort(sides.begin(), sides.end(), [this](uint16_t a, uint16_t b) {
    return devices_[a]->record.place < devices_[b]->record.place;
  });
  return static_cast<int>(slot);
}

void DeviceSet::RemoveDevice(uint16_t index) {
  Device& device = *devices_[index];
  assert(device.in_flight == 0);
  std::erase(vdevs_[device.record.vdev].sides, index);
  devices_[index].reset();
  while (!devices_.empty() && devices_.back() == nullptr) devices_.pop_back();
}

uint32_t DeviceSet::AddVdev(VdevClass vdev_class) {
  size_t vdev = 0;
  while (vdev < vdevs_.size() && !vdevs_[vdev].sides.empty()) ++vdev;
  if (vdev == vdevs_.size()) vdevs_.emplace_back();
  vdevs_[vdev] = Vdev{vdev_class, {}};
  return static_cast<uint32_t>(vdev);
}

int DeviceSet::FindDevice(const Uuid& id) const {
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] != nullptr && devices_[i]->record.id == id) return static_cast<int>(i);
  }
  return -1;
}

uint32_t DeviceSet::DeviceCount() const {
  uint32_t count = 0;
  for (const auto& device : devices_) count += device != nullptr;
  return count;
}

uint32_t DeviceSet::DataVdevs() const {
  uint32_t count = 0;
  for (const Vdev& v : vdevs_) count += !v.sides.empty() && v.vdev_class == VdevClass::kData;
  return count;
}

uint32_t DeviceSet::ReadableSides(uint32_t vdev) const {
  uint32_t count = 0;
  for (uint16_t index : vdevs_[vdev].sides) count += devices_[index]->Readable();
  return count;
}

uint64_t DeviceSet::VdevBlocks(uint32_t vdev) const {
  uint64_t blocks = ~uint64_t{0};
  for (uint16_t index : vdevs_[vdev].sides) {
    if (!devices_[index]->leaving) blocks = std::min(blocks, devices_[index]->record.size_blocks);
  }
  // All that are left of it are leaving.
  if (blocks == ~uint64_t{0}) return 0;
  return blocks;
}

bool DeviceSet::HoldsFile(const BlockFile* file) const {
  for (const auto& device : devices_) {
    if (device != nullptr && device->file == file) return true;
  }
  return false;
}

void DeviceSet::MissingSince(uint64_t generation) {
  for (const auto& device : devices_) {
    if (device == nullptr || device->record.state != DeviceState::kMissing) continue;
    if (device->record.out_sequence != sequence_ + 1) continue;
    if (device->record.stale_since == ~uint64_t{0}) device->record.stale_since = generation;
  }
}

std::string DeviceSet::Describe(const Device& device) const {
  const std::string place = "vdev " + std::to_string(device.record.vdev) + " place " +
                            std::to_string(device.record.place);
  const std::string path = device.path.empty() ? std::string(device.record.path) : device.path;
  return path.empty() ? place : path + " (" + place + ")";
}

// Ids need to differ, not to be secret.
Uuid DeviceSet::FreshId(uint64_t salt) const {
  Uuid id = pool_id_;
  uint64_t h = 0x9E3779B97F4A7C15ull * (salt + 1) ^ (sequence_ + 1) * 0xD6E8FEB86659FD93ull;
  for (int i = 0; i < 16; ++i) {
    h ^= opening_.bytes[i];
    h *= 0xFF51AFD7ED558CCDull;
    h ^= h >> 29;
    id.bytes[i] = static_cast<uint8_t>(id.bytes[i] ^ static_cast<uint8_t>(h >> 24));
  }
  return id;
}

// --- Labels ---

void DeviceSet::MakeLabel(Label* label, const Uuid& device_id) const {
  *label = Label{};
  label->pool_id = pool_id_;
  label->device_id = device_id;
  label->sequence = sequence_;
  label->opening = opening_;
  label->flags = exported_ ? kLabelExported : 0;
  std::memcpy(label->name, name_.data(), std::min<size_t>(name_.size(), 63));
  label->owner = owner_id_;
  label->owned_since_s = owned_since_s_;
  std::memcpy(label->owner_name, owner_name_.data(), std::min<size_t>(owner_name_.size(), 63));
  for (const auto& device : devices_) {
    if (device == nullptr || device->leaving) continue;
    label->devices[label->device_count++] = device->record;
  }
  SealLabel(label);
}

void DeviceSet::UpdateLabels(LabelsFn done, void* context) {
  if (abandoned_) return;
  const bool running = labels_busy_;
  if (done != nullptr) waiters_.push_back({done, context, sequence_ + 1});
  labels_again_ = true;
  if (!running) StartLabels();
}

void DeviceSet::StartLabels() {
  labels_busy_ = true;
  look_.before_labels = true;
  switch (look_.state) {
    case Look::State::kLost:
      look_.before_labels = false;
      return GiveUpLabels();
    case Look::State::kLooking:
      look_.again = true;  // It may have passed by a device that has come back since.
      return;
    case Look::State::kTrusted:
    case Look::State::kDue:
      return WaitForLook();
  }
}

void DeviceSet::WriteLabels() {
  labels_again_ = false;
  labels_wanted_ = false;
  labels_flushing_ = false;
  ++sequence_;
  label_ok_ = label_failed_ = label_kept_ = label_sent_ = 0;
  labels_left_ = 1;  // Not to end before the last one is out.
  std::vector<uint16_t> targets;
  std::vector<uint16_t> fresh;
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if (devices_[index] == nullptr || !devices_[index]->Writable()) continue;
    targets.push_back(index);
    if (devices_[index]->fresh) fresh.push_back(index);
  }
  // A crash in between must not leave labels that speak of a vdev whose devices have none.
  if (!fresh.empty()) {
    targets = fresh;
    labels_again_ = true;
  }
  while (label_buffers_.size() < targets.size()) {
    auto* buffer = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kLabelBytes));
    if (buffer == nullptr) std::abort();
    label_buffers_.push_back(buffer);
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    MakeLabel(reinterpret_cast<Label*>(label_buffers_[i]), devices_[targets[i]]->record.id);
    label_sent_ |= Bit(targets[i]);
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    const Device& device = *devices_[targets[i]];
    const uint64_t slot =
        Mutated(Mutant::kLabelsByParity) ? sequence_ & 1 : 1 - uint64_t{device.label_slot};
    for (const bool back : {false, true}) {
      SendLabel(targets[i], IoKind::kWrite, LabelPlace(slot, back, device.record.size_blocks),
                label_buffers_[i]);
    }
  }
  LabelStep();
}

void DeviceSet::SendLabel(uint16_t index, IoKind kind, uint64_t block, uint8_t* data) {
  if (free_label_ios_.empty()) free_label_ios_.push_back(&all_label_ios_.emplace_back());
  LabelIo* io = free_label_ios_.back();
  free_label_ios_.pop_back();
  io->request = IoRequest{};
  io->request.kind = kind;
  io->request.offset = block * kBlockBytes;
  io->request.bytes = kind == IoKind::kFlush ? 0 : kLabelBytes;
  io->request.data = data;
  io->request.context = io;
  io->request.done = &DeviceSet::OnLabel;
  io->set = this;
  io->device = index;
  ++labels_left_;
  Device& device = *devices_[index];
  ++device.in_flight;
  ++in_flight_;
  device.kick = kick_pending_ = true;
  device.file->Submit(&io->request);
}

void DeviceSet::OnLabel(IoRequest* request) {
  LabelIo* io = static_cast<LabelIo*>(request->context);
  DeviceSet* self = io->set;
  Device& device = *self->devices_[io->device];
  --device.in_flight;
  --self->in_flight_;
  const uint64_t bit = Bit(io->device);
  if (request->result == 0) {
    (self->labels_flushing_ ? self->label_kept_ : self->label_ok_) |= bit;
  } else {
    ++device.record.write_errors;
    if (self->labels_flushing_) self->label_failed_ |= bit;
  }
  self->free_label_ios_.push_back(io);
  if (!self->abandoned_) self->LabelStep();
}

void DeviceSet::LabelStep() {
  if (--labels_left_ > 0) return;
  if (!labels_flushing_) {
    // One of two copies suffices.
    labels_flushing_ = true;
    label_failed_ |= label_sent_ & ~label_ok_;
    labels_left_ = 1;
    for (uint16_t index = 0; index < devices_.size(); ++index) {
      if ((label_ok_ & Bit(index)) == 0 || !devices_[index]->Writable()) continue;
      SendLabel(index, IoKind::kFlush, 0, nullptr);
    }
    return LabelStep();
  }
  FinishLabels();
}

void DeviceSet::FinishLabels() {
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if ((label_kept_ & Bit(index)) == 0 || devices_[index] == nullptr) continue;
    devices_[index]->label_slot = static_cast<uint8_t>(1 - devices_[index]->label_slot);
  }
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if ((label_failed_ & Bit(index)) == 0 || devices_[index] == nullptr) continue;
    if (!devices_[index]->Writable()) continue;
    if (devices_[index]->fresh) {
      // Nothing is on it, and nobody knows it: it does not join.
      devices_[index]->record.state = DeviceState::kOffline;
      devices_[index]->leaving = true;
      join_failure_ = Status::kIoError;
      continue;
    }
    if (!TakeOut(index, DeviceState::kFaulted, "its label could not be written")) {
      const std::string why = "the label of " + Describe(*devices_[index]) +
                              ", the last good device of its vdev, could not be written";
      if (fault_ != nullptr) fault_(owner_, why);
      return GiveUpLabels();
    }
  }
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if (devices_[index] == nullptr || (label_ok_ & Bit(index)) == 0) continue;
    devices_[index]->fresh = devices_[index]->returning = false;
  }
  if (labels_again_) return StartLabels();
  labels_busy_ = false;
  holding_ = false;
  SetIo* io = held_head_;
  held_head_ = held_tail_ = nullptr;
  while (io != nullptr) {
    SetIo* next = io->next_held;
    io->ended(io);
    io = next;
  }
  std::vector<Waiter> waiters;
  waiters.swap(waiters_);
  for (const Waiter& w : waiters) {
    if (w.sequence <= sequence_) {
      w.done(w.context);
    } else {
      waiters_.push_back(w);
    }
  }
}

// The owner is faulted, and tells everybody so: what waits for labels would wait for ever.
void DeviceSet::GiveUpLabels() {
  labels_again_ = labels_busy_ = false;
  waiters_.clear();
  holding_ = false;
  while (held_head_ != nullptr) {
    SetIo* io = held_head_;
    held_head_ = io->next_held;
    Refuse(io);
  }
  held_tail_ = nullptr;
}

}  // namespace ashlar
