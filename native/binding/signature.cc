#include "native/binding/signature.h"

#include <cstdint>
#include <span>

#include "native/io/medium.h"

namespace ashlar {

Napi::Value FindSignatureOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsTypedArray() || !info[1].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array || !info[2].IsNumber()) {
    Napi::TypeError::New(env, "findSignature(head, tail, sizeBytes)").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const auto bytes = [](const Napi::Value& value) {
    const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
    return std::span<const uint8_t>(array.Data(), array.ByteLength());
  };
  const double size_bytes = info[2].As<Napi::Number>().DoubleValue();
  const std::span<const uint8_t> head = bytes(info[0]);
  const std::span<const uint8_t> tail = bytes(info[1]);
  if (!(size_bytes <= 9007199254740991.0) || size_bytes < static_cast<double>(head.size()) ||
      size_bytes < static_cast<double>(tail.size())) {
    Napi::RangeError::New(env, "findSignature: the ends are larger than the whole")
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const char* what = FindSignature(head, tail, static_cast<uint64_t>(size_bytes));
  if (what == nullptr) return env.Null();
  return Napi::String::New(env, what);
}

}  // namespace ashlar
