// A short spin before the event loop goes to sleep. At depth 1 half of an I/O's time is spent on
// waking sleepers: the processor that ran the loop has gone idle, and must be called back. Looking
// for the next event for a few tens of microseconds first avoids that, while events come that fast
// and a processor would be idle anyway.
#pragma once

#include <napi.h>

namespace ashlar {

// setSpin(microseconds): at most so long a spin before each sleep; 0, the default, none. Throws
// RangeError above 1000.
Napi::Value SetSpin(const Napi::CallbackInfo& info);

}  // namespace ashlar
