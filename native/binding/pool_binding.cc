#include "native/binding/pool_binding.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "native/binding/arena.h"
#include "native/binding/values.h"

namespace ashlar {
namespace {

// Polls of an otherwise idle loop before background work is slowed down to one step a millisecond.
constexpr uint32_t kMaxEmptyRounds = 1024;

uint64_t Join(int32_t low, int32_t high) {
  return static_cast<uint32_t>(low) | uint64_t{static_cast<uint32_t>(high)} << 32;
}

uint64_t Count(const Napi::Value& value, uint64_t otherwise) { return ToCount(value, otherwise); }
uint32_t Handle(const Napi::Value& value) { return ToHandle(value); }

// E1's halves, as two numbers. `OfVersion` takes them back.
void SetVersion(Napi::Object* object, const char* name, uint64_t version) {
  const Napi::Env env = object->Env();
  Napi::Object halves = Napi::Object::New(env);
  halves.Set("epoch", Num(env, version >> 40));
  halves.Set("op", Num(env, version & ((1ull << 40) - 1)));
  object->Set(name, halves);
}

uint64_t OfVersion(const Napi::Value& epoch, const Napi::Value& op) {
  return Count(epoch, 0) << 40 | Count(op, 0);
}

Napi::Object ToObject(Napi::Env env, const VolumeInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", Num(env, info.handle));
  object.Set("id", UuidText(env, info.id));
  object.Set("name", info.name);
  object.Set("sizeBlocks", Num(env, info.size_blocks));
  object.Set("mappedBlocks", Num(env, info.mapped_blocks));
  object.Set("epoch", Num(env, info.version >> 40));
  object.Set("op", Num(env, info.version & ((1ull << 40) - 1)));
  object.Set("deleting", info.deleting);
  SetVersion(&object, "contig", info.contig);
  SetVersion(&object, "durable", info.durable);
  SetVersion(&object, "holeFloor", info.hole_floor);
  object.Set("writtenBlocks", Num(env, info.written_blocks));
  object.Set("snapshotBlocks", Num(env, info.snapshot_blocks));
  object.Set("inheritedBlocks", Num(env, info.inherited_blocks));
  object.Set("origin", Num(env, info.origin));
  object.Set("rollingBack", info.rolling_back);
  return object;
}

int32_t* LanesOf(const Napi::Value& value, size_t lanes) {
  if (!value.IsTypedArray()) return nullptr;
  const auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_int32_array || array.ElementLength() < lanes) return nullptr;
  return value.As<Napi::Int32Array>().Data();
}

}  // namespace

