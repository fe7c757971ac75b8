#include "native/binding/tools.h"

#include <memory>
#include <string>
#include <vector>

#include "native/binding/arena.h"
#include "native/binding/job.h"
#include "native/binding/pool_binding.h"

namespace ashlar {
namespace {

MediumBackend BackendOf(const std::string& name) {
  if (name == "io_uring") return MediumBackend::kUring;
  if (name == "threads") return MediumBackend::kThreads;
  if (name == "sync") return MediumBackend::kSync;
  return MediumBackend::kAuto;
}

// Opens what there is of these paths. A device that is not there, or cannot be read, may be half of
// a mirror: whether the pool can do without is for the pool to say.
struct OpenedMedia {
  std::vector<std::unique_ptr<MediumFile>> files;
  std::vector<DeviceFile> devices;
  std::string missing;
};

Failure OpenMedia(const std::vector<std::string>& paths, const MediumOptions& options,
                  OpenedMedia* media) {
  MediumFailure first;
  for (const std::string& path : paths) {
    std::unique_ptr<MediumFile> file;
    const MediumFailure failure = OpenMedium(path, options, &file);
    if (failure.ok()) {
      media->devices.push_back({file.get(), path, {}});
      media->files.push_back(std::move(file));
      continue;
    }
    if (failure.error != MediumError::kNotFound && failure.error != MediumError::kIo) {
      return FromMedium(failure);
    }
    if (first.ok()) first = failure;
    media->missing += "; " + failure.text;
  }
  return media->files.empty() ? FromMedium(first) : Failure{};
}

class OpenJob final : public Job {
 public:
  OpenJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:open"), paths_(Texts(options.Get("paths"))) {
    medium_.read_only = pool_.read_only = Flag(options, "readOnly");
    medium_.backend = BackendOf(Text(options, "backend"));
    medium_.arena = Arena();
    if (const uint64_t cache = Bytes(options, "cacheBytes"); cache > 0) pool_.cache_bytes = cache;
    pool_.walk_bytes_per_second = Bytes(options, "walkBytesPerSecond");
    pool_.open_id = Id(options, "openId");
    pool_.owner = {Id(options, "owner"), Text(options, "ownerName"), Flag(options, "takeOver"),
                   Id(options, "formerOwner"),
                   static_cast<uint32_t>(Bytes(options, "settleMs")),
                   static_cast<uint32_t>(Bytes(options, "lookMs"))};
  }

 private:
  Failure Run() override {
    if (paths_.empty()) return {"STORE_INVALID", "no devices were given"};
    OpenedMedia media;
    if (const Failure failure = OpenMedia(paths_, medium_, &media); failure.code != nullptr) {
      return failure;
    }
    std::string why;
    const Status status = Pool::Open(media.devices, pool_, &opened_.pool, &why);
    if (status != Status::kOk) {
      return FromStatus(status, paths_[0] + (paths_.size() > 1 ? " and the others" : ""),
                        why + media.missing);
    }
    ProbeResult probe;
    if (const Status probed = Pool::Probe(*media.files[0], &probe); probed != Status::kOk) {
      return FromStatus(probed, paths_[0], "");
    }
    opened_.store_id = probe.store_id;
    opened_.name = probe.name;
    opened_.media = std::move(media.files);
    return {};
  }
  Napi::Value Result(Napi::Env env) override { return PoolBinding::Adopt(env, std::move(opened_)); }

  const std::vector<std::string> paths_;
  MediumOptions medium_;
  PoolOptions pool_;
  OpenedPool opened_;
};

class CreateJob final : public Job {
 public:
  CreateJob(Napi::Env env, const Napi::Object& options) : Job(env, "ashlar:create") {
    medium_.size_bytes = Bytes(options, "sizeBytes");
    medium_.sparse = Flag(options, "sparse");
    medium_.force = Flag(options, "force");
    format_.name = Text(options, "name");
    format_.store_id = Id(options, "storeId");
    if (const uint64_t limit = Bytes(options, "growthLimitPercent"); limit > 0) {
      format_.growth_limit_percent = static_cast<uint32_t>(limit);
    }
    if (options.Get("data").IsArray()) {
      const auto data = options.Get("data").As<Napi::Array>();
      for (uint32_t index = 0; index < data.Length(); ++index) {
        data_.push_back(Texts(data.Get(index)));
      }
    }
    log_ = Texts(options.Get("log"));
  }

