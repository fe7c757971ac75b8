// Snapshots as JavaScript sees them: the control calls and their answers.
#include "native/binding/pool_binding.h"
#include "native/binding/values.h"

namespace ashlar {
namespace {

Napi::Object ToObject(Napi::Env env, const SnapshotInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", Num(env, info.handle));
  object.Set("volume", Num(env, info.volume));
  object.Set("id", UuidText(env, info.id));
  object.Set("name", info.name);
  object.Set("sizeBlocks", Num(env, info.size_blocks));
  object.Set("mappedBlocks", Num(env, info.mapped_blocks));
  object.Set("epoch", Num(env, info.version >> 40));
  object.Set("op", Num(env, info.version & ((1ull << 40) - 1)));
  object.Set("createdMs", Num(env, info.created_ms));
  object.Set("uniqueBlocks", Num(env, info.unique_blocks));
  object.Set("writtenBlocks", Num(env, info.written_blocks));
  object.Set("settled", info.settled);
  object.Set("deleting", info.deleting);
  const Napi::Array clones = Napi::Array::New(env, info.clones.size());
  for (uint32_t i = 0; i < info.clones.size(); ++i) clones.Set(i, Num(env, info.clones[i]));
  object.Set("clones", clones);
  return object;
}

}  // namespace

// createSnapshots(controlId, requests: [handle, id: Uint8Array of 16, name, epoch, op][],
// createdMs); the handles by takeHandles once it is done
Napi::Value PoolBinding::CreateSnapshots(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  const Napi::Array list = info[1].As<Napi::Array>();
  const uint32_t count = list.Length();
  std::vector<std::string> names(count);
  std::vector<SnapshotRequest> requests(count);
  control->handles.assign(count, 0);
  for (uint32_t i = 0; i < count; ++i) {
    const Napi::Array one = list.Get(i).As<Napi::Array>();
    requests[i].volume = ToHandle(one.Get(0u));
    CopyUuid(one.Get(1u), &requests[i].id);
    names[i] = one.Get(2u).ToString().Utf8Value();
    requests[i].name = names[i];
    requests[i].version = ToCount(one.Get(3u), 0) << 40 | ToCount(one.Get(4u), 0);
    requests[i].handle = &control->handles[i];
  }
  pool_->CreateSnapshots(requests, ToCount(info[2], 0), OnControlDone, control);
  return EndControl(info);
}

// takeHandles(controlId): number[]
Napi::Value PoolBinding::TakeHandles(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t id = ToCount(info[0], kMaxControls);
  if (id >= controls_.size()) return env.Null();
  const std::vector<uint32_t>& handles = controls_[id].handles;
  const Napi::Array list = Napi::Array::New(env, handles.size());
  for (uint32_t i = 0; i < handles.size(); ++i) list.Set(i, Num(env, handles[i]));
  return list;
}

// deleteSnapshot(controlId, handle)
Napi::Value PoolBinding::DeleteSnapshot(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->DeleteSnapshot(ToHandle(info[1]), OnControlDone, control);
  return EndControl(info);
}

// cloneSnapshot(controlId, snapshot handle, uuid: Uint8Array of 16, name)
Napi::Value PoolBinding::CloneSnapshot(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  Uuid id{};
  CopyUuid(info[2], &id);
  control->name = info[3].ToString().Utf8Value();
  pool_->CloneSnapshot(ToHandle(info[1]), id, control->name, &control->handle, OnControlDone,
                       control);
  return EndControl(info);
}

// promoteVolume(controlId, handle)
Napi::Value PoolBinding::PromoteVolume(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->PromoteVolume(ToHandle(info[1]), OnControlDone, control);
  return EndControl(info);
}

// rollbackVolume(controlId, handle, snapshot handle, epoch, op, deleteLater)
Napi::Value PoolBinding::RollbackVolume(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  const uint64_t version = ToCount(info[3], 0) << 40 | ToCount(info[4], 0);
  pool_->RollbackVolume(ToHandle(info[1]), ToHandle(info[2]), version, info[5].ToBoolean(),
                        OnControlDone, control);
  return EndControl(info);
}

// changed(controlId, from: snapshot handle or 0, to: handle, lba, maxRuns); by takeChangedRuns once
// it is done
Napi::Value PoolBinding::Changed(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->Changed(ToHandle(info[1]), ToHandle(info[2]), ToCount(info[3], 0),
                 static_cast<uint32_t>(ToCount(info[4], 1)), &control->runs, &control->next,
                 OnControlDone, control);
  return EndControl(info);
}

// takeChangedRuns(controlId): Float64Array of where to go on, then as takeRuns
Napi::Value PoolBinding::TakeChangedRuns(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t id = ToCount(info[0], kMaxControls);
  if (id >= controls_.size()) return env.Null();
  const std::vector<MapRun>& runs = controls_[id].runs;
  Napi::Float64Array flat = Napi::Float64Array::New(env, 1 + runs.size() * 3);
  double* out = flat.Data();
  *out++ = static_cast<double>(controls_[id].next);
  for (const MapRun& run : runs) {
    *out++ = static_cast<double>(run.lba);
    *out++ = static_cast<double>(run.blocks);
    *out++ = run.mapped ? 1 : 0;
  }
  return flat;
}

// snapshots(volume handle): SnapshotInfo[], oldest first
Napi::Value PoolBinding::Snapshots(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const SnapshotInfo& snapshot : pool_->Snapshots(ToHandle(info[0]))) {
    list.Set(index++, ToObject(env, snapshot));
  }
  return list;
}

// snapshot(handle): its SnapshotInfo, or null
Napi::Value PoolBinding::Snapshot(const Napi::CallbackInfo& info) {
  SnapshotInfo snapshot;
  if (pool_ == nullptr || !pool_->Snapshot(ToHandle(info[0]), &snapshot)) return info.Env().Null();
  return ToObject(info.Env(), snapshot);
}

}  // namespace ashlar
