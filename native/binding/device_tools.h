// Media that wait to be given to a pool.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "native/engine/pool.h"
#include "native/io/medium.h"

namespace ashlar {

// Behind an external in JavaScript. Empty once a pool has taken it.
struct HeldMedium {
  std::unique_ptr<MediumFile> file;
  std::string path;
  Uuid id{};
  uint8_t label_slot = 0;
};

// prepareDevice({ path, sizeBytes, sparse, force, id }): Promise<medium>: made or taken, wiped
Napi::Value PrepareDevice(const Napi::CallbackInfo& info);
// openDevice({ path }): Promise<{ medium, poolId, deviceId, sequence }>
Napi::Value OpenDevice(const Napi::CallbackInfo& info);
// destroyPool({ paths }): Promise<void>: wipes the devices of a pool that is not open
Napi::Value DestroyPool(const Napi::CallbackInfo& info);

}  // namespace ashlar
