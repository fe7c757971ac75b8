// Any 4096 bytes as a block of the intent log, with its checksum made right: every entry that is
// handed out lies inside the block.
#include <cstdlib>
#include <cstring>

#include "native/engine/format.h"
#include "native/engine/log_format.h"

using namespace ashlar;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alignas(8) uint8_t block[kBlockBytes] = {};
  std::memcpy(block, data, size < sizeof block ? size : sizeof block);
  LogBlockHeader header;
  Uuid store{};
  static_cast<void>(ParseLogBlock(block, store, &header));
  std::memcpy(store.bytes, block + offsetof(LogBlockHeader, store_id), sizeof store.bytes);
  SealLogBlock(block);
  if (ParseLogBlock(block, store, &header) != Status::kOk) return 0;
  uint32_t offset = 0;
  const uint8_t* area = block + sizeof header;
  const uint8_t* end = block + sizeof block;
  for (uint32_t i = 0; i < header.entries; ++i) {
    LogEntry entry;
    if (!ParseLogEntry(area, header.entry_bytes, &offset, &entry)) std::abort();
    if (entry.header.kind == LogKind::kWrite || entry.header.kind == LogKind::kWriteAtomic) {
      uint64_t blocks = 0;
      for (uint32_t run = 0; run < entry.header.runs; ++run) blocks += entry.Run(run).blocks;
      if (blocks != entry.header.blocks) std::abort();
      if (entry.crcs + entry.header.blocks * 4 > end) std::abort();
    } else if (entry.header.kind == LogKind::kCreate) {
      if (reinterpret_cast<const uint8_t*>(entry.name) + entry.create.name_bytes > end)
        std::abort();
    }
  }
  return 0;
}
