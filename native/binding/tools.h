// The calls on pools that are not open: create, open, probe, check. Each runs on a worker thread
// and returns a promise.
#pragma once

#include <napi.h>

namespace ashlar {

// openPool({ paths, cacheBytes, openId, owner, ownerName, formerOwner, takeOver, settleMs, lookMs, readOnly, backend }):
//   Promise<NativePoolHandle>
Napi::Value OpenPool(const Napi::CallbackInfo& info);
// createPool({ path, sizeBytes, sparse, force, name, storeId }): Promise<void>
Napi::Value CreatePool(const Napi::CallbackInfo& info);
// probePool({ path }): Promise<{ id, name, deviceId, devices, sequence, exported, owner… }>
Napi::Value ProbePool(const Napi::CallbackInfo& info);
// checkPool({ paths, withData }): Promise<report>
Napi::Value CheckPool(const Napi::CallbackInfo& info);

}  // namespace ashlar