void PoolBinding::Define(Napi::Env env) {
  std::vector<Napi::ClassPropertyDescriptor<PoolBinding>> methods = {
      InstanceMethod<&PoolBinding::Attach>("attach"),
      InstanceMethod<&PoolBinding::Submit>("submit"),
      InstanceMethod<&PoolBinding::CreateVolume>("createVolume"),
      InstanceMethod<&PoolBinding::ResizeVolume>("resizeVolume"),
      InstanceMethod<&PoolBinding::DeleteVolume>("deleteVolume"),
      InstanceMethod<&PoolBinding::PutBlob>("putBlob"),
      InstanceMethod<&PoolBinding::GetBlob>("getBlob"),
      InstanceMethod<&PoolBinding::MapStatus>("mapStatus"),
      InstanceMethod<&PoolBinding::TakeRuns>("takeRuns"),
      InstanceMethod<&PoolBinding::ChangedSince>("changedSince"),
      InstanceMethod<&PoolBinding::TakeChanged>("takeChanged"),
      InstanceMethod<&PoolBinding::SetMarks>("setMarks"),
      InstanceMethod<&PoolBinding::CreditBlocks>("creditBlocks"),
      InstanceMethod<&PoolBinding::OpenIds>("openIds"),
      InstanceMethod<&PoolBinding::Checkpoint>("checkpoint"),
      InstanceMethod<&PoolBinding::Close>("close"),
      InstanceMethod<&PoolBinding::ReleaseCall>("release"),
      InstanceMethod<&PoolBinding::CreateSnapshots>("createSnapshots"),
      InstanceMethod<&PoolBinding::TakeHandles>("takeHandles"),
      InstanceMethod<&PoolBinding::DeleteSnapshot>("deleteSnapshot"),
      InstanceMethod<&PoolBinding::CloneSnapshot>("cloneSnapshot"),
      InstanceMethod<&PoolBinding::PromoteVolume>("promoteVolume"),
      InstanceMethod<&PoolBinding::RollbackVolume>("rollbackVolume"),
      InstanceMethod<&PoolBinding::Changed>("changed"),
      InstanceMethod<&PoolBinding::TakeChangedRuns>("takeChangedRuns"),
      InstanceMethod<&PoolBinding::Snapshots>("snapshots"),
      InstanceMethod<&PoolBinding::Snapshot>("snapshot"),
      InstanceMethod<&PoolBinding::Volumes>("volumes"),
      InstanceMethod<&PoolBinding::Volume>("volume"),
      InstanceMethod<&PoolBinding::Tune>("tune"),
      InstanceMethod<&PoolBinding::Use>("use"),
      InstanceMethod<&PoolBinding::Stats>("stats"),
      InstanceMethod<&PoolBinding::Identity>("identity")};
  for (const auto& method : DeviceMethods()) methods.push_back(method);
  const Napi::Function function = DefineClass(env, "NativePoolHandle", methods);
  // Freed with the environment.
  env.SetInstanceData(new Napi::FunctionReference(Napi::Persistent(function)));
}

Napi::Object PoolBinding::Adopt(Napi::Env env, OpenedPool opened) {
  const Napi::Object object = env.GetInstanceData<Napi::FunctionReference>()->New({});
  if (!object.IsEmpty()) Unwrap(object)->Begin(std::move(opened));
  return object;
}

PoolBinding::PoolBinding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PoolBinding>(info) {}

PoolBinding::~PoolBinding() { Release(); }

void PoolBinding::Begin(OpenedPool opened) {
  media_ = std::move(opened.media);
  pool_ = std::move(opened.pool);
  store_id_ = opened.store_id;
  name_ = std::move(opened.name);
  ops_.resize(kMaxTags);
  op_busy_.resize(kMaxTags);
  for (Op& op : ops_) {
    op.done = OnOpDone;
    op.context = this;
  }
  controls_.resize(kMaxControls);
  for (uint32_t id = 0; id < kMaxControls; ++id) {
    controls_[id].owner = this;
    controls_[id].id = id;
  }
  Ref();  // An open pool lives until release(), whoever forgets it.
}

// Lets go of pool and medium as a crash would (a clean end is close() before). Transfers in flight
// are awaited by the medium's destructor; the arena they use is never unmapped.
void PoolBinding::Release() {
  if (workers_watcher_ != nullptr) workers_watcher_->Close(nullptr, nullptr);
  workers_watcher_ = nullptr;
  if (watcher_ != nullptr) {
    struct Closing {
      napi_async_cleanup_hook_handle cleanup;
    };
    watcher_->Close(
        [](void* context) {
          auto* const closing = static_cast<Closing*>(context);
          if (closing->cleanup != nullptr) napi_remove_async_cleanup_hook(closing->cleanup);
          delete closing;
        },
        new Closing{cleanup_});
    watcher_ = nullptr;
    cleanup_ = nullptr;
  }
  const bool was_open = pool_ != nullptr;
  // The pool waits for what its media still move into its buffers, and drops the results.
  pool_.reset();
  media_.clear();
  if (epoll_fd_ >= 0) close(epoll_fd_);
  epoll_fd_ = -1;
  completion_ = nullptr;
  if (was_open) Unref();
}

void PoolBinding::OnCleanup(napi_async_cleanup_hook_handle, void* self) {
  static_cast<PoolBinding*>(self)->Release();
}

