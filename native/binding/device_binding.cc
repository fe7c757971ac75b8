// The pool's devices, to JavaScript: what there is, and what can be done with it while it serves.
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>

#include "native/binding/device_tools.h"
#include "native/binding/pool_binding.h"

namespace ashlar {
namespace {

Napi::String UuidText(Napi::Env env, const Uuid& id) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t index = 0; index < 16; ++index) {
    if (index == 4 || index == 6 || index == 8 || index == 10) text += '-';
    text += digits[id.bytes[index] >> 4];
    text += digits[id.bytes[index] & 15];
  }
  return Napi::String::New(env, text);
}

Uuid UuidOf(const Napi::Value& value) {
  Uuid id{};
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().ByteLength() == sizeof(id.bytes)) {
    std::memcpy(id.bytes, value.As<Napi::Uint8Array>().Data(), sizeof(id.bytes));
  }
  return id;
}

Napi::Number Num(Napi::Env env, uint64_t number) {
  return Napi::Number::New(env, static_cast<double>(number));
}

uint64_t Count(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  return number > 0 && number <= 9007199254740991.0 ? static_cast<uint64_t>(number) : 0;
}

void WatchFd(int epoll_fd, int fd) {
  if (fd < 0) return;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

std::vector<Napi::ClassPropertyDescriptor<PoolBinding>> PoolBinding::DeviceMethods() {
  return {InstanceMethod<&PoolBinding::Devices>("devices"),
          InstanceMethod<&PoolBinding::Vdevs>("vdevs"),
          InstanceMethod<&PoolBinding::WalkInfo>("walkInfo"),
          InstanceMethod<&PoolBinding::Damage>("damage"),
          InstanceMethod<&PoolBinding::AddVdev>("addVdev"),
          InstanceMethod<&PoolBinding::AttachDevice>("attachDevice"),
          InstanceMethod<&PoolBinding::DetachDevice>("detachDevice"),
          InstanceMethod<&PoolBinding::OfflineDevice>("offlineDevice"),
          InstanceMethod<&PoolBinding::OnlineDevice>("onlineDevice"),
          InstanceMethod<&PoolBinding::GrowDevices>("growDevices"),
          InstanceMethod<&PoolBinding::SetGrowthLimit>("setGrowthLimit"),
          InstanceMethod<&PoolBinding::Export>("exportPool"),
          InstanceMethod<&PoolBinding::GiveBack>("giveBack"),
          InstanceMethod<&PoolBinding::StartScrub>("startScrub"),
          InstanceMethod<&PoolBinding::StopScrub>("stopScrub"),
          InstanceMethod<&PoolBinding::StartRebalance>("startRebalance"),
          InstanceMethod<&PoolBinding::StopRebalance>("stopRebalance"),
          InstanceMethod<&PoolBinding::SetWalkRate>("setWalkRate")};
}

// --- Media ---

// One medium is polled itself; several through a descriptor that is readable when any of them is.
int PoolBinding::EventFd() {
  if (media_.size() == 1 && epoll_fd_ < 0) return media_[0]->event_fd();
  if (epoll_fd_ < 0) {
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    for (const auto& medium : media_) WatchFd(epoll_fd_, medium->event_fd());
  }
  return epoll_fd_;
}

bool PoolBinding::TakeMedia(const Napi::Value& externals, std::vector<DeviceFile>* files) {
  if (!externals.IsArray()) return false;
  const auto array = externals.As<Napi::Array>();
  for (uint32_t index = 0; index < array.Length(); ++index) {
    if (!array.Get(index).IsExternal()) return false;
    HeldMedium* const held = array.Get(index).As<Napi::External<HeldMedium>>().Data();
    if (held->file == nullptr) return false;
    files->push_back({held->file.get(), held->path, held->id, held->label_slot});
    const bool was_alone = epoll_fd_ < 0;
    const int fd = held->file->event_fd();
    media_.push_back(std::move(held->file));
    devices_changed_ = true;
    if (!was_alone) {
      WatchFd(epoll_fd_, fd);
      continue;
    }
    // From the one medium's descriptor to that of all.
    uv_loop_s* loop = nullptr;
    if (watcher_ == nullptr || napi_get_uv_event_loop(Env(), &loop) != napi_ok) continue;
    LoopWatcher* const next = LoopWatcher::Start(
        loop, EventFd(), [](void* self) { static_cast<PoolBinding*>(self)->OnReady(); }, this);
    if (next == nullptr) return false;
    watcher_->Close([](void*) {}, nullptr);
    watcher_ = next;
  }
  return true;
}

// Media that the pool has let go of.
void PoolBinding::ReapMedia() {
  if (pool_ == nullptr) return;
  for (auto medium = media_.begin(); medium != media_.end();) {
    if (pool_->HoldsFile(medium->get()) || (*medium)->in_flight() > 0) {
      ++medium;
      continue;
    }
    const int fd = (*medium)->event_fd();
    if (epoll_fd_ >= 0 && fd >= 0) epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    medium = media_.erase(medium);
  }
}

// --- What there is ---

Napi::Value PoolBinding::Devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const DeviceInfo& device : pool_->Devices()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", UuidText(env, device.id));
    object.Set("path", device.path);
    object.Set("vdev", device.vdev);
    object.Set("place", device.place);
    object.Set("log", device.vdev_class == VdevClass::kLog);
    object.Set("state", Num(env, static_cast<uint64_t>(device.state)));
    object.Set("sizeBlocks", Num(env, device.size_blocks));
    object.Set("deviceBlocks", Num(env, device.device_blocks));
    object.Set("staleSince", Num(env, device.stale_since));
    if (device.replacing) object.Set("replaces", UuidText(env, device.replaces));
    object.Set("readErrors", Num(env, device.read_errors));
    object.Set("writeErrors", Num(env, device.write_errors));
    object.Set("checksumErrors", Num(env, device.checksum_errors));
    object.Set("why", device.why);
    list.Set(index++, object);
  }
  return list;
}

