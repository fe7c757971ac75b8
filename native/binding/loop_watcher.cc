#include "native/binding/loop_watcher.h"

#include <cstdlib>
#include <initializer_list>

namespace ashlar {

uv_handle_s* LoopWatcher::Make(int type) {
  auto* const handle = static_cast<uv_handle_s*>(std::calloc(1, uv_handle_size(type)));
  if (handle == nullptr) std::abort();
  return handle;
}

LoopWatcher* LoopWatcher::Start(uv_loop_s* loop, int fd, Ready ready, void* context) {
  auto* const watcher = new LoopWatcher(ready, context);
  if (fd >= 0) {
    uv_handle_s* const poll = watcher->Make(kUvPoll);
    if (uv_poll_init(loop, poll, fd) != 0) {
      std::free(poll);
      delete watcher;
      return nullptr;
    }
    watcher->poll_ = poll;
    uv_handle_set_data(poll, watcher);
    uv_poll_start(poll, kUvReadable, [](uv_handle_s* handle, int, int) { OnReady(handle); });
    ++watcher->handles_;
  }
  watcher->idle_ = watcher->Make(kUvIdle);
  uv_idle_init(loop, watcher->idle_);
  watcher->timer_ = watcher->Make(kUvTimer);
  uv_timer_init(loop, watcher->timer_);
  for (uv_handle_s* const handle : {watcher->idle_, watcher->timer_}) {
    uv_handle_set_data(handle, watcher);
    ++watcher->handles_;
  }
  watcher->SetRef(false);
  return watcher;
}

void LoopWatcher::SetPace(Pace pace) {
  if (pace == pace_) return;
  pace_ = pace;
  uv_idle_stop(idle_);
  uv_timer_stop(timer_);
  if (pace == Pace::kEveryRound) uv_idle_start(idle_, OnReady);
  if (pace == Pace::kEveryMillisecond) uv_timer_start(timer_, OnReady, 1, 1);
}

void LoopWatcher::SetRef(bool ref) {
  if (ref == ref_) return;
  ref_ = ref;
  for (uv_handle_s* const handle : {poll_, idle_, timer_}) {
    if (handle == nullptr) continue;
    if (ref)
      uv_ref(handle);
    else
      uv_unref(handle);
  }
}

void LoopWatcher::Close(Ready closed, void* context) {
  ready_ = nullptr;
  closed_ = closed;
  closed_context_ = context;
  for (uv_handle_s* const handle : {poll_, idle_, timer_}) {
    if (handle != nullptr) uv_close(handle, OnClosed);
  }
}

void LoopWatcher::OnReady(uv_handle_s* handle) {
  auto* const watcher = static_cast<LoopWatcher*>(uv_handle_get_data(handle));
  // A callback of the same round may have closed us already.
  if (watcher->ready_ != nullptr) watcher->ready_(watcher->context_);
}

void LoopWatcher::OnClosed(uv_handle_s* handle) {
  auto* const watcher = static_cast<LoopWatcher*>(uv_handle_get_data(handle));
  std::free(handle);
  if (--watcher->handles_ > 0) return;
  if (watcher->closed_ != nullptr) watcher->closed_(watcher->closed_context_);
  delete watcher;
}

}  // namespace ashlar
