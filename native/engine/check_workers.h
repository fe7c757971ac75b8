// Threads that compare what was read with its checksums, so that the event loop need not. The engine
// itself stays single-threaded: a worker gets bytes that nobody else touches meanwhile, the
// checksums that they must have, and a place for its answer.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

namespace ashlar {

// A volume's share of the workers.
struct CheckLane {
  uint32_t most = 0;    // Jobs of it at work at one time. 0: it gives them none.
  uint64_t blocks = 0;  // That workers have checked for it.
  uint32_t running = 0;  // The workers' own.
};

struct CheckJob {
  const uint8_t* data = nullptr;
  const uint32_t* crc = nullptr;  // One a block.
  uint32_t blocks = 0;            // At most 128.
  CheckLane* lane = nullptr;
  void* owner = nullptr;
  uint64_t bad[2] = {0, 0};  // Blocks that failed, by bit.
  CheckJob* next = nullptr;
};

inline constexpr uint32_t kMaxCheckWorkers = 64;

class CheckWorkers {
 public:
  CheckWorkers();
  // Waits for all that was given; of its end nobody hears.
  ~CheckWorkers();
  CheckWorkers(const CheckWorkers&) = delete;
  CheckWorkers& operator=(const CheckWorkers&) = delete;

  // Readable when Take has something. -1: there was no descriptor to be had, and nothing is taken.
  int event_fd() const { return event_fd_; }
  // How many there are from now on, at most kMaxCheckWorkers, and what the system gives. Those that
  // are too many go when they have ended what they do; the last one, when nothing waits.
  void SetThreads(uint32_t threads);
  uint32_t threads() const { return static_cast<uint32_t>(threads_.size()); }
  void SetLane(CheckLane* lane, uint32_t most);
  // False: there is no thread to do it.
  bool Submit(CheckJob* job);
  uint64_t BlocksOf(const CheckLane& lane);
  // Those that have ended since, linked by `next`, in the order of their ends.
  CheckJob* Take();

 private:
  struct Start {
    CheckWorkers* workers;
    uint32_t index;
  };
  static void* Main(void* start);
  void Work(uint32_t index);
  CheckJob* Next();

  int event_fd_;
  std::mutex mutex_;
  std::condition_variable work_;
  uint32_t wanted_ = 0;
  std::vector<pthread_t> threads_;  // The owner's.
  std::deque<CheckJob*> waiting_;
  CheckJob* done_head_ = nullptr;
  CheckJob* done_tail_ = nullptr;
};

}  // namespace ashlar
