#include "native/engine/check_workers.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "native/engine/crc32c.h"
#include "native/engine/pool.h"

namespace ashlar {

CheckWorkers::CheckWorkers() : event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

CheckWorkers::~CheckWorkers() {
  SetThreads(0);
  if (event_fd_ >= 0) close(event_fd_);
}

void CheckWorkers::SetThreads(uint32_t threads) {
  if (event_fd_ < 0) threads = 0;
  threads = std::min(threads, kMaxCheckWorkers);
  {
    std::lock_guard lock(mutex_);
    wanted_ = threads;
  }
  work_.notify_all();
  // What is left of a job takes microseconds.
  for (; threads_.size() > threads; threads_.pop_back()) pthread_join(threads_.back(), nullptr);
  while (threads_.size() < threads) {
    auto* const start = new Start{this, static_cast<uint32_t>(threads_.size())};
    pthread_t thread;
    if (pthread_create(&thread, nullptr, &CheckWorkers::Main, start) != 0) {
      delete start;
      std::lock_guard lock(mutex_);
      wanted_ = static_cast<uint32_t>(threads_.size());
      break;
    }
    pthread_setname_np(thread, "ashlar-check");
    threads_.push_back(thread);
  }
}

void* CheckWorkers::Main(void* given) {
  auto* const start = static_cast<Start*>(given);
  const Start here = *start;
  delete start;
  here.workers->Work(here.index);
  return nullptr;
}

void CheckWorkers::SetLane(CheckLane* lane, uint32_t most) {
  {
    std::lock_guard lock(mutex_);
    lane->most = most;
  }
  work_.notify_all();
}

bool CheckWorkers::Submit(CheckJob* job) {
  job->bad[0] = job->bad[1] = 0;
  job->next = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (wanted_ == 0) return false;
    waiting_.push_back(job);
  }
  work_.notify_one();
  return true;
}

uint64_t CheckWorkers::BlocksOf(const CheckLane& lane) {
  std::lock_guard lock(mutex_);
  return lane.blocks;
}

CheckJob* CheckWorkers::Take() {
  std::lock_guard lock(mutex_);
  if (done_head_ == nullptr) return nullptr;
  uint64_t count;
  // Only to make the descriptor unreadable again.
  [[maybe_unused]] const ssize_t ignored = read(event_fd_, &count, sizeof(count));
  CheckJob* all = done_head_;
  done_head_ = done_tail_ = nullptr;
  return all;
}

// The oldest whose volume may have one more at work. What a volume gave before it was to give no
// more is done all the same.
CheckJob* CheckWorkers::Next() {
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    CheckJob* job = *it;
    if (wanted_ > 0 && job->lane->running >= std::max(1u, job->lane->most)) continue;
    waiting_.erase(it);
    return job;
  }
  return nullptr;
}

void CheckWorkers::Work(uint32_t index) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (index >= wanted_ && index > 0) {
      work_.notify_all();  // What this one's lane held back is for another one to begin.
      return;
    }
    CheckJob* job = Next();
    if (job == nullptr) {
      if (index >= wanted_) return;
      work_.wait(lock);
      continue;
    }
    ++job->lane->running;
    lock.unlock();
    for (uint32_t i = 0; i < job->blocks; ++i) {
      if (Crc32c(job->data + uint64_t{i} * kBlockBytes, kBlockBytes) == job->crc[i]) continue;
      job->bad[i >> 6] |= 1ull << (i & 63);
    }
    lock.lock();
    --job->lane->running;
    job->lane->blocks += job->blocks;
    (done_tail_ != nullptr ? done_tail_->next : done_head_) = job;
    const bool first = done_tail_ == nullptr;
    done_tail_ = job;
    // One that its lane held back is this thread's next.
    if (!first) continue;
    const uint64_t one = 1;
    // It cannot overflow: it is read before as many could be written.
    [[maybe_unused]] const ssize_t ignored = write(event_fd_, &one, sizeof(one));
  }
}

}  // namespace ashlar