 private:
  Failure Run() override {
    std::vector<std::unique_ptr<NewMedium>> made;
    PoolLayout layout;
    Failure failure;
    auto make = [&](const std::vector<std::string>& paths, std::vector<DeviceFile>* sides) {
      for (const std::string& path : paths) {
        std::unique_ptr<NewMedium> medium;
        if (MediumFailure bad = NewMedium::Create(path, medium_, &medium); !bad.ok()) {
          failure = FromMedium(bad);
          return false;
        }
        sides->push_back({&medium->file(), path, {}});
        made.push_back(std::move(medium));
      }
      return true;
    };
    for (const auto& vdev : data_) {
      layout.data.emplace_back();
      if (!make(vdev, &layout.data.back())) return failure;
    }
    if (!make(log_, &layout.log)) return failure;
    // None was refused: from here on what was on them is lost.
    for (const auto& medium : made) {
      if (MediumFailure bad = medium->Clear(); !bad.ok()) return FromMedium(bad);
    }
    if (const Status status = Pool::Format(layout, format_); status != Status::kOk) {
      const std::string path = layout.data.empty() || layout.data[0].empty()
                                   ? std::string("the pool")
                                   : layout.data[0][0].path;
      return FromStatus(status, path, "making a pool there failed");
    }
    for (const auto& medium : made) {
      if (MediumFailure bad = medium->Commit(); !bad.ok()) return FromMedium(bad);
    }
    return {};
  }
  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

  std::vector<std::vector<std::string>> data_;
  std::vector<std::string> log_;
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
    return FromStatus(Pool::Probe(*file, &probe_), path_, "");
  }
  Napi::Value Result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    const auto id = [env](const Uuid& uuid) {
      return Napi::Buffer<uint8_t>::Copy(env, uuid.bytes, sizeof(uuid.bytes));
    };
    object.Set("id", id(probe_.store_id));
    object.Set("name", probe_.name);
    object.Set("deviceId", id(probe_.device_id));
    object.Set("devices", probe_.devices);
    object.Set("sequence", static_cast<double>(probe_.sequence));
    object.Set("exported", probe_.exported);
    object.Set("owner", id(probe_.owner));
    object.Set("ownerName", probe_.owner_name);
    object.Set("ownedSinceS", static_cast<double>(probe_.owned_since_s));
    return object;
  }

  const std::string path_;
  ProbeResult probe_;
};

class CheckJob final : public Job {
 public:
  CheckJob(Napi::Env env, const Napi::Object& options)
      : Job(env, "ashlar:check"),
        paths_(Texts(options.Get("paths"))),
        with_data_(Flag(options, "withData")) {}

 private:
  Failure Run() override {
    if (paths_.empty()) return {"STORE_INVALID", "no devices were given"};
    MediumOptions options;
    options.read_only = true;
    OpenedMedia media;
    if (const Failure failure = OpenMedia(paths_, options, &media); failure.code != nullptr) {
      return failure;
    }
    std::string why;
    const Status status = Pool::Check(media.devices, with_data_, &report_, &why);
    // What the walk found is an answer, not a failure; only a walk that could not be made is one.
    return report_.findings.empty() ? FromStatus(status, paths_[0], why + media.missing)
                                    : Failure{};
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

  const std::vector<std::string> paths_;
  const bool with_data_;
  CheckReport report_;
};

}  // namespace

Napi::Value OpenPool(const Napi::CallbackInfo& info) { return RunJob<OpenJob>(info); }
Napi::Value CreatePool(const Napi::CallbackInfo& info) { return RunJob<CreateJob>(info); }
Napi::Value ProbePool(const Napi::CallbackInfo& info) { return RunJob<ProbeJob>(info); }
Napi::Value CheckPool(const Napi::CallbackInfo& info) { return RunJob<CheckJob>(info); }

}  // namespace ashlar
