// Media for crash tests (T7). RecordingFile keeps every write and flush that the engine sends, in
// order, and completes them in a seeded random order. OverlayFile is a crash state: a base image
// with some pages replaced, cheap to make and to throw away.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "native/io/block_file.h"

namespace ashlar::crash {

inline constexpr uint32_t kPage = 4096;
inline constexpr uint32_t kSector = 512;  // What tears: a sector is written whole or not at all.

using Rng = std::mt19937_64;

inline uint64_t Below(Rng& rng, uint64_t bound) { return rng() % bound; }
inline bool Chance(Rng& rng, uint32_t percent) { return rng() % 100 < percent; }

// A medium whose content is `base` (not owned, never written) under pages of its own. Requests
// complete in Submit.
class OverlayFile : public BlockFile {
 public:
  OverlayFile(const uint8_t* base, uint64_t size) : base_(base), size_(size) {}
  // Over another overlay, which must not change from here on.
  explicit OverlayFile(const OverlayFile* parent) : parent_(parent), size_(parent->size_) {}

  uint64_t size_bytes() const override { return size_; }
  uint32_t block_bytes() const override { return kPage; }
  void Submit(IoRequest* request) override;
  void Kick() override {}
  int Poll() override { return 0; }
  int Wait() override { return 0; }

  // Writes bytes at any alignment.
  void Put(uint64_t offset, const uint8_t* data, uint64_t bytes);
  void Get(uint64_t offset, uint8_t* data, uint64_t bytes) const;

 private:
  using Page = std::unique_ptr<uint8_t[]>;
  void GetPage(uint64_t number, uint64_t at, uint8_t* data, uint64_t bytes) const;

  const uint8_t* base_ = nullptr;
  const OverlayFile* parent_ = nullptr;
  uint64_t size_;
  std::unordered_map<uint64_t, Page> pages_;
};

enum class EventKind : uint8_t {
  kWriteSubmitted,
  kWriteCompleted,
  kFlushSubmitted,
  kFlushCompleted
};

struct Event {
  EventKind kind;
  uint32_t index;  // Of the write in `writes`, or of the flush.
};

struct RecordedWrite {
  uint64_t offset;
  std::vector<uint8_t> data;
};

// Completes in random order, from Poll and Wait. What it held before, `underlying`, stays
// untouched: writes go to its own overlay.
class RecordingFile : public BlockFile {
 public:
  RecordingFile(const OverlayFile* underlying, uint64_t seed) : content_(underlying), rng_(seed) {}

  uint64_t size_bytes() const override { return content_.size_bytes(); }
  uint32_t block_bytes() const override { return kPage; }
  void Submit(IoRequest* request) override;
  void Kick() override {}
  int Poll() override;
  int Wait() override;

  const std::vector<Event>& events() const { return events_; }
  const std::vector<RecordedWrite>& writes() const { return writes_; }
  OverlayFile& content() { return content_; }
  // Hides a flush from the record: what a device that lies, or an engine that forgets one, looks
  // like. For testing the test.
  void set_lose_flushes(bool lose) { lose_flushes_ = lose; }

 private:
  struct Pending {
    IoRequest* request;
    uint32_t index;
  };
  void CompleteOne();

  OverlayFile content_;
  Rng rng_;
  std::vector<Pending> pending_;
  std::vector<Event> events_;
  std::vector<RecordedWrite> writes_;
  uint32_t flushes_ = 0;
  bool lose_flushes_ = false;
};

}  // namespace ashlar::crash
