// The arena: the one piece of memory that data is in, from the socket to the medium. One a process,
// for its lifetime.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>

namespace ashlar {

// Empty until createArena was called.
std::span<uint8_t> Arena();

// createArena(bytes): ArrayBuffer. A multiple of 4 MiB; the base is aligned to 2 MiB. Once a
// process.
Napi::Value CreateArena(const Napi::CallbackInfo& info);

}  // namespace ashlar