// attach(submission, completion, shared, onCompletions): the lanes, and who is told. Once, right
// after opening.
Napi::Value PoolBinding::Attach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int32_t* const submission = LanesOf(info[0], kMaxBatch * kSubmissionLanes);
  int32_t* const completion = LanesOf(info[1], kCompletionSlots * kCompletionLanes);
  int32_t* const shared = LanesOf(info[2], 1);
  uv_loop_s* loop = nullptr;
  if (pool_ == nullptr || watcher_ != nullptr || submission == nullptr || completion == nullptr ||
      shared == nullptr || !info[3].IsFunction() || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    Napi::TypeError::New(env, "attach: wrong arguments").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  watcher_ = LoopWatcher::Start(
      loop, EventFd(), [](void* self) { static_cast<PoolBinding*>(self)->OnReady(); }, this);
  if (watcher_ == nullptr) {
    Napi::Error::New(env, "the event loop cannot watch the medium").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const Napi::Object lanes = Napi::Object::New(env);
  for (uint32_t index = 0; index < 3; ++index) lanes.Set(index, info[index]);
  lanes_ = Napi::Persistent(lanes);
  on_completions_ = Napi::Persistent(info[3].As<Napi::Function>());
  context_ = std::make_unique<Napi::AsyncContext>(env, "ashlar:pool");
  submission_ = submission;
  completion_ = completion;
  shared_ = shared;
  napi_add_async_cleanup_hook(env, OnCleanup, this, &cleanup_);
  Watch();
  return env.Undefined();
}

// submit(count): starts the first `count` records of the submission lanes, sends them, and takes
// what is done already.
Napi::Value PoolBinding::Submit(const Napi::CallbackInfo& info) {
  const uint64_t count = Count(info[0], 0);
  if (completion_ == nullptr || count > kMaxBatch) {
    Napi::Error::New(info.Env(), "submit: the pool is closed, or the batch too large")
        .ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  for (uint64_t index = 0; index < count; ++index) Start(submission_ + index * kSubmissionLanes);
  Drive();
  Watch();
  return info.Env().Undefined();
}

void PoolBinding::Start(const int32_t* record) {
  const auto tag = static_cast<uint32_t>(record[1]);
  const uint64_t lba = Join(record[4], record[5]);
  const uint64_t blocks = Join(record[6], record[7]);
  const int kind = record[0] & 0xff;
  const bool has_data =
      kind == static_cast<int>(OpKind::kRead) || kind == static_cast<int>(OpKind::kWrite);
  const bool tags_only = kind == static_cast<int>(OpKind::kTags);
  const bool has_tags = record[10] >= 0;
  const uint64_t tags_offset = uint64_t{static_cast<uint32_t>(record[10])} * sizeof(BlockTag);
  const std::span<uint8_t> arena = Arena();
  const uint64_t offset = uint64_t{static_cast<uint32_t>(record[3])} * kBlockBytes;
  const bool known = has_data || kind == static_cast<int>(OpKind::kUnmap) ||
                     kind == static_cast<int>(OpKind::kFlush) ||
                     kind == static_cast<int>(OpKind::kVerify) || tags_only;
  const int guard = record[0] >> 16 & 3;
  if (guard > static_cast<int>(Guard::kExact) || (tags_only && !has_tags) ||
      (has_tags && (blocks > kMaxOpBlocks || tags_offset > arena.size() ||
                    blocks * sizeof(BlockTag) > arena.size() - tags_offset))) {
    Complete(record[1], Status::kInvalid, 0);
    return;
  }
  if (!known || tag >= kMaxTags || op_busy_[tag] != 0 ||
      (has_data && (blocks > kMaxOpBlocks || offset > arena.size() ||
                    blocks * kBlockBytes > arena.size() - offset))) {
    // Our own JavaScript is wrong. It asserts when it sees this answer; no byte was touched.
    Complete(record[1], Status::kInvalid, 0);
    return;
  }
  Op& op = ops_[tag];
  op.kind = static_cast<OpKind>(kind);
  op.flags = (record[0] >> 8 & 1) != 0 ? kOpFua : 0;
  if ((record[0] >> 9 & 1) != 0) op.flags |= kOpAtomic;
  if ((record[0] >> 10 & 1) != 0) op.flags |= kOpOffer;
  op.volume = static_cast<uint32_t>(record[2]);
  op.lba = lba;
  op.blocks = blocks;
  op.data = has_data ? arena.data() + offset : nullptr;
  op.version = Join(record[8], record[9]);
  op.tags = has_tags ? reinterpret_cast<BlockTag*>(arena.data() + tags_offset) : nullptr;
  op.guard = static_cast<Guard>(guard);
  op.status = Status::kOk;
  op.failed_lba = 0;
  op_busy_[tag] = 1;
  ++outstanding_;
  pool_->Submit(&op);
}

void PoolBinding::Complete(int32_t tag, Status status, uint64_t detail) {
  if (completion_ == nullptr) return;  // Released: there is nobody to tell.
  int32_t* const record = completion_ + (completed_ % kCompletionSlots) * kCompletionLanes;
  record[0] = tag;
  record[1] = static_cast<int32_t>(status);
  record[2] = static_cast<int32_t>(static_cast<uint32_t>(detail));
  record[3] = static_cast<int32_t>(static_cast<uint32_t>(detail >> 32));
  completed_ += 1;
  shared_[0] = static_cast<int32_t>(completed_);
}

void PoolBinding::OnOpDone(Op* op) {
  auto* const self = static_cast<PoolBinding*>(op->context);
  const auto tag = static_cast<uint32_t>(op - self->ops_.data());
  self->op_busy_[tag] = 0;
  --self->outstanding_;
  self->Complete(static_cast<int32_t>(tag), op->status, op->failed_lba);
}

void PoolBinding::OnControlDone(void* context, Status status) {
  auto* const control = static_cast<Control*>(context);
  PoolBinding* const self = control->owner;
  control->busy = false;
  --self->outstanding_;
  self->Complete(-1 - static_cast<int32_t>(control->id), status, control->handle);
}

PoolBinding::Control* PoolBinding::BeginControl(const Napi::CallbackInfo& info) {
  const uint64_t id = Count(info[0], kMaxControls);
  if (completion_ == nullptr || id >= kMaxControls || controls_[id].busy) {
    Napi::Error::New(info.Env(), "a control call on a closed pool, or with an id in use")
        .ThrowAsJavaScriptException();
    return nullptr;
  }
  Control& control = controls_[id];
  control.busy = true;
  control.handle = 0;
  control.runs.clear();
  ++outstanding_;
  return &control;
}

Napi::Value PoolBinding::EndControl(const Napi::CallbackInfo& info) {
  Drive();
  Watch();
  return info.Env().Undefined();
}

// createVolume(controlId, uuid: Uint8Array of 16, name, sizeBlocks, keepsHoles, floor: epoch, op)
Napi::Value PoolBinding::CreateVolume(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  Uuid id{};
  CopyUuid(info[1], &id);
  control->name = info[2].ToString().Utf8Value();
  pool_->CreateVolume(id, control->name, Count(info[3], 0), &control->handle, OnControlDone,
                      control, info[4].ToBoolean() ? OfVersion(info[5], info[6]) : ~0ull);
  return EndControl(info);
}

// resizeVolume(controlId, handle, sizeBlocks)
Napi::Value PoolBinding::ResizeVolume(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->ResizeVolume(Handle(info[1]), Count(info[2], 0), OnControlDone, control);
  return EndControl(info);
}

// deleteVolume(controlId, handle, withSnapshots)
Napi::Value PoolBinding::DeleteVolume(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->DeleteVolume(Handle(info[1]), OnControlDone, control, info[2].ToBoolean());
  return EndControl(info);
}

// putBlob(controlId, handle or 0, key, value: Uint8Array; empty removes)
Napi::Value PoolBinding::PutBlob(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  control->name = info[2].ToString().Utf8Value();
  control->value.clear();
  if (info[3].IsTypedArray()) {
    const auto value = info[3].As<Napi::Uint8Array>();
    control->value.assign(value.Data(), value.Data() + value.ByteLength());
  }
  pool_->PutBlob(Handle(info[1]), control->name, control->value, OnControlDone, control);
  return EndControl(info);
}

// getBlob(handle or 0, key): Uint8Array or null
Napi::Value PoolBinding::GetBlob(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<uint8_t> value;
  if (pool_ == nullptr || !pool_->GetBlob(Handle(info[0]), info[1].ToString().Utf8Value(), &value))
    return env.Null();
  Napi::Uint8Array copy = Napi::Uint8Array::New(env, value.size());
  if (!value.empty()) std::memcpy(copy.Data(), value.data(), value.size());
  return copy;
}

// mapStatus(controlId, handle, lba, maxRuns); the runs by takeRuns once it is done
Napi::Value PoolBinding::MapStatus(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->MapStatus(Handle(info[1]), Count(info[2], 0), static_cast<uint32_t>(Count(info[3], 1)),
                   &control->runs, OnControlDone, control);
  return EndControl(info);
}

// takeRuns(controlId): Float64Array of LBA, blocks, 1 if mapped, for each run
Napi::Value PoolBinding::TakeRuns(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t id = Count(info[0], kMaxControls);
  if (id >= kMaxControls || id >= controls_.size()) return env.Null();
  const std::vector<MapRun>& runs = controls_[id].runs;
  Napi::Float64Array flat = Napi::Float64Array::New(env, runs.size() * 3);
  double* const out = flat.Data();
  for (size_t index = 0; index < runs.size(); ++index) {
    out[index * 3] = static_cast<double>(runs[index].lba);
    out[index * 3 + 1] = static_cast<double>(runs[index].blocks);
    out[index * 3 + 2] = runs[index].mapped ? 1 : 0;
  }
  return flat;
}

// changedSince(controlId, handle, since: epoch, op, lba, maxRuns); the runs by takeChanged
Napi::Value PoolBinding::ChangedSince(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->ChangedSince(Handle(info[1]), OfVersion(info[2], info[3]), Count(info[4], 0),
                      static_cast<uint32_t>(Count(info[5], 1)), &control->changed, &control->next,
                      OnControlDone, control);
  return EndControl(info);
}

// takeChanged(controlId): Float64Array of the next LBA, then LBA, blocks, kind, epoch, op of each
// run
Napi::Value PoolBinding::TakeChanged(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t id = Count(info[0], kMaxControls);
  if (id >= kMaxControls || id >= controls_.size()) return env.Null();
  Control& control = controls_[id];
  Napi::Float64Array flat = Napi::Float64Array::New(env, 1 + control.changed.size() * 5);
  double* out = flat.Data();
  *out++ = static_cast<double>(control.next);
  for (const ChangedRun& run : control.changed) {
    *out++ = static_cast<double>(run.lba);
    *out++ = static_cast<double>(run.blocks);
    *out++ = static_cast<double>(run.kind);
    *out++ = static_cast<double>(run.version >> 40);
    *out++ = static_cast<double>(run.version & ((1ull << 40) - 1));
  }
  control.changed.clear();
  return flat;
}

// setMarks(controlId, handle, which: 1 floor, 2 contig, 4 no holes, floor: epoch, op, contig:
// epoch, op)
Napi::Value PoolBinding::SetMarks(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  const uint64_t which = Count(info[2], 0);
  VolumeMarks marks;
  marks.set_hole_floor = (which & 5) != 0;
  marks.set_contig = (which & 2) != 0;
  marks.hole_floor = (which & 4) != 0 ? ~0ull : OfVersion(info[3], info[4]);
  marks.contig = OfVersion(info[5], info[6]);
  pool_->SetMarks(Handle(info[1]), marks, OnControlDone, control);
  return EndControl(info);
}

// creditBlocks(): number
Napi::Value PoolBinding::CreditBlocks(const Napi::CallbackInfo& info) {
  return Num(info.Env(), pool_ == nullptr ? 0 : pool_->CreditBlocks());
}

// openIds(): texts, the newest last
Napi::Value PoolBinding::OpenIds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const Uuid& id : pool_->OpenIds()) list.Set(index++, UuidText(env, id));
  return list;
}

