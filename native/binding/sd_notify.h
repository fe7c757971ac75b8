#pragma once

#include <napi.h>

namespace ashlar {

// sdNotify(text): boolean. False where there is no service manager to tell.
Napi::Value SdNotify(const Napi::CallbackInfo& info);

}  // namespace ashlar
