// Any 16 KiB as a device's label: accepted only if every number in it can be used. The checksum is
// made right, so that mutations get past it; small inputs are spread over the header and the
// records.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "native/engine/label.h"

using namespace ashlar;

namespace {

void Judge(const uint8_t* bytes) {
  const auto parsed = std::make_unique<Label>();
  if (ParseLabel(bytes, parsed.get()) != Status::kOk) return;
  // What the engine relies on without looking again.
  if (parsed->device_count == 0 || parsed->device_count > kMaxDevices) std::abort();
  if (std::strlen(parsed->name) > 63) std::abort();
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
  return 0;
}
