// Brings a pool to the event loop: calls back when its medium's descriptor is readable, and, while
// there is background work, again and again between other events; slower and slower work is polled
// by a timer, so that no core spins.
#pragma once

#include "native/binding/uv_abi.h"

namespace ashlar {

class LoopWatcher {
 public:
  // How keenly background work is polled.
  enum class Pace { kNone, kEveryRound, kEveryMillisecond };
  using Ready = void (*)(void* context);

  // `fd` -1: nothing to poll. Null if the loop refuses the descriptor.
  static LoopWatcher* Start(uv_loop_s* loop, int fd, Ready ready, void* context);

  void SetPace(Pace pace);
  // Whether what is awaited keeps the process alive.
  void SetRef(bool ref);
  // Calls back no more; deletes itself once libuv has let go of the handles, then calls `closed`.
  void Close(Ready closed, void* context);

 private:
  LoopWatcher(Ready ready, void* context) : ready_(ready), context_(context) {}
  ~LoopWatcher() = default;
  uv_handle_s* Make(int type);
  static void OnReady(uv_handle_s* handle);
  static void OnClosed(uv_handle_s* handle);

  Ready ready_;
  void* context_;
  Ready closed_ = nullptr;
  void* closed_context_ = nullptr;
  uv_handle_s* poll_ = nullptr;
  uv_handle_s* idle_ = nullptr;
  uv_handle_s* timer_ = nullptr;
  Pace pace_ = Pace::kNone;
  bool ref_ = true;
  int handles_ = 0;
};

}  // namespace ashlar
