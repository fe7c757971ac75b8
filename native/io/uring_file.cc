// UringFile: the medium through io_uring. One ring a file, owned by one thread at a time; the
// ring's own descriptor is what the event loop polls.
//
// A request occupies a slot from the moment it is handed to the ring until it has ended for good; a
// short transfer keeps its slot and goes in again for the rest. There are fewer slots than
// completion entries, so completions never overflow. Requests beyond the slots wait in a queue of
// our own, in order.
#include <liburing.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "native/io/medium.h"

namespace ashlar {
namespace {

constexpr unsigned kSlots = 256;
// EAGAIN and EINTR from the kernel mean "again"; a medium that says nothing else is broken.
constexpr uint16_t kMaxRepeats = 100;
// A read waits for others to go with until they are this part of those under way.
constexpr unsigned kEarlyShare = 2;
constexpr int kMaxRefusals = 10'000;  // A millisecond each.

class UringFile final : public MediumFile {
 public:
  explicit UringFile(const BackendSpec& spec) : spec_(spec) {
    for (unsigned index = 0; index < kSlots; ++index) {
      slots_[index].next_free = index + 1 < kSlots ? static_cast<int>(index + 1) : -1;
    }
  }

  // 0, or a negative errno; then the ring does not exist.
  int Init() {
    io_uring_params params{};
    // COOP_TASKRUN: completions do not interrupt us, we ask for them; TASKRUN_FLAG: and see in
    // shared memory when to ask. DEFER_TASKRUN is not for a ring whose descriptor is polled by
    // epoll: it is never woken.
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
                   IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    params.cq_entries = kSlots * 2;
    int result = io_uring_queue_init_params(kSlots, &ring_, &params);
    if (result == -EINVAL) {  // Before Linux 5.19.
      params = {};
      params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
      params.cq_entries = kSlots * 2;
      result = io_uring_queue_init_params(kSlots, &ring_, &params);
    }
    if (result < 0) return result;
    has_ring_ = true;
    // The descriptor itself is not registered: the ring would hold the file open, and with it its
    // lock, for a while after we closed it. Registering the arena only saves work: without it the
    // ring does the same.
    if (!spec_.arena.empty() && spec_.direct) {
      const iovec whole{spec_.arena.data(), spec_.arena.size()};
      fixed_buffer_ = io_uring_register_buffers(&ring_, &whole, 1) == 0;
    }
    return 0;
  }

  ~UringFile() override {
    // The kernel may still be moving bytes to and from the caller's memory: whoever frees that
    // memory next must not find it changing. What completes now is told to nobody.
    while (has_ring_ && busy_slots_ > 0) {
      io_uring_submit(&ring_);
      io_uring_cqe* cqe = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &cqe);
      if (result == -EINTR) continue;
      if (result < 0) break;
      io_uring_cqe_seen(&ring_, cqe);
      --busy_slots_;
    }
    if (has_ring_) io_uring_queue_exit(&ring_);
    if (spec_.fd < 0) return;
    // By name, not by the last close: the kernel may be slow to drop a finished request's
    // reference.
    flock(spec_.fd, LOCK_UN);
    close(spec_.fd);
  }

  uint64_t size_bytes() const override { return spec_.size_bytes; }
  uint32_t block_bytes() const override { return spec_.block_bytes; }
  int event_fd() const override { return ring_.ring_fd; }
  uint32_t in_flight() const override { return in_flight_; }
  const char* backend() const override { return "io_uring"; }
  bool direct() const override { return spec_.direct; }
  void Refresh() override {
    const uint64_t bytes = MediumBytes(spec_.fd);
    if (bytes > spec_.size_bytes) spec_.size_bytes = bytes;
  }

  void Submit(IoRequest* request) override {
    ++in_flight_;
    if (free_slot_ < 0 || queue_head_ != nullptr) {
      Enqueue(request);
      return;
    }
    Start(request);
    SendEarly(*request);
  }

  void Kick() override {
    while (io_uring_sq_ready(&ring_) > 0) {
      const int result = io_uring_submit(&ring_);
      if (result > 0) {
        refused_ = 0;
        continue;
      }
      if (result == -EINTR) continue;
      // The kernel has no memory for requests just now. With others in flight their completions
      // bring us back here; alone, wait for better times. A machine without memory for ten seconds
      // is not one to go on with: entries cannot be withdrawn from a ring, and stopping is what a
      // crash-safe store does best.
      if (busy_slots_ > io_uring_sq_ready(&ring_)) return;
      if (++refused_ > kMaxRefusals) std::abort();
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }

  int Poll() override {
    if (in_flight_ == 0) return 0;
    int delivered = 0;
    std::array<io_uring_cqe*, 64> batch;
    while (const unsigned count = io_uring_peek_batch_cqe(&ring_, batch.data(), batch.size())) {
      // Taken out before anybody is told: `done` may call Submit, Kick and Poll.
      std::array<IoRequest*, 64> ended;
      unsigned endings = 0;
      for (unsigned index = 0; index < count; ++index) {
        IoRequest* const request = Settle(batch[index]->user_data, batch[index]->res);
        if (request != nullptr) ended[endings++] = request;
      }
      io_uring_cq_advance(&ring_, count);
      while (free_slot_ >= 0 && queue_head_ != nullptr) Start(Dequeue());
      for (unsigned index = 0; index < endings; ++index) {
        --in_flight_;
        ++delivered;
        ended[index]->done(ended[index]);
      }
      if (count < batch.size()) break;
    }
    Kick();  // The rest of short transfers, and what waited for a slot.
    return delivered;
  }

  int Wait() override {
    while (in_flight_ > 0) {
      Kick();
      if (const int delivered = Poll(); delivered > 0) return delivered;
      if (in_flight_ == 0) return 0;
      io_uring_cqe* cqe = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &cqe);
      if (result < 0 && result != -EINTR && result != -EAGAIN) return result;
    }
    return 0;
  }