// checkpoint(controlId)
Napi::Value PoolBinding::Checkpoint(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->Checkpoint(OnControlDone, control);
  return EndControl(info);
}

// close(controlId): drains and checkpoints; release() after it
Napi::Value PoolBinding::Close(const Napi::CallbackInfo& info) {
  Control* const control = BeginControl(info);
  if (control == nullptr) return info.Env().Undefined();
  pool_->Close(OnControlDone, control);
  return EndControl(info);
}

Napi::Value PoolBinding::ReleaseCall(const Napi::CallbackInfo& info) {
  Release();
  lanes_.Reset();
  on_completions_.Reset();
  return info.Env().Undefined();
}

Napi::Value PoolBinding::Volumes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array list = Napi::Array::New(env);
  if (pool_ == nullptr) return list;
  uint32_t index = 0;
  for (const VolumeInfo& volume : pool_->Volumes()) list.Set(index++, ToObject(env, volume));
  return list;
}

// volume(handle): its VolumeInfo, or null
Napi::Value PoolBinding::Volume(const Napi::CallbackInfo& info) {
  VolumeInfo volume;
  if (pool_ == nullptr || !pool_->Volume(Handle(info[0]), &volume)) return info.Env().Null();
  return ToObject(info.Env(), volume);
}

// tune(handle, cacheBytes, ioWorkers): false if there is no such volume
Napi::Value PoolBinding::Tune(const Napi::CallbackInfo& info) {
  VolumeTuning tuning;
  tuning.cache_bytes = Count(info[1], 0);
  tuning.io_workers = static_cast<uint32_t>(Count(info[2], 0));
  const bool done = pool_ != nullptr && pool_->Tune(Handle(info[0]), tuning) == Status::kOk;
  WatchWorkers();
  if (done && workers_watcher_ == nullptr && tuning.io_workers > 0) {
    tuning.io_workers = 0;  // Nobody would hear of what they do.
    [[maybe_unused]] const Status ignored = pool_->Tune(Handle(info[0]), tuning);
  }
  return Napi::Boolean::New(info.Env(), done);
}

