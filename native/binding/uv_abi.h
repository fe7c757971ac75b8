// The few functions of libuv that the binding uses, declared here: in Node-API builds uv.h is not
// on the include path, and Node exports these symbols from its own binary. Handles are opaque and
// sized by libuv itself, so nothing depends on the layout of a structure; names, signatures and the
// two enum values are part of libuv's stable 1.x ABI.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;  // Stands for every kind of handle: they share their first member and are
                     // passed by pointer only.

using AshlarUvCallback = void (*)(uv_handle_s*);
using AshlarUvPollCallback = void (*)(uv_handle_s*, int status, int events);

size_t uv_handle_size(int type);
void* uv_handle_get_data(const uv_handle_s*);
void uv_handle_set_data(uv_handle_s*, void*);
void uv_close(uv_handle_s*, AshlarUvCallback);
void uv_ref(uv_handle_s*);
void uv_unref(uv_handle_s*);
int uv_poll_init(uv_loop_s*, uv_handle_s*, int fd);
int uv_poll_start(uv_handle_s*, int events, AshlarUvPollCallback);
int uv_idle_init(uv_loop_s*, uv_handle_s*);
int uv_idle_start(uv_handle_s*, AshlarUvCallback);
int uv_idle_stop(uv_handle_s*);
int uv_prepare_init(uv_loop_s*, uv_handle_s*);
int uv_prepare_start(uv_handle_s*, AshlarUvCallback);
int uv_check_init(uv_loop_s*, uv_handle_s*);
int uv_check_start(uv_handle_s*, AshlarUvCallback);
int uv_backend_fd(const uv_loop_s*);
int uv_backend_timeout(const uv_loop_s*);
int uv_timer_init(uv_loop_s*, uv_handle_s*);
int uv_timer_start(uv_handle_s*, AshlarUvCallback, uint64_t timeout_ms, uint64_t repeat_ms);
int uv_timer_stop(uv_handle_s*);
}

namespace ashlar {
inline constexpr int kUvCheck = 2;
inline constexpr int kUvIdle = 6;  // uv_handle_type, in the order of UV_HANDLE_TYPE_MAP.
inline constexpr int kUvPoll = 8;
inline constexpr int kUvPrepare = 9;
inline constexpr int kUvTimer = 13;
inline constexpr int kUvReadable = 1;
}  // namespace ashlar
