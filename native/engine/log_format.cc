#include "native/engine/log_format.h"

#include "native/engine/crc32c.h"
#include "native/engine/format.h"

namespace ashlar {
namespace {

constexpr size_t kCrcOffset = offsetof(LogBlockHeader, crc);

uint32_t BlockCrc(const uint8_t* block) {
  // The crc field counts as zero. It is not written to: `block` may be shared with a fuzzer or a
  // mapping.
  static constexpr uint8_t kZero[4] = {};
  uint32_t crc = Crc32c(block, kCrcOffset);
  crc = Crc32c(kZero, 4, crc);
  return Crc32c(block + kCrcOffset + 4, kBlockBytes - kCrcOffset - 4, crc);
}

bool WriteIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  const LogEntryHeader& h = e->header;
  if (h.blocks == 0 || h.runs == 0 || h.runs > h.blocks) return false;
  const bool atomic = h.kind == LogKind::kWriteAtomic;
  if (atomic ? h.blocks > kMaxAtomicBlocks
             : (h.lba & (kLeafEntries - 1)) + h.blocks > kLeafEntries) {
    return false;
  }
  const auto run_bytes = static_cast<uint32_t>(atomic ? sizeof(uint64_t) : sizeof(LogRun));
  if (h.runs * run_bytes + h.blocks * 4u > bytes) return false;
  e->runs = body;
  e->crcs = body + h.runs * run_bytes;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < h.runs; ++i) {
    LogRun run = e->Run(i);
    if (run.blocks == 0 || run.blocks > h.blocks) return false;
    sum += run.blocks;
  }
  return sum == h.blocks;
}

bool UnmapIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  const LogEntryHeader& h = e->header;
  if (bytes < sizeof(LogUnmapBody)) return false;
  std::memcpy(&e->previous, body, sizeof e->previous);
  return h.count > 0 && h.count <= kPhysBlockMask - h.lba;
}

bool InstallIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  const LogEntryHeader& h = e->header;
  if (h.blocks == 0 || h.blocks > kLeafEntries || h.runs > h.blocks || h.flags == 0 || h.flags > 3)
    return false;
  if ((h.lba & (kLeafEntries - 1)) + h.blocks > kLeafEntries) return false;
  if (h.runs * sizeof(LogRun) + h.blocks * 13u > bytes) return false;
  e->runs = body;
  e->versions = body + h.runs * sizeof(LogRun);
  e->crcs = e->versions + h.blocks * 8;
  e->kinds = e->crcs + h.blocks * 4;
  uint64_t named = 0, data = 0;
  for (uint32_t i = 0; i < h.runs; ++i) {
    LogRun run = e->Run(i);
    if (run.blocks == 0 || run.blocks > h.blocks) return false;
    named += run.blocks;
  }
  for (uint32_t i = 0; i < h.blocks; ++i) {
    if (e->kinds[i] > static_cast<uint8_t>(BlockKind::kHole)) return false;
    data += e->kinds[i] == static_cast<uint8_t>(BlockKind::kData);
  }
  return named == data;
}

bool CreateIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  if (bytes < sizeof(LogCreate)) return false;
  std::memcpy(&e->create, body, sizeof(LogCreate));
  if (e->create.name_bytes > 255 || e->create.name_bytes > bytes - sizeof(LogCreate)) return false;
  e->name = reinterpret_cast<const char*>(body + sizeof(LogCreate));
  return e->header.tree != 0 && e->header.count > 0 && e->header.count <= kPhysBlockMask;
}

bool SnapshotIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  if (bytes < sizeof(LogSnapshot)) return false;
  std::memcpy(&e->snapshot, body, sizeof(LogSnapshot));
  const LogSnapshot& s = e->snapshot;
  if (s.name_bytes == 0 || s.name_bytes > 255 || s.name_bytes > bytes - sizeof(LogSnapshot)) {
    return false;
  }
  e->name = reinterpret_cast<const char*>(body + sizeof(LogSnapshot));
  return s.snapshot_tree != 0 && s.snapshot_tree < kMaxCount && s.group_index < s.group_count;
}

bool BlobIsSound(LogEntry* e, const uint8_t* body, uint32_t bytes) {
  if (bytes < sizeof(LogBlob)) return false;
  std::memcpy(&e->blob, body, sizeof(LogBlob));
  if (e->blob.key_bytes > kBlobKeyBytes || e->header.count > kBlobBytes) return false;
  return e->header.blocks == (e->header.count + kBlockBytes - 1) / kBlockBytes;
}

}  // namespace

void SealLogBlock(uint8_t* block) {
  std::memcpy(block, &kLogMagic, 4);
  uint32_t crc = BlockCrc(block);
  std::memcpy(block + kCrcOffset, &crc, 4);
}

Status ParseLogBlock(const uint8_t* block, const Uuid& store_id, LogBlockHeader* out) {
  std::memcpy(out, block, sizeof *out);
  if (out->magic != kLogMagic || !(out->store_id == store_id)) return Status::kNotFound;
  if (out->entry_bytes > kLogEntrySpace) return Status::kCorrupt;
  if (out->crc != BlockCrc(block)) return Status::kCorrupt;
  uint32_t offset = 0;
  LogEntry entry;
  for (uint32_t i = 0; i < out->entries; ++i) {
    if (!ParseLogEntry(block + sizeof *out, out->entry_bytes, &offset, &entry))
      return Status::kCorrupt;
  }
  return offset == out->entry_bytes ? Status::kOk : Status::kCorrupt;
}

bool ParseLogEntry(const uint8_t* area, uint32_t area_bytes, uint32_t* offset, LogEntry* out) {
  if (*offset > area_bytes || area_bytes - *offset < sizeof(LogEntryHeader)) return false;
  const uint8_t* at = area + *offset;
  std::memcpy(&out->header, at, sizeof out->header);
  const LogEntryHeader& h = out->header;
  if (h.bytes < sizeof h || h.bytes % 8 != 0 || h.bytes > area_bytes - *offset) return false;
  const uint8_t* body = at + sizeof h;
  const uint32_t bytes = h.bytes - static_cast<uint32_t>(sizeof h);
  *offset += h.bytes;
  if (h.lba > kPhysBlockMask || h.tree >= kMaxCount) return false;
  switch (h.kind) {
    case LogKind::kWrite:
    case LogKind::kWriteAtomic:
      out->previous = h.count;
      return WriteIsSound(out, body, bytes);
    case LogKind::kUnmap:
      return UnmapIsSound(out, body, bytes);
    case LogKind::kCreate:
    case LogKind::kClone:
      return CreateIsSound(out, body, bytes);
    case LogKind::kResize:
      return h.count > 0 && h.count <= kPhysBlockMask;
    case LogKind::kDelete:
    case LogKind::kDeleteSnapshot:
    case LogKind::kPromote:
    case LogKind::kRollback:
    case LogKind::kRolledBack:
      return true;
    case LogKind::kSnapshot:
      return SnapshotIsSound(out, body, bytes);
    case LogKind::kPutBlob:
      return BlobIsSound(out, body, bytes);
    case LogKind::kInstall:
      return InstallIsSound(out, body, bytes);
    case LogKind::kMarks:
      return h.flags > 0 && h.flags <= 3;
  }
  return false;
}

}  // namespace ashlar