// use(handle): its VolumeUse, or null
Napi::Value PoolBinding::Use(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  VolumeUse use;
  if (pool_ == nullptr || !pool_->Use(Handle(info[0]), &use)) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("cacheBytes", Num(env, use.cache_bytes));
  object.Set("cachedBytes", Num(env, use.cached_bytes));
  object.Set("cacheHits", Num(env, use.cache_hits));
  object.Set("cacheMisses", Num(env, use.cache_misses));
  object.Set("ioWorkers", Num(env, use.io_workers));
  object.Set("workerBlocks", Num(env, use.worker_blocks));
  return object;
}

Napi::Value PoolBinding::Stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (pool_ == nullptr) return env.Null();
  const PoolStats stats = pool_->Stats();
  Napi::Object object = Napi::Object::New(env);
  object.Set("state", Num(env, static_cast<uint64_t>(stats.state)));
  object.Set("sizeBlocks", Num(env, stats.size_blocks));
  object.Set("usableBlocks", Num(env, stats.usable_blocks));
  object.Set("growthLimitPercent", Num(env, stats.growth_limit_percent));
  object.Set("allocatedBlocks", Num(env, stats.allocated_blocks));
  object.Set("dataBlocks", Num(env, stats.data_blocks));
  object.Set("metadataBlocks", Num(env, stats.metadata_blocks));
  object.Set("pendingFreeBlocks", Num(env, stats.pending_free_blocks));
  object.Set("freeBlocks", Num(env, stats.free_blocks));
  object.Set("unknownBlocks", Num(env, stats.unknown_blocks));
  object.Set("rebuiltPages", Num(env, stats.rebuilt_pages));
  object.Set("checkpoints", Num(env, stats.checkpoints));
  object.Set("logBytesUsed", Num(env, stats.log_bytes_used));
  object.Set("logBytes", Num(env, stats.log_bytes));
  object.Set("cachePages", Num(env, stats.cache_pages));
  object.Set("cacheDirtyPages", Num(env, stats.cache_dirty_pages));
  object.Set("checksumErrors", Num(env, stats.checksum_errors));
  object.Set("ioErrors", Num(env, stats.io_errors));
  object.Set("replayedEntries", Num(env, stats.replayed_entries));
  object.Set("droppedEntries", Num(env, stats.dropped_entries));
  object.Set("logDamaged", stats.log_damaged);
  object.Set("fault", stats.fault);
  return object;
}

