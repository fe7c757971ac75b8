// Failures on their way to JavaScript: an Error with the `code` of src/store/types.ts.
#pragma once

#include <napi.h>

#include <string>

#include "native/engine/pool.h"
#include "native/io/medium.h"

namespace ashlar {

struct Failure {
  const char* code = nullptr;  // Null: none.
  std::string text;
};

Failure FromMedium(const MediumFailure& failure);
// `path` and `why` make the words; `why` may be empty.
Failure FromStatus(Status status, const std::string& path, const std::string& why);
Napi::Error ToError(Napi::Env env, const Failure& failure);

}  // namespace ashlar
