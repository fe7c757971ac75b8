#include "native/test/crash/recording_file.h"

#include <cstdlib>

namespace ashlar::crash {

void OverlayFile::Put(uint64_t offset, const uint8_t* data, uint64_t bytes) {
  while (bytes > 0) {
    const uint64_t number = offset / kPage;
    const uint64_t at = offset % kPage;
    const uint64_t part = std::min<uint64_t>(bytes, kPage - at);
    Page& page = pages_[number];
    if (!page) {
      Page fresh = std::make_unique<uint8_t[]>(kPage);
      if (part != kPage) GetPage(number, 0, fresh.get(), kPage);
      page = std::move(fresh);
    }
    std::memcpy(page.get() + at, data, part);
    offset += part;
    data += part;
    bytes -= part;
  }
}

void OverlayFile::Get(uint64_t offset, uint8_t* data, uint64_t bytes) const {
  while (bytes > 0) {
    const uint64_t number = offset / kPage;
    const uint64_t at = offset % kPage;
    const uint64_t part = std::min<uint64_t>(bytes, kPage - at);
    GetPage(number, at, data, part);
    offset += part;
    data += part;
    bytes -= part;
  }
}

void OverlayFile::GetPage(uint64_t number, uint64_t at, uint8_t* data, uint64_t bytes) const {
  const auto found = pages_.find(number);
  if (found != pages_.end() && found->second) {
    std::memcpy(data, found->second.get() + at, bytes);
  } else if (parent_ != nullptr) {
    parent_->GetPage(number, at, data, bytes);
  } else {
    std::memcpy(data, base_ + number * kPage + at, bytes);
  }
}

void OverlayFile::Submit(IoRequest* request) {
  if (request->kind != IoKind::kFlush && request->offset + request->bytes > size_) std::abort();
  if (request->kind == IoKind::kRead) Get(request->offset, request->data, request->bytes);
  if (request->kind == IoKind::kWrite) Put(request->offset, request->data, request->bytes);
  request->result = 0;
  request->done(request);
}

void RecordingFile::Submit(IoRequest* request) {
  uint32_t index = 0;
  if (request->kind == IoKind::kWrite) {
    if (request->offset + request->bytes > size_bytes() || request->offset % kPage != 0 ||
        request->bytes % kPage != 0 || reinterpret_cast<uintptr_t>(request->data) % kPage != 0) {
      std::abort();
    }
    index = static_cast<uint32_t>(writes_.size());
    writes_.push_back({request->offset, {request->data, request->data + request->bytes}});
    events_.push_back({EventKind::kWriteSubmitted, index});
  } else if (request->kind == IoKind::kFlush) {
    index = flushes_++;
    if (!lose_flushes_) events_.push_back({EventKind::kFlushSubmitted, index});
  }
  pending_.push_back({request, index});
}

void RecordingFile::CompleteOne() {
  const size_t chosen = Below(rng_, pending_.size());
  const Pending pending = pending_[chosen];
  pending_[chosen] = pending_.back();
  pending_.pop_back();
  IoRequest* request = pending.request;
  switch (request->kind) {
    case IoKind::kRead:
      content_.Get(request->offset, request->data, request->bytes);
      break;
    case IoKind::kWrite: {
      const RecordedWrite& write = writes_[pending.index];
      // A buffer that changed between submission and completion would be written with either
      // content.
      if (std::memcmp(request->data, write.data.data(), write.data.size()) != 0) std::abort();
      content_.Put(write.offset, write.data.data(), write.data.size());
      events_.push_back({EventKind::kWriteCompleted, pending.index});
      break;
    }
    case IoKind::kFlush:
      if (!lose_flushes_) events_.push_back({EventKind::kFlushCompleted, pending.index});
      break;
  }
  request->result = 0;
  request->done(request);
}

int RecordingFile::Poll() {
  int completed = 0;
  while (!pending_.empty() && Chance(rng_, 60)) {
    CompleteOne();
    completed += 1;
  }
  return completed;
}

int RecordingFile::Wait() {
  if (pending_.empty()) return 0;
  CompleteOne();
  return 1 + Poll();
}

}  // namespace ashlar::crash
