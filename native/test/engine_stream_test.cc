// The send stream's format: what was written reads back, and every kind of damage is named.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "native/engine/crc32c.h"
#include "native/engine/stream_format.h"

namespace ashlar {
namespace {

class Stream {
 public:
  void Add(StreamKind kind, uint64_t lba, uint64_t blocks, const std::vector<uint8_t>& payload) {
    starts.push_back(bytes.size());
    const StreamHeader header = writer_.Seal(kind, lba, blocks, payload);
    const uint8_t* raw = reinterpret_cast<const uint8_t*>(&header);
    bytes.insert(bytes.end(), raw, raw + sizeof header);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
  }
  void Data(uint64_t lba, uint64_t blocks, uint8_t fill) {
    std::vector<uint8_t> payload(blocks * 4 + blocks * kBlockBytes, fill);
    for (uint64_t block = 0; block < blocks; ++block) {
      const uint32_t crc =
          Crc32c(payload.data() + blocks * 4 + block * kBlockBytes, kBlockBytes, 0);
      std::memcpy(payload.data() + block * 4, &crc, 4);
    }
    Add(StreamKind::kData, lba, blocks, payload);
  }
  void End() {
    const StreamTotals totals = writer_.Totals();
    const uint8_t* raw = reinterpret_cast<const uint8_t*>(&totals);
    Add(StreamKind::kEnd, 0, 0, std::vector<uint8_t>(raw, raw + sizeof totals));
  }

  std::vector<uint8_t> bytes;
  std::vector<size_t> starts;

 private:
  StreamWriter writer_;
};

Stream Whole() {
  Stream stream;
  const char* meta = "{\"volume\":\"db\"}";
  stream.Add(StreamKind::kBegin, 0, 1000, std::vector<uint8_t>(meta, meta + std::strlen(meta)));
  stream.Data(3, 2, 0x11);
  stream.Add(StreamKind::kHole, 5, 900, {});
  stream.Add(StreamKind::kMark, 905, 0, {});
  stream.Data(990, 10, 0x22);
  stream.End();
  return stream;
}

// Reads it all; the error, and how many records came before it.
StreamError Read(const std::vector<uint8_t>& bytes, size_t* records, bool* ended) {
  StreamReader reader;
  size_t at = 0;
  *records = 0;
  while (true) {
    StreamRecord record;
    const uint32_t taken =
        reader.Next(std::span<const uint8_t>(bytes.data() + at, bytes.size() - at), &record);
    if (taken == 0) break;
    at += taken;
    *records += 1;
  }
  *ended = reader.ended();
  return reader.error();
}

TEST(Stream, WhatIsWrittenReadsBack) {
  const Stream stream = Whole();
  size_t records;
  bool ended;
  EXPECT_EQ(Read(stream.bytes, &records, &ended), StreamError::kNone);
  EXPECT_EQ(records, 6u);
  EXPECT_TRUE(ended);
}

TEST(Stream, EveryFlippedBitIsNoticed) {
  const Stream stream = Whole();
  for (size_t byte = 0; byte < stream.bytes.size(); ++byte) {
    // All of the headers and descriptions, and a sample of the data.
    if (byte > 200 && byte % 37 != 0) continue;
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<uint8_t> bytes = stream.bytes;
      bytes[byte] ^= static_cast<uint8_t>(1 << bit);
      size_t records;
      bool ended;
      EXPECT_NE(Read(bytes, &records, &ended), StreamError::kNone) << byte << "." << bit;
    }
  }
}

TEST(Stream, ACutStreamNeverEnds) {
  const Stream stream = Whole();
  for (size_t length = 0; length < stream.bytes.size(); length += 61) {
    size_t records;
    bool ended;
    const std::vector<uint8_t> bytes(stream.bytes.begin(),
                                     stream.bytes.begin() + static_cast<ptrdiff_t>(length));
    EXPECT_EQ(Read(bytes, &records, &ended), StreamError::kNone);
    EXPECT_FALSE(ended);
  }
}

TEST(Stream, ALostOrDoubledRecordBreaksTheChain) {
  const Stream stream = Whole();
  for (size_t record = 0; record + 1 < stream.starts.size(); ++record) {
    const auto from = stream.bytes.begin() + static_cast<ptrdiff_t>(stream.starts[record]);
    const auto to = stream.bytes.begin() + static_cast<ptrdiff_t>(stream.starts[record + 1]);
    std::vector<uint8_t> lost(stream.bytes.begin(), from);
    lost.insert(lost.end(), to, stream.bytes.end());
    std::vector<uint8_t> doubled(stream.bytes.begin(), to);
    doubled.insert(doubled.end(), from, stream.bytes.end());
    size_t records;
    bool ended;
    EXPECT_EQ(Read(lost, &records, &ended), StreamError::kChain);
    EXPECT_EQ(Read(doubled, &records, &ended), StreamError::kChain);
  }
}

TEST(Stream, RangesOutsideOfTheVolumeOrBackwardsAreRefused) {
  for (const auto& [lba, blocks] : std::vector<std::pair<uint64_t, uint64_t>>{
           {999, 2}, {1000, 1}, {4, 1}, {~0ull, 1}, {10, ~0ull}, {10, 0}}) {
    Stream stream;
    stream.Add(StreamKind::kBegin, 0, 1000, {});
    stream.Data(4, 2, 1);
    stream.Add(StreamKind::kHole, lba, blocks, {});
    stream.End();
    size_t records;
    bool ended;
    EXPECT_EQ(Read(stream.bytes, &records, &ended), StreamError::kField) << lba << "+" << blocks;
    EXPECT_EQ(records, 2u);
  }
}

TEST(Stream, ABlockThatDiffersFromItsOwnChecksumIsNamed) {
  Stream stream;
  stream.Add(StreamKind::kBegin, 0, 1000, {});
  // The payload's checksum is right: the sender read a bad block and sealed it.
  stream.Add(StreamKind::kData, 0, 1, std::vector<uint8_t>(4 + kBlockBytes, 7));
  size_t records;
  bool ended;
  EXPECT_EQ(Read(stream.bytes, &records, &ended), StreamError::kBlock);
}

TEST(Stream, NothingMayFollowTheEnd) {
  Stream stream = Whole();
  stream.bytes.push_back(0);
  size_t records;
  bool ended;
  EXPECT_EQ(Read(stream.bytes, &records, &ended), StreamError::kAfterEnd);
}

TEST(Stream, AnotherFileAndALaterVersionAreTold) {
  size_t records;
  bool ended;
  EXPECT_EQ(Read(std::vector<uint8_t>(64, 'x'), &records, &ended), StreamError::kNotAStream);
  Stream stream = Whole();
  stream.bytes[4] = 2;
  EXPECT_EQ(Read(stream.bytes, &records, &ended), StreamError::kVersion);
}

}  // namespace
}  // namespace ashlar
