// What the asynchronous tools share: options out of JavaScript, and work on another thread.
#pragma once

#include <napi.h>

#include <cstring>
#include <string>
#include <vector>

#include "native/binding/errors.h"
#include "native/engine/pool.h"

namespace ashlar {

inline std::string Text(const Napi::Object& options, const char* key) {
  const Napi::Value value = options.Get(key);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

inline bool Flag(const Napi::Object& options, const char* key) {
  return options.Get(key).ToBoolean();
}

inline uint64_t Bytes(const Napi::Object& options, const char* key) {
  const Napi::Value value = options.Get(key);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  return number > 0 && number <= 9007199254740991.0 ? static_cast<uint64_t>(number) : 0;
}

inline Uuid Id(const Napi::Object& options, const char* key) {
  Uuid id{};
  const Napi::Value value = options.Get(key);
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().ByteLength() == sizeof(id.bytes)) {
    std::memcpy(id.bytes, value.As<Napi::Uint8Array>().Data(), sizeof(id.bytes));
  }
  return id;
}

// An array of strings. Empty where it is none.
inline std::vector<std::string> Texts(const Napi::Value& value) {
  std::vector<std::string> texts;
  if (!value.IsArray()) return texts;
  const auto array = value.As<Napi::Array>();
  for (uint32_t index = 0; index < array.Length(); ++index) {
    texts.push_back(array.Get(index).ToString().Utf8Value());
  }
  return texts;
}

// Work on another thread that ends in a promise. Deletes itself.
class Job : public Napi::AsyncWorker {
 public:
  Job(Napi::Env env, const char* name)
      : Napi::AsyncWorker(env, name), promise_(Napi::Promise::Deferred::New(env)) {}

  Napi::Value Begin() {
    const Napi::Promise promise = promise_.Promise();
    Queue();
    return promise;
  }

 protected:
  virtual Failure Run() = 0;
  virtual Napi::Value Result(Napi::Env env) = 0;

 private:
  void Execute() final { failure_ = Run(); }
  void OnOK() final {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    if (failure_.code != nullptr)
      promise_.Reject(ToError(env, failure_).Value());
    else
      promise_.Resolve(Result(env));
  }

  Napi::Promise::Deferred promise_;
  Failure failure_;
};

template <typename Kind>
Napi::Value RunJob(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "options are missing").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return (new Kind(info.Env(), info[0].As<Napi::Object>()))->Begin();
}

}  // namespace ashlar
