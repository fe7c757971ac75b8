#include "native/engine/stream_format.h"

#include <cstddef>
#include <cstring>

#include "native/engine/crc32c.h"

namespace ashlar {
namespace {

uint32_t HeaderCrc(const StreamHeader& header) {
  return Crc32c(reinterpret_cast<const uint8_t*>(&header), offsetof(StreamHeader, crc), 0);
}

uint32_t PayloadBytes(const StreamHeader& header) {
  switch (header.kind) {
    case StreamKind::kBegin:
      return header.payload_bytes;  // Bounded by CheckHeader.
    case StreamKind::kData:
      return static_cast<uint32_t>(header.blocks) * (kBlockBytes + 4);
    case StreamKind::kEnd:
      return sizeof(StreamTotals);
    default:
      return 0;
  }
}

}  // namespace

StreamError StreamReader::CheckHeader(const StreamHeader& header) const {
  if (header.magic != kStreamMagic) {
    return sequence_ == 0 ? StreamError::kNotAStream : StreamError::kHeader;
  }
  // The version comes before the checksum: a later version may place it elsewhere.
  if (header.version != kStreamVersion) return StreamError::kVersion;
  if (header.crc != HeaderCrc(header)) return StreamError::kHeader;
  if (header.sequence != sequence_ || header.predecessor != predecessor_)
    return StreamError::kChain;
  if ((header.kind == StreamKind::kBegin) != (sequence_ == 0)) return StreamError::kChain;
  if (header.flags != 0) return StreamError::kField;
  for (const uint32_t word : header.reserved) {
    if (word != 0) return StreamError::kField;
  }
  const uint64_t size = header.kind == StreamKind::kBegin ? header.blocks : size_blocks_;
  if (size > kStreamMaxBlocks || header.lba > size) return StreamError::kField;
  switch (header.kind) {
    case StreamKind::kBegin:
      if (header.payload_bytes > kStreamMaxMetaBytes) return StreamError::kField;
      return StreamError::kNone;
    case StreamKind::kData:
      if (header.blocks > kStreamMaxDataBlocks) return StreamError::kField;
      [[fallthrough]];
    case StreamKind::kHole:
      if (header.blocks == 0 || header.blocks > size - header.lba) return StreamError::kField;
      if (header.lba < next_lba_) return StreamError::kField;
      break;
    case StreamKind::kMark:
      if (header.blocks != 0 || header.lba < next_lba_) return StreamError::kField;
      break;
    case StreamKind::kEnd:
      if (header.blocks != 0 || header.lba != 0) return StreamError::kField;
      break;
    default:
      return StreamError::kField;
  }
  if (header.payload_bytes != PayloadBytes(header)) return StreamError::kField;
  return StreamError::kNone;
}

StreamError StreamReader::CheckPayload(const StreamHeader& header,
                                       std::span<const uint8_t> payload) const {
  const uint32_t crc = payload.empty() ? 0 : Crc32c(payload.data(), payload.size(), 0);
  if (crc != header.payload_crc) return StreamError::kPayload;
  if (header.kind == StreamKind::kData) {
    const uint8_t* bytes = payload.data() + header.blocks * 4;
    for (uint64_t block = 0; block < header.blocks; ++block) {
      uint32_t expected;
      std::memcpy(&expected, payload.data() + block * 4, 4);
      if (Crc32c(bytes + block * kBlockBytes, kBlockBytes, 0) != expected) {
        return StreamError::kBlock;
      }
    }
  }
  if (header.kind == StreamKind::kEnd) {
    StreamTotals totals;
    std::memcpy(&totals, payload.data(), sizeof totals);
    if (totals.data_blocks != totals_.data_blocks || totals.hole_blocks != totals_.hole_blocks ||
        totals.records != sequence_ + 1) {
      return StreamError::kTotals;
    }
  }
  return StreamError::kNone;
}

uint32_t StreamReader::Next(std::span<const uint8_t> window, StreamRecord* record) {
  if (error_ != StreamError::kNone) return 0;
  if (ended_) {
    if (!window.empty()) error_ = StreamError::kAfterEnd;
    return 0;
  }
  if (window.size() < sizeof(StreamHeader)) {
    needed_ = sizeof(StreamHeader);
    return 0;
  }
  StreamHeader& header = record->header;
  std::memcpy(&header, window.data(), sizeof header);
  if ((error_ = CheckHeader(header)) != StreamError::kNone) return 0;
  needed_ = sizeof header + header.payload_bytes;
  if (window.size() < needed_) return 0;
  record->payload = window.subspan(sizeof header, header.payload_bytes);
  if ((error_ = CheckPayload(header, record->payload)) != StreamError::kNone) return 0;

  predecessor_ = header.crc;
  sequence_ += 1;
  switch (header.kind) {
    case StreamKind::kBegin:
      size_blocks_ = header.blocks;
      next_lba_ = header.lba;
      break;
    case StreamKind::kData:
      totals_.data_blocks += header.blocks;
      next_lba_ = header.lba + header.blocks;
      break;
    case StreamKind::kHole:
      totals_.hole_blocks += header.blocks;
      next_lba_ = header.lba + header.blocks;
      break;
    case StreamKind::kMark:
      next_lba_ = header.lba;
      break;
    case StreamKind::kEnd:
      ended_ = true;
      break;
  }
  const uint32_t taken = needed_;
  needed_ = ended_ ? 0 : sizeof(StreamHeader);
  return taken;
}

StreamHeader StreamWriter::Seal(StreamKind kind, uint64_t lba, uint64_t blocks,
                                std::span<const uint8_t> payload) {
  StreamHeader header{};
  header.magic = kStreamMagic;
  header.version = kStreamVersion;
  header.kind = kind;
  header.sequence = sequence_;
  header.lba = lba;
  header.blocks = blocks;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.payload_crc = payload.empty() ? 0 : Crc32c(payload.data(), payload.size(), 0);
  header.predecessor = predecessor_;
  header.crc = HeaderCrc(header);
  predecessor_ = header.crc;
  sequence_ += 1;
  if (kind == StreamKind::kData) totals_.data_blocks += blocks;
  if (kind == StreamKind::kHole) totals_.hole_blocks += blocks;
  return header;
}

StreamTotals StreamWriter::Totals() const {
  StreamTotals totals = totals_;
  totals.records = sequence_ + 1;
  return totals;
}

}  // namespace ashlar
