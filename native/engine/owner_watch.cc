// A pool that another machine has taken over is no longer this one's, which may be running on over
// storage that both reach. The labels say so: one that is newer than what this opening found, and
// not its own. They are read before each label, and before whatever is written, a checkpoint's pages
// and superblock too, when the last look is older than it may be (PoolOwner::look_ms); writes wait
// for the look. While there are writes it begins at half that age, and they go on
// meanwhile: a device that is slow to read stops them only when the look takes as long again. Who
// is no longer the owner writes nothing from then on.
//
// It is a tripwire, not a fence: what was on its way to a device before the look still arrives.
// Whoever takes over therefore writes its labels, waits until a look must have happened, and only
// then reads what the pool holds (PoolImpl::Settle).
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "native/engine/device_set.h"
#include "native/engine/wall_clock.h"

namespace ashlar {
namespace {
constexpr uint32_t kLookBlocks = 2 * static_cast<uint32_t>(kLabelBlocks);  // Both slots in front.

// Goes on while the machine sleeps: the pool may be another's when it wakes.
uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}
}  // namespace

DeviceSet::Look::~Look() {
  for (const auto& read : reads) std::free(read->buffer);
}

void DeviceSet::LookBeforeWriting() {
  if (look_.state == Look::State::kTrusted) look_.state = Look::State::kDue;
}

void DeviceSet::LookEvery(uint32_t ms) {
  look_.every_ns = uint64_t{ms} * 1000000;
  look_.at_ns = NowNs();
}

void DeviceSet::LookByTheClock() {
  const uint64_t age = NowNs() - look_.at_ns;
  if (age >= look_.every_ns) {
    // The one under way is as good as one that would begin now.
    look_.state = look_.reading ? Look::State::kLooking : Look::State::kDue;
  } else if (age >= look_.every_ns / 2 && !look_.reading) {
    StartLook();
  }
}

// A write that is not to go out before the labels were looked at.
void DeviceSet::HoldForLook(SetIo* io) {
  if (look_.state == Look::State::kLost) return Refuse(io);
  look_.held.push_back(io);
  if (look_.state == Look::State::kDue) WaitForLook();
}

// For one that begins now: one that is under way may have read what was there before.
void DeviceSet::WaitForLook() {
  look_.state = Look::State::kLooking;
  if (look_.reading) {
    look_.again = true;
  } else {
    StartLook();
  }
}

void DeviceSet::Refuse(SetIo* io) {
  io->request.result = -EIO;
  if (!abandoned_) io->ended(io);
}

void DeviceSet::StartLook() {
  look_.reading = true;
  if (look_.every_ns != 0) look_.began_ns = NowNs();
  look_.left = 1;  // Not to end before the last one is out.
  size_t count = 0;
  for (uint16_t index = 0; index < devices_.size(); ++index) {
    if (devices_[index] == nullptr || !devices_[index]->Writable()) continue;
    if (look_.reads.size() == count) {
      look_.reads.push_back(std::make_unique<Look::Read>());
      look_.reads[count]->buffer =
          static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kLookBlocks * kBlockBytes));
      if (look_.reads[count]->buffer == nullptr) std::abort();
    }
    Look::Read* read = look_.reads[count++].get();
    read->request = IoRequest{};
    read->request.kind = IoKind::kRead;
    read->request.offset = LabelPlace(0, false, devices_[index]->record.size_blocks) * kBlockBytes;
    read->request.bytes = kLookBlocks * kBlockBytes;
    read->request.data = read->buffer;
    read->request.context = read;
    read->request.done = &DeviceSet::OnLooked;
    read->set = this;
    read->device = index;
    ++look_.left;
    Device& device = *devices_[index];
    ++device.in_flight;
    ++in_flight_;
    device.kick = kick_pending_ = true;
    device.file->Submit(&read->request);
  }
  if (--look_.left == 0) kick_pending_ = true;
}

void DeviceSet::OnLooked(IoRequest* request) {
  auto* read = static_cast<Look::Read*>(request->context);
  DeviceSet* self = read->set;
  Device& device = *self->devices_[read->device];
  --device.in_flight;
  --self->in_flight_;
  // What cannot be read says nothing: the device fails by what it is asked for else.
  if (request->result != 0) ++device.record.read_errors;
  if (request->result == 0 && !self->abandoned_) self->Judge(*read, &device);
  // Ended where nothing of the engine is under way: in Kick.
  if (--self->look_.left == 0) self->kick_pending_ = true;
}

void DeviceSet::Judge(const Look::Read& read, Device* device) {
  // What joins has yet to get its first label: the one that it carries is of a life before.
  if (device->fresh) return;
  const auto label = std::make_unique<Label>();
  for (uint64_t slot = 0; slot < 2; ++slot) {
    const uint8_t* bytes = read.buffer + slot * kLabelBytes;
    if (ParseLabel(bytes, label.get()) != Status::kOk) continue;
    const bool is_ours = label->pool_id == pool_id_;
    if (is_ours && (label->sequence <= found_sequence_ || label->opening == opening_)) continue;
    const std::string who = label->owner_name[0] == 0
                                ? std::string("another machine")
                                : "machine " + std::string(label->owner_name);
    const std::string other = "the label of another pool, " + std::string(label->name);
    // What was out may have been used without the others: the pool goes on without it.
    if (device->returning) {
      device->record.state = DeviceState::kOffline;
      device->why = is_ours ? "it was used by " + who + " while it was out" : "it carries " + other;
      join_failure_ = Status::kDiverged;
      continue;
    }
    const std::string where = Describe(*device);
    if (!is_ours) {
      look_.why =
          where + " carries " + other + ": it was made or taken in elsewhere while this one was open";
    } else if (label->owner == owner_id_) {
      look_.why = "the labels on " + where +
                  " were written by another opening of this pool: two that write to it destroy it";
    } else {
      look_.why = "pool " + name_ + " was taken over by " + who +
                  (label->owned_since_s == 0 ? "" : " at " + UtcText(label->owned_since_s)) +
                  " (so say the labels on " + where + ")";
    }
    look_.why += "; nothing more is written here";
  }
}

// The labels have been looked at.
void DeviceSet::EndLook() {
  const bool again = look_.again;
  look_.reading = look_.again = false;
  if (again && look_.why.empty()) return StartLook();
  std::vector<SetIo*> held;
  held.swap(look_.held);
  if (!look_.why.empty()) {
    look_.state = Look::State::kLost;
    const bool labels = look_.before_labels;
    look_.before_labels = false;
    if (fault_ != nullptr) fault_(owner_, look_.why);
    for (SetIo* io : held) Refuse(io);
    if (labels) GiveUpLabels();
    return;
  }
  look_.at_ns = look_.began_ns;
  if (look_.state == Look::State::kLooking) look_.state = Look::State::kTrusted;
  for (SetIo* io : held) {
    if (!io->direct) {
      Submit(io);
    } else if (device(io->device) == nullptr || !device(io->device)->Writable()) {
      Refuse(io);  // It has left meanwhile.
    } else {
      Send(io->device, io);
    }
  }
  if (!look_.before_labels) return;
  look_.before_labels = false;
  WriteLabels();
}

}  // namespace ashlar
