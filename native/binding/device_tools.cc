#include "native/binding/device_tools.h"

#include "native/binding/arena.h"
#include "native/binding/job.h"

namespace ashlar {
namespace {

Napi::Value ToExternal(Napi::Env env, HeldMedium held) {
  return Napi::External<HeldMedium>::New(env, new HeldMedium(std::move(held)),
                                         [](Napi::Env, HeldMedium* data) { delete data; });
}

class PrepareJob final : public Job {
 public:
  PrepareJob(Napi::Env env, const Napi::Object& options) : Job(env, "ashlar:prepare") {
    held_.path = Text(options, "path");
    held_.id = Id(options, "id");
    create_.size_bytes = Bytes(options, "sizeBytes");
    create_.sparse = Flag(options, "sparse");
    create_.force = Flag(options, "force");
  }

 private:
  Failure Run() override {
    {
      std::unique_ptr<NewMedium> medium;
      if (MediumFailure failure = NewMedium::Create(held_.path, create_, &medium); !failure.ok())
        return FromMedium(failure);
      if (MediumFailure failure = medium->Clear(); !failure.ok()) return FromMedium(failure);
      if (const Status status = Pool::WipeDevice(medium->file()); status != Status::kOk)
        return FromStatus(status, held_.path, "it cannot be cleared");
      if (MediumFailure failure = medium->Commit(); !failure.ok()) return FromMedium(failure);
    }
    MediumOptions options;
    options.arena = Arena();
    return FromMedium(OpenMedium(held_.path, options, &held_.file));
  }
  Napi::Value Result(Napi::Env env) override { return ToExternal(env, std::move(held_)); }

  CreateOptions create_;
  HeldMedium held_;
};

class OpenDeviceJob final : public Job {
 public:
  OpenDeviceJob(Napi::Env env, const Napi::Object& options) : Job(env, "ashlar:device") {
    held_.path = Text(options, "path");
  }

 private:
  Failure Run() override {
    MediumOptions options;
    options.arena = Arena();
    if (MediumFailure failure = OpenMedium(held_.path, options, &held_.file); !failure.ok())
      return FromMedium(failure);
    return FromStatus(Pool::Probe(*held_.file, &probe_), held_.path, "");
  }
  Napi::Value Result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    const auto id = [env](const Uuid& uuid) {
      return Napi::Buffer<uint8_t>::Copy(env, uuid.bytes, sizeof(uuid.bytes));
    };
    held_.label_slot = probe_.label_slot;
    object.Set("medium", ToExternal(env, std::move(held_)));
    object.Set("poolId", id(probe_.store_id));
    object.Set("deviceId", id(probe_.device_id));
    object.Set("sequence", static_cast<double>(probe_.sequence));
    return object;
  }

  HeldMedium held_;
  ProbeResult probe_;
};

class DestroyJob final : public Job {
 public:
  DestroyJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:destroy"), paths_(Texts(options.Get("paths"))) {}

 private:
  // All are opened, so that none is in use, before the first is wiped.
  Failure Run() override {
    std::vector<std::unique_ptr<MediumFile>> files;
    Uuid pool{};
    for (const std::string& path : paths_) {
      std::unique_ptr<MediumFile> file;
      if (MediumFailure failure = OpenMedium(path, {}, &file); !failure.ok())
        return FromMedium(failure);
      ProbeResult probe;
      if (const Status status = Pool::Probe(*file, &probe); status != Status::kOk)
        return FromStatus(status, path, "");
      if (!files.empty() && !(probe.store_id == pool)) {
        return {"STORE_FOREIGN_DEVICE", path + " belongs to another pool, " + probe.name};
      }
      pool = probe.store_id;
      files.push_back(std::move(file));
    }
    for (size_t index = 0; index < files.size(); ++index) {
      if (const Status status = Pool::WipeDevice(*files[index]); status != Status::kOk)
        return FromStatus(status, paths_[index], "its labels could not be wiped");
    }
    return {};
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

  const std::vector<std::string> paths_;
};

}  // namespace

Napi::Value PrepareDevice(const Napi::CallbackInfo& info) { return RunJob<PrepareJob>(info); }
Napi::Value OpenDevice(const Napi::CallbackInfo& info) { return RunJob<OpenDeviceJob>(info); }
Napi::Value DestroyPool(const Napi::CallbackInfo& info) { return RunJob<DestroyJob>(info); }

}  // namespace ashlar