Napi::Value PoolBinding::Vdevs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const VdevInfo& vdev : pool_->Vdevs()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("vdev", vdev.vdev);
    object.Set("log", vdev.vdev_class == VdevClass::kLog);
    object.Set("sizeBlocks", Num(env, vdev.size_blocks));
    object.Set("usedBlocks", Num(env, vdev.used_blocks));
    list.Set(index++, object);
  }
  return list;
}

// walkInfo(kind: 1 scrub, 2 resilver, 3 rebalance)
Napi::Value PoolBinding::WalkInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t kind = Count(info[0]);
  if (pool_ == nullptr || kind < 1 || kind > 3) return env.Null();
  const WalkStatus walk = pool_->WalkInfo(static_cast<WalkKind>(kind));
  Napi::Object object = Napi::Object::New(env);
  object.Set("state", Num(env, static_cast<uint64_t>(walk.state)));
  object.Set("startedS", Num(env, walk.started_s));
  object.Set("endedS", Num(env, walk.ended_s));
  object.Set("doneBlocks", Num(env, walk.done_blocks));
  object.Set("totalBlocks", Num(env, walk.total_blocks));
  object.Set("healedBlocks", Num(env, walk.healed_blocks));
  object.Set("damagedBlocks", Num(env, walk.damaged_blocks));
  object.Set("secondsLeft", Num(env, walk.seconds_left));
  return object;
}

Napi::Value PoolBinding::Damage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const DamagedBlock& block : pool_->Damage()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("volume", block.volume);
    object.Set("lba", Num(env, block.lba));
    object.Set("isData", Napi::Boolean::New(env, block.data));
    list.Set(index++, object);
  }
  return list;
}

// --- What can be done: controlId first, as everywhere ---

// addVdev(controlId, media[])
Napi::Value PoolBinding::AddVdev(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  std::vector<DeviceFile> files;
  if (!TakeMedia(info[1], &files)) files.clear();
  pool_->AddVdev(files, OnControlDone, control);
  return EndControl(info);
}

// attachDevice(controlId, beside: Uint8Array, media[] of one, replaces)
Napi::Value PoolBinding::AttachDevice(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  std::vector<DeviceFile> files;
  if (!TakeMedia(info[2], &files) || files.size() != 1) {
    OnControlDone(control, Status::kInvalid);
    return EndControl(info);
  }
  pool_->AttachDevice(UuidOf(info[1]), files[0], info[3].ToBoolean(), OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::DetachDevice(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  devices_changed_ = true;
  pool_->DetachDevice(UuidOf(info[1]), OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::OfflineDevice(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->OfflineDevice(UuidOf(info[1]), OnControlDone, control);
  return EndControl(info);
}

// onlineDevice(controlId, id, media[] of none or one, sequence of its label)
Napi::Value PoolBinding::OnlineDevice(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  std::vector<DeviceFile> files;
  if (!TakeMedia(info[2], &files)) files.clear();
  pool_->OnlineDevice(UuidOf(info[1]), files.empty() ? DeviceFile{} : files[0], Count(info[3]),
                      OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::GrowDevices(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  for (const auto& medium : media_) medium->Refresh();
  pool_->GrowDevices(OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::SetGrowthLimit(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->SetGrowthLimit(static_cast<uint32_t>(Count(info[1])), OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::Export(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->Export(OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::GiveBack(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->GiveBack(OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::StartScrub(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->StartScrub(OnControlDone, control);
  return EndControl(info);
}

// stopScrub(controlId, cancel)
Napi::Value PoolBinding::StopScrub(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->StopScrub(info[1].ToBoolean(), OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::StartRebalance(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->StartRebalance(OnControlDone, control);
  return EndControl(info);
}

// stopRebalance(controlId, cancel)
Napi::Value PoolBinding::StopRebalance(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->StopRebalance(info[1].ToBoolean(), OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::SetWalkRate(const Napi::CallbackInfo& info) {
  if (pool_ != nullptr) pool_->SetWalkRate(Count(info[0]));
  return info.Env().Undefined();
}

}  // namespace ashlar
