// The send stream: a snapshot of a volume, whole or as what changed since an earlier one, as bytes
// that go over a pipe, into a file or to another pool. docs/stream-format.md has the same in words.
//
// A stream is records: Begin, then Data and Hole records in ascending order of lba, Marks between
// them, End. Every header names the header before it by checksum and every header covers its
// payload by checksum, so a record that is lost, doubled, moved or changed is noticed at its place.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "native/engine/pool.h"

namespace ashlar {

inline constexpr uint32_t kStreamMagic = 0x52485341;  // "ASHR"
inline constexpr uint16_t kStreamVersion = 1;
inline constexpr uint32_t kStreamMaxMetaBytes = 64 * 1024;
inline constexpr uint32_t kStreamMaxDataBlocks = 128;
// Where the largest volume ends, in blocks of 4096 bytes: 4 PiB.
inline constexpr uint64_t kStreamMaxBlocks = 1ull << 40;

enum class StreamKind : uint8_t {
  kBegin = 1,  // Payload: the description, JSON. `blocks`: the volume's size. `lba`: where a
               // resumed stream goes on, else 0.
  kData = 2,   // Payload: `blocks` CRC32Cs (u32), then `blocks` times 4096 bytes.
  kHole = 3,   // [lba, lba + blocks) reads as zeros. No payload.
  kMark = 4,   // All below `lba` was sent: a receiver that has it may go on from there. No payload.
  kEnd = 5,    // Payload: StreamTotals. Nothing follows.
};

struct StreamHeader {  // Little endian.
  uint32_t magic;
  uint16_t version;
  StreamKind kind;
  uint8_t flags;      // Zero so far; a reader refuses others.
  uint64_t sequence;  // Of the record in this stream, from 0.
  uint64_t lba;
  uint64_t blocks;
  uint32_t payload_bytes;
  uint32_t payload_crc;  // CRC32C; 0 without a payload.
  uint32_t predecessor;  // The `crc` of the header before; 0 in Begin.
  uint32_t reserved[4];  // Zero.
  uint32_t crc;          // CRC32C of every byte before it.
};
static_assert(sizeof(StreamHeader) == 64 && std::is_trivially_copyable_v<StreamHeader>);

struct StreamTotals {  // Of this stream: a resumed one counts from where it went on.
  uint64_t data_blocks;
  uint64_t hole_blocks;
  uint64_t records;  // End included.
};
static_assert(sizeof(StreamTotals) == 24);

inline constexpr uint32_t kStreamMaxRecordBytes =
    sizeof(StreamHeader) + kStreamMaxDataBlocks * (kBlockBytes + 4);
static_assert(kStreamMaxRecordBytes >= sizeof(StreamHeader) + kStreamMaxMetaBytes);

enum class StreamError : uint8_t {
  kNone = 0,
  kNotAStream = 1,  // The first bytes are nothing of ours.
  kVersion = 2,     // A later version than this build knows.
  kHeader = 3,      // A header's checksum is wrong.
  kPayload = 4,     // A payload's checksum is wrong.
  kChain = 5,       // A record is missing, doubled or out of place.
  kField = 6,       // A field is out of its range.
  kTotals = 7,      // End counts other than what came.
  kAfterEnd = 8,    // Bytes behind the End.
  kBlock = 9,       // A block differs from its own CRC32C.
};

struct StreamRecord {
  StreamHeader header{};
  std::span<const uint8_t> payload;
};

// Takes a stream apart, record by record. Keeps no bytes: the caller holds a window of them.
class StreamReader {
 public:
  // Looks at the record that begins at window[0]. Returns how many bytes it takes and fills
  // `record` (its payload leads into the window); 0 with error() kNone: the window must hold at
  // least needed() bytes; 0 with another error(): final.
  uint32_t Next(std::span<const uint8_t> window, StreamRecord* record);
  StreamError error() const { return error_; }
  uint32_t needed() const { return needed_; }
  bool ended() const { return ended_; }
  uint64_t size_blocks() const { return size_blocks_; }

 private:
  StreamError CheckHeader(const StreamHeader& header) const;
  StreamError CheckPayload(const StreamHeader& header, std::span<const uint8_t> payload) const;

  StreamError error_ = StreamError::kNone;
  uint32_t needed_ = sizeof(StreamHeader);
  uint32_t predecessor_ = 0;
  uint64_t sequence_ = 0;
  uint64_t size_blocks_ = 0;
  uint64_t next_lba_ = 0;
  StreamTotals totals_{};
  bool ended_ = false;
};

// Puts a stream together: fills in a header for a payload that the caller has. The payload of End
// is Totals().
class StreamWriter {
 public:
  // `payload` as it will follow the header. Ranges are the caller's to keep, as StreamReader checks
  // them.
  StreamHeader Seal(StreamKind kind, uint64_t lba, uint64_t blocks,
                    std::span<const uint8_t> payload);
  // As the End that is sealed next must have them.
  StreamTotals Totals() const;

 private:
  uint32_t predecessor_ = 0;
  uint64_t sequence_ = 0;
  StreamTotals totals_{};
};

}  // namespace ashlar
