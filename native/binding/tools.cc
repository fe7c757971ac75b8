#include "native/binding/tools.h"

#include <cstring>
#include <string>

#include "native/binding/arena.h"
#include "native/binding/errors.h"
#include "native/binding/pool_binding.h"

namespace ashlar {
namespace {

std::string Text(const Napi::Object& options, const char* key) {
  const Napi::Value value = options.Get(key);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

bool Flag(const Napi::Object& options, const char* key) { return options.Get(key).ToBoolean(); }

uint64_t Bytes(const Napi::Object& options, const char* key) {
  const Napi::Value value = options.Get(key);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  return number > 0 && number <= 9007199254740991.0 ? static_cast<uint64_t>(number) : 0;
}

Uuid Id(const Napi::Object& options, const char* key) {
  Uuid id{};
  const Napi::Value value = options.Get(key);
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().ByteLength() == sizeof(id.bytes)) {
    std::memcpy(id.bytes, value.As<Napi::Uint8Array>().Data(), sizeof(id.bytes));
  }
  return id;
}

MediumBackend BackendOf(const std::string& name) {
  if (name == "io_uring") return MediumBackend::kUring;
  if (name == "threads") return MediumBackend::kThreads;
  if (name == "sync") return MediumBackend::kSync;
  return MediumBackend::kAuto;
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

class OpenJob final : public Job {
 public:
  OpenJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:open"), path_(Text(options, "path")) {
    medium_.read_only = pool_.read_only = Flag(options, "readOnly");
    medium_.backend = BackendOf(Text(options, "backend"));
    medium_.arena = Arena();
    if (const uint64_t cache = Bytes(options, "cacheBytes"); cache > 0) pool_.cache_bytes = cache;
    pool_.open_id = Id(options, "openId");
  }

 private:
  Failure Run() override {
    if (MediumFailure failure = OpenMedium(path_, medium_, &opened_.file); !failure.ok())
      return FromMedium(failure);
    if (const Status status = Pool::Probe(*opened_.file, &opened_.store_id, &opened_.name);
        status != Status::kOk) {
      return FromStatus(status, path_, "");
    }
    std::string why;
    const Status status = Pool::Open(*opened_.file, pool_, &opened_.pool, &why);
    return FromStatus(status, path_, why);
  }
  Napi::Value Result(Napi::Env env) override { return PoolBinding::Adopt(env, std::move(opened_)); }

  const std::string path_;
  MediumOptions medium_;
  PoolOptions pool_;
  OpenedPool opened_;
};

class CreateJob final : public Job {
 public:
  CreateJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:create"), path_(Text(options, "path")) {
    medium_.size_bytes = Bytes(options, "sizeBytes");
    medium_.sparse = Flag(options, "sparse");
    medium_.force = Flag(options, "force");
    format_.name = Text(options, "name");
    format_.store_id = Id(options, "storeId");
  }

 private:
  Failure Run() override {
    std::unique_ptr<NewMedium> medium;
    if (MediumFailure failure = NewMedium::Create(path_, medium_, &medium); !failure.ok())
      return FromMedium(failure);
    if (const Status status = Pool::Format(medium->file(), format_); status != Status::kOk) {
      return FromStatus(status, path_, "making a pool there failed");
    }
    return FromMedium(medium->Commit());
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

  const std::string path_;
  CreateOptions medium_;
  FormatOptions format_;
};

class ProbeJob final : public Job {
 public:
  ProbeJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:probe"), path_(Text(options, "path")) {}

 private:
  Failure Run() override {
    std::unique_ptr<MediumFile> file;
    MediumOptions options;
    options.read_only = true;
    if (MediumFailure failure = OpenMedium(path_, options, &file); !failure.ok())
      return FromMedium(failure);
    return FromStatus(Pool::Probe(*file, &id_, &name_), path_, "");
  }
  Napi::Value Result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", Napi::Buffer<uint8_t>::Copy(env, id_.bytes, sizeof(id_.bytes)));
    object.Set("name", name_);
    return object;
  }

  const std::string path_;
  Uuid id_{};
  std::string name_;
};

class CheckJob final : public Job {
 public:
  CheckJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:check"),
        path_(Text(options, "path")),
        with_data_(Flag(options, "withData")) {}

 private:
  Failure Run() override {
    std::unique_ptr<MediumFile> file;
    MediumOptions options;
    options.read_only = true;
    if (MediumFailure failure = OpenMedium(path_, options, &file); !failure.ok())
      return FromMedium(failure);
    const Status status = Pool::Check(*file, with_data_, &report_);
    // What the walk found is an answer, not a failure; only a walk that could not be made is one.
    return report_.findings.empty() ? FromStatus(status, path_, "") : Failure{};
  }
  Napi::Value Result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    const auto set = [&](const char* key, uint64_t count) {
      object.Set(key, Napi::Number::New(env, static_cast<double>(count)));
    };
    object.Set("clean", report_.clean);
    set("pagesChecked", report_.pages_checked);
    set("blocksChecked", report_.blocks_checked);
    set("badMetadataPages", report_.bad_metadata_pages);
    set("badDataBlocks", report_.bad_data_blocks);
    set("leakedBlocks", report_.leaked_blocks);
    set("doublyOwnedBlocks", report_.doubly_owned_blocks);
    set("unmarkedBlocks", report_.unmarked_blocks);
    const Napi::Array findings = Napi::Array::New(env);
    for (uint32_t index = 0; index < report_.findings.size(); ++index)
      findings.Set(index, report_.findings[index]);
    object.Set("findings", findings);
    return object;
  }

  const std::string path_;
  const bool with_data_;
  CheckReport report_;
};

template <typename Kind>
Napi::Value Run(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "options are missing").ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return (new Kind(info.Env(), info[0].As<Napi::Object>()))->Begin();
}

}  // namespace

Napi::Value OpenPool(const Napi::CallbackInfo& info) { return Run<OpenJob>(info); }
Napi::Value CreatePool(const Napi::CallbackInfo& info) { return Run<CreateJob>(info); }
Napi::Value ProbePool(const Napi::CallbackInfo& info) { return Run<ProbeJob>(info); }
Napi::Value CheckPool(const Napi::CallbackInfo& info) { return Run<CheckJob>(info); }

}  // namespace ashlar
