// Any 16 KiB as a device's label: accepted only if every number in it can be used. The checksum is
// made right, so that mutations get past it; small inputs are spread over the header, the owner and
// the records.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "native/engine/label.h"
#include "native/engine/wall_clock.h"

using namespace ashlar;

namespace {

void Judge(const uint8_t* bytes) {
  const auto parsed = std::make_unique<Label>();
  if (ParseLabel(bytes, parsed.get()) != Status::kOk) return;
  // What the engine relies on without looking again.
  if (parsed->device_count == 0 || parsed->device_count > kMaxDevices) std::abort();
  if (std::strlen(parsed->name) > 63 || std::strlen(parsed->owner_name) > 63) std::abort();
  // As it is told to whoever is refused.
  const std::string since = UtcText(parsed->owned_since_s);
  if (since.empty() || since.size() > 31) std::abort();
  bool own = false;
  for (uint32_t i = 0; i < parsed->device_count; ++i) {
    const DeviceRecord& d = parsed->devices[i];
    if (d.vdev >= kMaxVdevs || d.place >= kMaxSides) std::abort();
    if (d.size_blocks < kMinPoolBlocks || std::strlen(d.path) >= sizeof d.path) std::abort();
    own |= d.id == parsed->device_id;
  }
  if (!own) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto label = std::make_unique<Label>();
  auto* bytes = reinterpret_cast<uint8_t*>(label.get());
  std::memcpy(bytes, data, size < sizeof *label ? size : sizeof *label);
  Judge(bytes);
  SealLabel(label.get());
  Judge(bytes);
  // A header that is whole, and records of the input's bytes.
  *label = Label{};
  label->device_count = size > 0 ? data[0] % (kMaxDevices + 2) : 0;
  for (size_t at = 1; at < size && at - 1 < sizeof label->devices; ++at) {
    reinterpret_cast<uint8_t*>(label->devices)[at - 1] = data[at];
  }
  label->device_id = label->devices[0].id;
  SealLabel(label.get());
  Judge(bytes);
  // One that is sound but for its owner, which is the input's.
  *label = Label{};
  label->device_count = 1;
  DeviceRecord& own = label->devices[0];
  own.id.bytes[0] = label->device_id.bytes[0] = 1;
  own.state = DeviceState::kInSync;
  own.vdev_class = VdevClass::kData;
  own.size_blocks = kMinPoolBlocks;
  constexpr size_t kOwner = offsetof(Label, owner);
  constexpr size_t kOwnerBytes = offsetof(Label, reserved1) - kOwner;
  if (size > 0) std::memcpy(bytes + kOwner, data, size < kOwnerBytes ? size : kOwnerBytes);
  SealLabel(label.get());
  Judge(bytes);
  auto parsed = std::make_unique<Label>();
  const bool ends = label->owner_name[sizeof label->owner_name - 1] == 0;
  if ((ParseLabel(bytes, parsed.get()) == Status::kOk) != ends) std::abort();
  return 0;
}
