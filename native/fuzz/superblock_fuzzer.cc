// Any 4096 bytes as a superblock: accepted only if every number in it can be used. The checksum is
// made right, so that mutations get past it.
#include <cstdlib>
#include <cstring>

#include "native/engine/format.h"

using namespace ashlar;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alignas(8) uint8_t block[kBlockBytes] = {};
  std::memcpy(block, data, size < sizeof block ? size : sizeof block);
  Superblock parsed;
  static_cast<void>(ParseSuperblock(block, &parsed));

  Superblock sealed;
  std::memcpy(&sealed, block, sizeof sealed);
  SealSuperblock(&sealed);
  std::memcpy(block, &sealed, sizeof sealed);
  if (ParseSuperblock(block, &parsed) == Status::kOk) {
    // What the engine relies on without looking again.
    if (parsed.region_count == 0 || parsed.region_count > kMaxRegions) std::abort();
    const PhysRange range{parsed.regions, parsed.region_count};
    for (uint64_t group : {uint64_t{0}, range.Groups() - 1}) {
      const uint64_t phys = range.AddressOf(group, range.Capacity(group) - 1);
      if (!range.Holds(phys) || range.GroupOf(phys) != group) std::abort();
      if (range.BitOf(phys) != range.Capacity(group) - 1) std::abort();
    }
    if (range.Holds(parsed.log_start)) std::abort();
    if (parsed.open_id_count > 16 || std::strlen(parsed.name) > 63) std::abort();
    if (parsed.catalog.height > kMaxHeight || parsed.space.height > kMaxHeight) std::abort();
  }
  return 0;
}
