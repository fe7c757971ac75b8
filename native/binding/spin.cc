#include "native/binding/spin.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "native/binding/uv_abi.h"

namespace ashlar {
namespace {

constexpr uint32_t kMaxMicroseconds = 1000;
// Heat rises with each event that came soon after the loop had nothing to do, and falls faster with
// each that did not: an idle daemon, or one whose next event is far off, does not spin.
constexpr int kMaxHeat = 64;
constexpr int kSpinHeat = 16;
constexpr int kColdStep = 8;
// A sleep that ended within this many times the spin might have been spared.
constexpr uint64_t kSoon = 3;
constexpr uint64_t kLookNs = 100'000'000;  // How often to see whether a processor is free.

uint64_t NowNs(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

class Spinner {
 public:
  void Start(uv_loop_s* loop) {
    loop_ = loop;
    for (const bool before : {true, false}) {
      auto* const handle =
          static_cast<uv_handle_s*>(std::calloc(1, uv_handle_size(before ? kUvPrepare : kUvCheck)));
      if (handle == nullptr) std::abort();
      uv_handle_set_data(handle, this);
      if (before) {
        uv_prepare_init(loop, handle);
        uv_prepare_start(handle, [](uv_handle_s* h) { Of(h)->BeforePoll(); });
      } else {
        uv_check_init(loop, handle);
        uv_check_start(handle, [](uv_handle_s* h) { Of(h)->AfterPoll(); });
      }
      uv_unref(handle);
      handles_[before ? 0 : 1] = handle;
    }
  }
  // The handles go by themselves, and the last one takes this object along.
  void Stop() {
    for (uv_handle_s* const handle : handles_) {
      uv_close(handle, [](uv_handle_s* h) {
        Spinner* const spinner = Of(h);
        std::free(h);
        if (--spinner->open_ == 0) delete spinner;
      });
    }
  }
  void set_limit(uint32_t microseconds) { limit_ns_ = microseconds * 1000ull; }

 private:
  static Spinner* Of(uv_handle_s* handle) {
    return static_cast<Spinner*>(uv_handle_get_data(handle));
  }

  bool Ready() const {
    pollfd watched{uv_backend_fd(loop_), POLLIN, 0};
    return poll(&watched, 1, 0) != 0;
  }

  void BeforePoll() {
    slept_ns_ = 0;
    // 0: the loop has something to do and will not sleep.
    if (limit_ns_ == 0 || uv_backend_timeout(loop_) == 0) return;
    const uint64_t start = NowNs(CLOCK_MONOTONIC);
    slept_ns_ = start;
    if (heat_ < kSpinHeat || !ProcessorFree(start)) return;
    while (!Ready()) {
      if (NowNs(CLOCK_MONOTONIC) - start >= limit_ns_) {
        heat_ = heat_ > kColdStep ? heat_ - kColdStep : 0;
        slept_ns_ = 0;
        return;
      }
    }
  }

  void AfterPoll() {
    if (slept_ns_ == 0) return;
    const bool soon = NowNs(CLOCK_MONOTONIC) - slept_ns_ < limit_ns_ * kSoon;
    if (soon && heat_ < kMaxHeat) ++heat_;
    if (!soon) heat_ = heat_ > kColdStep ? heat_ - kColdStep : 0;
  }

  // Whether what others run leaves one of the machine's processors to us, as of the last look.
  bool ProcessorFree(uint64_t now) {
    if (now - looked_ns_ < kLookNs) return free_;
    const uint64_t elapsed = now - looked_ns_;
    looked_ns_ = now;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) {
      return free_ = false;
    }
    const uint64_t idle = IdleNs();
    const uint64_t own = NowNs(CLOCK_PROCESS_CPUTIME_ID);
    // Our own time counts as free: spinning is what we would do with it.
    const uint64_t free = (idle - idle_ns_) + (own - own_ns_);
    free_ = idle_ns_ != 0 && processors > 1 && free * 10 >= elapsed * 9;
    idle_ns_ = idle;
    own_ns_ = own;
    return free_;
  }

  // Idle time of all processors since boot, from the first line of /proc/stat (proc(5)); 0 if it
  // cannot be read.
  static uint64_t IdleNs() {
    char text[256] = {};
    const int file = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const ssize_t bytes = read(file, text, sizeof text - 1);
    close(file);
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0;
    if (bytes <= 0 || std::sscanf(text, "cpu %llu %llu %llu %llu %llu", &user, &nice, &system,
                                  &idle, &wait) != 5) {
      return 0;
    }
    return (idle + wait) * (1'000'000'000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
  }

  uv_loop_s* loop_ = nullptr;
  uv_handle_s* handles_[2] = {};
  int open_ = 2;
  uint64_t limit_ns_ = 0;
  uint64_t slept_ns_ = 0;  // When the loop ran out of work; 0: it did not, or the spin was in vain.
  int heat_ = 0;
  uint64_t looked_ns_ = 0;
  uint64_t idle_ns_ = 0;
  uint64_t own_ns_ = 0;
  bool free_ = false;
};

Spinner* spinner = nullptr;

}  // namespace

Napi::Value SetSpin(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const double wanted =
      info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (!(wanted >= 0 && wanted <= kMaxMicroseconds)) {
    Napi::RangeError::New(env, "setSpin: microseconds from 0 to 1000").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  if (spinner == nullptr && wanted > 0) {
    uv_loop_s* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return env.Undefined();
    spinner = new Spinner;
    spinner->Start(loop);
    napi_add_env_cleanup_hook(
        env,
        [](void*) {
          spinner->Stop();
          spinner = nullptr;
        },
        nullptr);
  }
  if (spinner != nullptr) spinner->set_limit(static_cast<uint32_t>(wanted));
  return env.Undefined();
}

}  // namespace ashlar