// identity(): who this is and how it is reached
Napi::Value PoolBinding::Identity(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", UuidText(env, store_id_));
  object.Set("name", name_);
  // The slowest says what there is to say: a ring may be denied to one of them alone.
  const auto slow = std::find_if(media_.begin(), media_.end(), [](const auto& medium) {
    return std::strcmp(medium->backend(), "threads") == 0;
  });
  object.Set("backend", media_.empty()          ? ""
                        : slow != media_.end() ? (*slow)->backend()
                                               : media_[0]->backend());
  object.Set("direct", !media_.empty() && media_[0]->direct());
  return object;
}

// Sends what was gathered, and takes what is done at once: at depth 1 most answers are here before
// the event loop would have gone to sleep.
int PoolBinding::Drive() {
  pool_->Kick();
  const int delivered = pool_->Poll();
  pool_->Kick();  // What Poll's own background step gathered.
  return delivered;
}

// How the loop should call again.
void PoolBinding::Watch() {
  if (watcher_ == nullptr || pool_ == nullptr) return;
  if (!pool_->WantsPoll()) {
    empty_rounds_ = 0;
    // A walk that is held back goes on when its time has come.
    watcher_->SetPace(pool_->WantsTick() ? LoopWatcher::Pace::kEveryMillisecond
                                         : LoopWatcher::Pace::kNone);
  } else {
    watcher_->SetPace(empty_rounds_ < kMaxEmptyRounds ? LoopWatcher::Pace::kEveryRound
                                                      : LoopWatcher::Pace::kEveryMillisecond);
  }
  watcher_->SetRef(outstanding_ > 0);
  if (workers_watcher_ != nullptr) workers_watcher_->SetRef(outstanding_ > 0);
}