 private:
  struct Slot {
    IoRequest* request = nullptr;
    uint32_t moved = 0;  // Bytes that earlier rounds transferred.
    uint16_t repeats = 0;
    int next_free = -1;
  };

  void Enqueue(IoRequest* request) {
    request->next = nullptr;
    if (queue_tail_ == nullptr)
      queue_head_ = request;
    else
      queue_tail_->next = request;
    queue_tail_ = request;
  }

  IoRequest* Dequeue() {
    IoRequest* const request = queue_head_;
    queue_head_ = request->next;
    if (queue_head_ == nullptr) queue_tail_ = nullptr;
    return request;
  }

  void Start(IoRequest* request) {
    const int index = free_slot_;
    Slot& slot = slots_[static_cast<size_t>(index)];
    free_slot_ = slot.next_free;
    ++busy_slots_;
    slot.request = request;
    slot.moved = 0;
    slot.repeats = 0;
    Prepare(index);
  }

  // Reads are sent as they come, so that a medium that has ended all it had does not wait for the
  // rest of the batch; the more are under way, the more share a system call. But neighbours that
  // are sent together become one request below, and a medium may take as long for 128 KiB as for a
  // MiB: a read that begins where the one before it ended is gathered until Kick, as are writes,
  // most of which are neighbours. What the kernel does not take now, Kick sends.
  void SendEarly(const IoRequest& request) {
    if (request.kind != IoKind::kRead) return;
    const bool goes_on = request.offset == read_end_;
    read_end_ = request.offset + request.bytes;
    const unsigned gathered = io_uring_sq_ready(&ring_);
    if (!goes_on && gathered * kEarlyShare > busy_slots_ - gathered) io_uring_submit(&ring_);
  }

  void Prepare(int index) {
    // As many submission entries as slots, each slot in at most one of them: there is always room.
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) std::abort();
    const Slot& slot = slots_[static_cast<size_t>(index)];
    const IoRequest& request = *slot.request;
    const int fd = spec_.fd;
    if (request.kind == IoKind::kFlush) {
      io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    } else {
      uint8_t* const data = request.data + slot.moved;
      const uint32_t bytes = request.bytes - slot.moved;
      const uint64_t offset = request.offset + slot.moved;
      const bool fixed = fixed_buffer_ && data >= spec_.arena.data() &&
                         data + bytes <= spec_.arena.data() + spec_.arena.size();
      if (request.kind == IoKind::kRead) {
        if (fixed)
          io_uring_prep_read_fixed(sqe, fd, data, bytes, offset, 0);
        else
          io_uring_prep_read(sqe, fd, data, bytes, offset);
      } else {
        if (fixed)
          io_uring_prep_write_fixed(sqe, fd, data, bytes, offset, 0);
        else
          io_uring_prep_write(sqe, fd, data, bytes, offset);
      }
    }
    io_uring_sqe_set_data64(sqe, static_cast<uint64_t>(index));
  }

  // What a completion means for its slot: the request if it has ended, null if it goes on.
  IoRequest* Settle(uint64_t user_data, int32_t result) {
    const int index = static_cast<int>(user_data);
    Slot& slot = slots_[static_cast<size_t>(index)];
    IoRequest* const request = slot.request;
    if (result == -EINTR || result == -EAGAIN) {
      if (++slot.repeats <= kMaxRepeats) {
        Prepare(index);
        return nullptr;
      }
    } else if (result >= 0 && request->kind != IoKind::kFlush) {
      slot.moved += static_cast<uint32_t>(result);
      if (slot.moved < request->bytes) {
        if (result > 0) {
          Prepare(index);
          return nullptr;
        }
        result = -EIO;  // The medium ends inside the request: it shrank under us.
      }
    }
    request->result = result < 0 ? result : 0;
    Free(index);
    return request;
  }

  void Free(int index) {
    Slot& slot = slots_[static_cast<size_t>(index)];
    slot.request = nullptr;
    slot.next_free = free_slot_;
    free_slot_ = index;
    --busy_slots_;
  }

  BackendSpec spec_;
  io_uring ring_{};
  bool has_ring_ = false;
  bool fixed_buffer_ = false;
  uint32_t in_flight_ = 0;   // Requests taken, queued ones included.
  uint32_t busy_slots_ = 0;  // Those handed to the ring.
  uint64_t read_end_ = ~0ull;  // Of the read that was started last.
  int refused_ = 0;
  int free_slot_ = 0;
  std::array<Slot, kSlots> slots_;
  IoRequest* queue_head_ = nullptr;
  IoRequest* queue_tail_ = nullptr;

  friend std::unique_ptr<MediumFile> ashlar::MakeUringFile(const BackendSpec&);
};

}  // namespace

std::unique_ptr<MediumFile> MakeUringFile(const BackendSpec& spec) {
  auto file = std::make_unique<UringFile>(spec);
  const int result = file->Init();
  if (result < 0) {
    file->spec_.fd = -1;  // The caller keeps it, and tries another backend.
    errno = -result;
    return nullptr;
  }
  return file;
}

}  // namespace ashlar
