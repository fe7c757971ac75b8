// What the bytes at both ends of a medium say it is: the engine's knowledge of marks, for the list
// of devices.
#pragma once

#include <napi.h>

namespace ashlar {

// findSignature(head: Uint8Array, tail: Uint8Array, sizeBytes: number): string | null
Napi::Value FindSignatureOf(const Napi::CallbackInfo& info);

}  // namespace ashlar
