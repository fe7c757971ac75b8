// Several media under one clock (T7): every write and flush of every device in one order, so that a
// power cut can be put at any instant of all of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "native/engine/label.h"
#include "native/test/crash/recording_file.h"

namespace ashlar::crash {

struct SetEvent {
  EventKind kind;
  uint16_t device;
  uint32_t index;
};

struct SetWrite {
  uint16_t device;
  uint64_t offset;
  std::vector<uint8_t> data;
};

struct SetRecorder {
  std::vector<SetEvent> events;
  std::vector<SetWrite> writes;
  uint32_t flushes = 0;
};

inline bool IsLabel(const std::vector<uint8_t>& write) {
  return write.size() == kLabelBytes && std::memcmp(write.data(), "ASHLABEL", 8) == 0;
}

// One of them. Completes in random order, from Poll and Wait. With `slow_labels` a label waits while
// there is anything else: what must wait for labels then has every occasion not to.
class SetFile : public BlockFile {
 public:
  SetFile(SetRecorder* recorder, uint16_t device, const OverlayFile* underlying, uint64_t seed,
          bool slow_labels)
      : recorder_(recorder),
        device_(device),
        content_(underlying),
        rng_(seed),
        slow_labels_(slow_labels) {}

  uint64_t size_bytes() const override { return content_.size_bytes(); }
  uint32_t block_bytes() const override { return kPage; }
  void Submit(IoRequest* request) override {
    uint32_t index = 0;
    if (request->kind == IoKind::kWrite) {
      index = static_cast<uint32_t>(recorder_->writes.size());
      recorder_->writes.push_back(
          {device_, request->offset, {request->data, request->data + request->bytes}});
      recorder_->events.push_back({EventKind::kWriteSubmitted, device_, index});
    } else if (request->kind == IoKind::kFlush) {
      index = recorder_->flushes++;
      recorder_->events.push_back({EventKind::kFlushSubmitted, device_, index});
    }
    pending_.push_back({request, index});
  }
  void Kick() override {}
  int Poll() override {
    int completed = 0;
    while (!pending_.empty() && Chance(rng_, 60)) {
      if (slow_labels_ && OnlyLabels() && !Chance(rng_, 4)) break;
      CompleteOne();
      ++completed;
    }
    return completed;
  }
  int Wait() override {
    if (pending_.empty()) return 0;
    CompleteOne();
    return 1 + Poll();
  }

 private:
  struct Pending {
    IoRequest* request;
    uint32_t index;
  };
  bool Label(const Pending& p) const {
    return p.request->kind == IoKind::kWrite && IsLabel(recorder_->writes[p.index].data);
  }
  bool OnlyLabels() const {
    return std::all_of(pending_.begin(), pending_.end(),
                       [this](const Pending& p) { return Label(p); });
  }
  void CompleteOne() {
    size_t chosen = Below(rng_, pending_.size());
    if (slow_labels_ && !OnlyLabels()) {
      while (Label(pending_[chosen])) chosen = (chosen + 1) % pending_.size();
    }
    const Pending pending = pending_[chosen];
    pending_[chosen] = pending_.back();
    pending_.pop_back();
    IoRequest* request = pending.request;
    if (request->kind == IoKind::kRead) {
      content_.Get(request->offset, request->data, request->bytes);
    } else if (request->kind == IoKind::kWrite) {
      const SetWrite& write = recorder_->writes[pending.index];
      content_.Put(write.offset, write.data.data(), write.data.size());
      recorder_->events.push_back({EventKind::kWriteCompleted, device_, pending.index});
    } else {
      recorder_->events.push_back({EventKind::kFlushCompleted, device_, pending.index});
    }
    request->result = 0;
    request->done(request);
  }

  SetRecorder* recorder_;
  uint16_t device_;
  OverlayFile content_;
  Rng rng_;
  bool slow_labels_;
  std::vector<Pending> pending_;
};

}  // namespace ashlar::crash
