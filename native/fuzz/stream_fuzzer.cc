// Any bytes as a send stream. The first byte chooses: as they are (a torn or foreign file), or with
// every header's chain and checksums made right, so that mutations get past them. Whatever is
// handed out lies inside the window and inside the volume, in ascending order.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "native/engine/crc32c.h"
#include "native/engine/stream_format.h"

using namespace ashlar;

namespace {

// Walks the bytes as records of whatever length their headers claim and repairs what a reader
// compares.
void Repair(std::vector<uint8_t>* bytes) {
  uint32_t predecessor = 0;
  uint64_t sequence = 0;
  size_t at = 0;
  while (at + sizeof(StreamHeader) <= bytes->size()) {
    StreamHeader header;
    std::memcpy(&header, bytes->data() + at, sizeof header);
    header.magic = kStreamMagic;
    header.version = kStreamVersion;
    header.sequence = sequence++;
    header.predecessor = predecessor;
    const size_t left = bytes->size() - at - sizeof header;
    if (header.payload_bytes > left) header.payload_bytes = static_cast<uint32_t>(left);
    uint8_t* payload = bytes->data() + at + sizeof header;
    if (header.kind == StreamKind::kData && header.blocks <= kStreamMaxDataBlocks &&
        header.payload_bytes == header.blocks * (kBlockBytes + 4)) {
      for (uint64_t block = 0; block < header.blocks; ++block) {
        const uint32_t crc =
            Crc32c(payload + header.blocks * 4 + block * kBlockBytes, kBlockBytes, 0);
        std::memcpy(payload + block * 4, &crc, 4);
      }
    }
    header.payload_crc = header.payload_bytes == 0 ? 0 : Crc32c(payload, header.payload_bytes, 0);
    header.crc = Crc32c(reinterpret_cast<const uint8_t*>(&header), offsetof(StreamHeader, crc), 0);
    predecessor = header.crc;
    std::memcpy(bytes->data() + at, &header, sizeof header);
    at += sizeof header + header.payload_bytes;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::vector<uint8_t> bytes(data + 1, data + size);
  if ((data[0] & 1) != 0) Repair(&bytes);
  StreamReader reader;
  size_t at = 0;
  uint64_t next = 0;
  while (true) {
    const std::span<const uint8_t> window(bytes.data() + at, bytes.size() - at);
    StreamRecord record;
    const uint32_t taken = reader.Next(window, &record);
    if (taken == 0) {
      if (reader.error() == StreamError::kNone && !reader.ended() &&
          (reader.needed() <= window.size() || reader.needed() > kStreamMaxRecordBytes)) {
        std::abort();  // It asks for what it has, or for too much.
      }
      return 0;
    }
    if (taken > window.size()) std::abort();
    if (!record.payload.empty() &&
        (record.payload.data() < window.data() ||
         record.payload.data() + record.payload.size() > window.data() + taken)) {
      std::abort();
    }
    const StreamHeader& header = record.header;
    if (header.kind == StreamKind::kData || header.kind == StreamKind::kHole) {
      if (header.lba < next || header.lba + header.blocks > reader.size_blocks()) std::abort();
      next = header.lba + header.blocks;
    }
    at += taken;
  }
}