// From when a volume has asked for workers on, as long as the pool is open.
void PoolBinding::WatchWorkers() {
  uv_loop_s* loop = nullptr;
  if (workers_watcher_ != nullptr || watcher_ == nullptr || pool_->WorkersFd() < 0 ||
      napi_get_uv_event_loop(Env(), &loop) != napi_ok) {
    return;
  }
  workers_watcher_ = LoopWatcher::Start(
      loop, pool_->WorkersFd(), [](void* self) { static_cast<PoolBinding*>(self)->OnReady(); },
      this);
  Watch();
}

void PoolBinding::OnReady() {
  const Napi::Env env = Env();
  const uint32_t before = completed_;
  if (Drive() > 0)
    empty_rounds_ = 0;
  else if (empty_rounds_ < kMaxEmptyRounds)
    ++empty_rounds_;
  if (devices_changed_) ReapMedia();
  Watch();
  if (completed_ == before) return;
  const Napi::HandleScope scope(env);
  napi_value result;
  const napi_status status = napi_make_callback(env, *context_, env.Global(),
                                                on_completions_.Value(), 0, nullptr, &result);
  if (status == napi_pending_exception) {
    // There is no JavaScript below us to catch it: as any exception in a callback, it is uncaught.
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
}

}  // namespace ashlar
