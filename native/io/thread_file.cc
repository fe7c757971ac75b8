// ThreadFile: where io_uring is not to be had (an old kernel, a container's seccomp profile). A few
// threads carry out plain system calls; an eventfd tells the event loop of completions.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "native/io/medium.h"
#include "native/io/transfer.h"

namespace ashlar {
namespace {

constexpr int kThreads = 4;

// First in, first out, linked through IoRequest::next.
struct RequestQueue {
  IoRequest* head = nullptr;
  IoRequest* tail = nullptr;

  void Push(IoRequest* request) {
    request->next = nullptr;
    if (tail == nullptr)
      head = request;
    else
      tail->next = request;
    tail = request;
  }
  IoRequest* Pop() {
    IoRequest* request = head;
    if (request == nullptr) return nullptr;
    head = request->next;
    if (head == nullptr) tail = nullptr;
    return request;
  }
  IoRequest* TakeAll() {
    IoRequest* all = head;
    head = tail = nullptr;
    return all;
  }
};

class ThreadFile final : public MediumFile {
 public:
  ThreadFile(const BackendSpec& spec, int event_fd) : spec_(spec), event_fd_(event_fd) {
    threads_.reserve(kThreads);
    for (int index = 0; index < kThreads; ++index) threads_.emplace_back([this] { Work(); });
  }

  ~ThreadFile() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    close(event_fd_);
    close(spec_.fd);
  }

  uint64_t size_bytes() const override { return spec_.size_bytes; }
  uint32_t block_bytes() const override { return spec_.block_bytes; }
  int event_fd() const override { return event_fd_; }
  uint32_t in_flight() const override { return in_flight_; }
  const char* backend() const override { return "threads"; }
  bool direct() const override { return spec_.direct; }
  void Refresh() override {
    const uint64_t bytes = MediumBytes(spec_.fd);
    if (bytes > spec_.size_bytes) spec_.size_bytes = bytes;
  }

  void Submit(IoRequest* request) override {
    gathered_.Push(request);
    ++in_flight_;
  }

  void Kick() override {
    if (gathered_.head == nullptr) return;
    {
      std::lock_guard lock(mutex_);
      if (waiting_.tail == nullptr)
        waiting_ = gathered_;
      else {
        waiting_.tail->next = gathered_.head;
        waiting_.tail = gathered_.tail;
      }
    }
    gathered_ = {};
    work_.notify_all();
  }

  int Poll() override {
    if (in_flight_ == 0) return 0;
    uint64_t count;
    // Only to make the eventfd unreadable again; the queue itself says what is done.
    [[maybe_unused]] const ssize_t ignored = read(event_fd_, &count, sizeof(count));
    IoRequest* request;
    {
      std::lock_guard lock(mutex_);
      request = finished_.TakeAll();
    }
    return Deliver(request);
  }

  int Wait() override {
    Kick();
    if (in_flight_ == 0) return 0;
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return finished_.head != nullptr; });
    }
    return Poll();
  }

 private:
  int Deliver(IoRequest* request) {
    int delivered = 0;
    while (request != nullptr) {
      IoRequest* const next = request->next;  // `done` may reuse the request.
      --in_flight_;
      ++delivered;
      request->done(request);
      request = next;
    }
    return delivered;
  }

  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || waiting_.head != nullptr; });
      IoRequest* request = waiting_.Pop();
      if (request == nullptr) return;  // Stopping, and nothing is left to do.
      lock.unlock();
      request->result = TransferNow(spec_.fd, *request);
      lock.lock();
      finished_.Push(request);
      done_.notify_one();
      const uint64_t one = 1;
      // Cannot fail short of 2^64 - 1 unread completions.
      [[maybe_unused]] const ssize_t ignored = write(event_fd_, &one, sizeof(one));
    }
  }

  BackendSpec spec_;
  const int event_fd_;
  uint32_t in_flight_ = 0;  // The owner's thread only, as is gathered_.
  RequestQueue gathered_;
  std::mutex mutex_;  // Guards all below.
  std::condition_variable work_;
  std::condition_variable done_;
  RequestQueue waiting_;
  RequestQueue finished_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<MediumFile> MakeThreadFile(const BackendSpec& spec) {
  const int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event_fd < 0) return nullptr;
  return std::make_unique<ThreadFile>(spec, event_fd);
}

}  // namespace ashlar
