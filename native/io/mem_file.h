// A medium in memory for tests. Sparse. Two images: what a read sees, and what a power cut leaves.
// Asynchronous by default (requests end in Poll or Wait); with `immediate` they end inside Submit,
// as on a RAM-backed file.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "native/io/block_file.h"

namespace ashlar {

class MemFile : public BlockFile {
 public:
  explicit MemFile(uint64_t bytes, bool immediate = false) : bytes_(bytes), immediate_(immediate) {}

  uint64_t size_bytes() const override { return bytes_; }
  uint32_t block_bytes() const override { return 4096; }

  void Submit(IoRequest* request) override {
    if (immediate_) {
      Execute(request);
      request->done(request);
    } else {
      queue_.push_back(request);
    }
  }
  void Kick() override { kicked_ = queue_.size(); }
  int Poll() override { return Deliver(kicked_); }
  int Wait() override {
    if (kicked_ == 0) kicked_ = queue_.size();
    return Deliver(kicked_);
  }

  // What was not flushed is gone, and whoever asked for something.
  void PowerCut() {
    DropQueue();
    LoseCache();
  }
  void LoseCache() {
    for (uint64_t block : unflushed_) {
      auto it = durable_.find(block);
      if (it == durable_.end()) {
        current_.erase(block);
      } else {
        current_[block] = it->second;
      }
    }
    unflushed_.clear();
    durable_.clear();
  }
  // Requests not yet executed are lost, as with a killed process.
  void DropQueue() {
    queue_.clear();
    kicked_ = 0;
  }
  uint8_t* Block(uint64_t block) {
    auto& data = current_[block];
    if (data.empty()) data.resize(4096);
    return data.data();
  }
  // Of those that were ever written: f(block, its 4096 bytes).
  template <typename F>
  void EachBlock(F f) const {
    for (const auto& [block, data] : current_) f(block, data.data());
  }
  uint64_t blocks_held() const { return current_.size(); }

  // Decides a request's result before it is executed: 0, or a negative errno.
  std::function<int32_t(const IoRequest&)> fail;
  // Completes queued requests in another order than they came in.
  std::function<size_t(size_t)> pick;
  // Queued requests that are not executed for now.
  std::function<bool(const IoRequest&)> hold;
  uint64_t reads = 0, writes = 0, flushes = 0;

 private:
  int Deliver(size_t count) {
    int delivered = 0;
    for (; count > 0 && !queue_.empty(); --count) {
      size_t at = pick ? pick(std::min(count, queue_.size())) : 0;
      while (hold && at < queue_.size() && hold(*queue_[at])) ++at;
      if (at == queue_.size()) break;
      IoRequest* request = queue_[at];
      queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(at));
      if (kicked_ > 0) --kicked_;
      Execute(request);
      ++delivered;
      request->done(request);
    }
    return delivered;
  }

  void Execute(IoRequest* request) {
    request->result = fail ? fail(*request) : 0;
    if (request->result == 0 && request->kind != IoKind::kFlush &&
        (request->offset > bytes_ || request->bytes > bytes_ - request->offset)) {
      request->result = -EINVAL;
    }
    if (request->result != 0) return;
    if (request->kind == IoKind::kFlush) {
      ++flushes;
      unflushed_.clear();
      durable_.clear();
      return;
    }
    for (uint32_t at = 0; at < request->bytes; at += 4096) {
      const uint64_t block = (request->offset + at) / 4096;
      auto it = current_.find(block);
      if (request->kind == IoKind::kRead) {
        if (it == current_.end()) {
          std::memset(request->data + at, 0, 4096);
        } else {
          std::memcpy(request->data + at, it->second.data(), 4096);
        }
        continue;
      }
      if (FirstChange(block) && it != current_.end()) durable_[block] = it->second;
      std::memcpy(Block(block), request->data + at, 4096);
    }
    ++(request->kind == IoKind::kRead ? reads : writes);
  }
  // True the first time since the last flush.
  bool FirstChange(uint64_t block) { return unflushed_.insert(block).second; }

  uint64_t bytes_;
  bool immediate_;
  std::deque<IoRequest*> queue_;
  size_t kicked_ = 0;
  std::unordered_map<uint64_t, std::vector<uint8_t>> current_;
  std::unordered_map<uint64_t, std::vector<uint8_t>>
      durable_;  // Old contents of what changed since the last flush.
  std::unordered_set<uint64_t> unflushed_;
};

}  // namespace ashlar
