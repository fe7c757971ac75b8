// Any 4096 bytes as a metadata page of any role: a map node, a map leaf, space, pending frees,
// catalog, blobs, deadlists. A page that is called sound may name no address outside the pool and
// no count past its arrays.
#include <cstdlib>
#include <cstring>

#include "native/engine/crc32c.h"
#include "native/engine/format.h"

using namespace ashlar;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto role = static_cast<Role>(1 + data[0] % 6);
  const uint8_t level = data[1] % (kMaxHeight + 1);
  alignas(8) uint8_t page[kBlockBytes] = {};
  std::memcpy(page, data + 2, size - 2 < sizeof page ? size - 2 : sizeof page);

  PageIdentity identity{};
  identity.role = role;
  identity.level = level;
  identity.tree = 7;
  identity.index = 3;
  PagePtr ptr;
  ptr.born = 5;
  ptr.crc = Crc32c(page, kBlockBytes);
  static_cast<void>(PageMatches(page, identity, ptr));
  WriteHeader(page, identity, ptr.born);
  ptr.crc = Crc32c(page, kBlockBytes);
  if (!PageMatches(page, identity, ptr)) std::abort();

  const Region regions[2] = {{100, 900, 0}, {PhysAt(1, 10), 500, 0}};
  const PhysRange range{regions, 2};
  if (!PageIsSound(page, role, level, range)) return 0;
  if (level > 0) {
    const auto* inner = reinterpret_cast<const InnerPage*>(page);
    for (const PagePtr& slot : inner->slots) {
      if (!slot.null() && (!range.Holds(slot.addr[0]) || !range.Holds(slot.addr[1]))) std::abort();
    }
  } else if (role == Role::kMap) {
    const auto* leaf = reinterpret_cast<const MapLeaf*>(page);
    for (uint32_t i = 0; i < kLeafEntries; ++i) {
      if (leaf->kind[i] == kEntryData && !range.Holds(leaf->phys[i])) std::abort();
    }
  } else if (role == Role::kPending) {
    const auto* leaf = reinterpret_cast<const PendingLeaf*>(page);
    if (leaf->count > kPendingRuns) std::abort();
  } else if (role == Role::kDead) {
    const auto* leaf = reinterpret_cast<const DeadLeaf*>(page);
    if (leaf->count > kDeadRuns) std::abort();
    for (uint32_t i = 0; i < leaf->count; ++i) {
      if (!range.HoldsRun(leaf->phys[i], leaf->blocks[i] & ~kDeadPages)) std::abort();
    }
  }
  return 0;
}
