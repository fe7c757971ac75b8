// Numbers and identifiers between JavaScript and C++.
#pragma once

#include <napi.h>

#include <cstdint>

#include "native/engine/pool.h"

namespace ashlar {

Napi::String UuidText(Napi::Env env, const Uuid& id);
// From a Uint8Array of 16; anything else leaves it as it is.
void CopyUuid(const Napi::Value& value, Uuid* id);
// A count or index that JavaScript gave: 0 to 2^53 - 1, else `otherwise`.
uint64_t ToCount(const Napi::Value& value, uint64_t otherwise);
inline uint32_t ToHandle(const Napi::Value& value) {
  return static_cast<uint32_t>(ToCount(value, 0));
}
inline Napi::Number Num(Napi::Env env, uint64_t number) {
  return Napi::Number::New(env, static_cast<double>(number));
}

}  // namespace ashlar
