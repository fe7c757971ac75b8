// The send stream's reader and writer, as JavaScript objects.
#pragma once

#include <napi.h>

namespace ashlar {

void DefineStream(Napi::Env env, Napi::Object exports);

}  // namespace ashlar
