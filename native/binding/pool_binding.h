// A pool as JavaScript sees it. Data operations cross as records in shared Int32Arrays, a batch a
// crossing:
//
//   submission, 12 lanes a record           completion, 4 lanes a record
//     0 kind | fua << 8 | atomic << 9 | guard << 16; 10 arena offset of the tags / 16, or -1; 11
//     zero
//                       0 tag; of a control call -1 - id
//     1 tag                                   1 status, as src/block/status.ts; from 16 on as
//     Status in pool.h 2 volume handle                         2 failed LBA, low half; of a control
//     call its handle 3 arena offset / 4096, or -1            3 failed LBA, high half 4 LBA, low
//     and 5 high half 6 blocks, low and 7 high half         shared 8 version, low and 9 high half
//     0 completions written since open, wrapping at 2^32
//
// Completions go round in their array. A tag is in flight at most once and free again only after
// JavaScript has read its completion, and so with control ids; so an array of as many records as
// there are tags and ids never overflows.
//
// JavaScript is never called from inside the engine: completions gather here, and `onCompletions`
// is called once a batch when the engine's calls have returned; what ends inside submit() or a
// control call is there when it returns.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "native/binding/loop_watcher.h"
#include "native/engine/pool.h"
#include "native/io/medium.h"

namespace ashlar {

inline constexpr uint32_t kMaxTags = 4096;
inline constexpr uint32_t kMaxControls = 1024;
inline constexpr uint32_t kCompletionSlots =
    8192;  // A power of two, at least tags and ids together.
inline constexpr uint32_t kMaxBatch = 1024;
inline constexpr uint32_t kSubmissionLanes = 12;
inline constexpr uint32_t kCompletionLanes = 4;
static_assert(kCompletionSlots >= kMaxTags + kMaxControls);

// What an opening made on a worker thread, on its way to the main thread. The pool goes before its
// medium.
struct OpenedPool {
  std::vector<std::unique_ptr<MediumFile>> media;
  std::unique_ptr<Pool> pool;
  Uuid store_id{};
  std::string name;
};

class PoolBinding : public Napi::ObjectWrap<PoolBinding> {
 public:
  static void Define(Napi::Env env);
  // Makes the JavaScript object around an opened pool.
  static Napi::Object Adopt(Napi::Env env, OpenedPool opened);

  explicit PoolBinding(const Napi::CallbackInfo& info);
  ~PoolBinding() override;

 private:
  struct Control {
    PoolBinding* owner = nullptr;
    uint32_t id = 0;
    bool busy = false;
    uint32_t handle = 0;
    std::string name;  // Kept until `done`, as are the value and the runs.
    std::vector<uint8_t> value;
    std::vector<MapRun> runs;
    std::vector<ChangedRun> changed;
    uint64_t next = 0;
    std::vector<uint32_t> handles;
  };

  void Begin(OpenedPool opened);
  void Release();

  Napi::Value Attach(const Napi::CallbackInfo& info);
  Napi::Value Submit(const Napi::CallbackInfo& info);
  Napi::Value CreateVolume(const Napi::CallbackInfo& info);
  Napi::Value ResizeVolume(const Napi::CallbackInfo& info);
  Napi::Value DeleteVolume(const Napi::CallbackInfo& info);
  Napi::Value PutBlob(const Napi::CallbackInfo& info);
  Napi::Value GetBlob(const Napi::CallbackInfo& info);
  Napi::Value MapStatus(const Napi::CallbackInfo& info);
  Napi::Value TakeRuns(const Napi::CallbackInfo& info);
  Napi::Value ChangedSince(const Napi::CallbackInfo& info);
  Napi::Value TakeChanged(const Napi::CallbackInfo& info);
  Napi::Value SetMarks(const Napi::CallbackInfo& info);
  Napi::Value CreditBlocks(const Napi::CallbackInfo& info);
  Napi::Value OpenIds(const Napi::CallbackInfo& info);
  Napi::Value CreateSnapshots(const Napi::CallbackInfo& info);
  Napi::Value TakeHandles(const Napi::CallbackInfo& info);
  Napi::Value DeleteSnapshot(const Napi::CallbackInfo& info);
  Napi::Value CloneSnapshot(const Napi::CallbackInfo& info);
  Napi::Value PromoteVolume(const Napi::CallbackInfo& info);
  Napi::Value RollbackVolume(const Napi::CallbackInfo& info);
  Napi::Value Changed(const Napi::CallbackInfo& info);
  Napi::Value TakeChangedRuns(const Napi::CallbackInfo& info);
  Napi::Value Snapshots(const Napi::CallbackInfo& info);
  Napi::Value Snapshot(const Napi::CallbackInfo& info);
  Napi::Value Checkpoint(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  Napi::Value ReleaseCall(const Napi::CallbackInfo& info);
  Napi::Value Volumes(const Napi::CallbackInfo& info);
  Napi::Value Volume(const Napi::CallbackInfo& info);
  Napi::Value Tune(const Napi::CallbackInfo& info);
  Napi::Value Use(const Napi::CallbackInfo& info);
  Napi::Value Stats(const Napi::CallbackInfo& info);

  // device_binding.cc
  static std::vector<Napi::ClassPropertyDescriptor<PoolBinding>> DeviceMethods();
  Napi::Value Devices(const Napi::CallbackInfo& info);
  Napi::Value Vdevs(const Napi::CallbackInfo& info);
  Napi::Value WalkInfo(const Napi::CallbackInfo& info);
  Napi::Value Damage(const Napi::CallbackInfo& info);
  Napi::Value AddVdev(const Napi::CallbackInfo& info);
  Napi::Value AttachDevice(const Napi::CallbackInfo& info);
  Napi::Value DetachDevice(const Napi::CallbackInfo& info);
  Napi::Value OfflineDevice(const Napi::CallbackInfo& info);
  Napi::Value OnlineDevice(const Napi::CallbackInfo& info);
  Napi::Value GrowDevices(const Napi::CallbackInfo& info);
  Napi::Value SetGrowthLimit(const Napi::CallbackInfo& info);
  Napi::Value Export(const Napi::CallbackInfo& info);
  Napi::Value GiveBack(const Napi::CallbackInfo& info);
  Napi::Value StartScrub(const Napi::CallbackInfo& info);
  Napi::Value StopScrub(const Napi::CallbackInfo& info);
  Napi::Value StartRebalance(const Napi::CallbackInfo& info);
  Napi::Value StopRebalance(const Napi::CallbackInfo& info);
  Napi::Value SetWalkRate(const Napi::CallbackInfo& info);
  // Takes over the media of these externals, from now on polled and closed with the pool.
  bool TakeMedia(const Napi::Value& externals, std::vector<DeviceFile>* files);
  int EventFd();
  void ReapMedia();

  Napi::Value Identity(const Napi::CallbackInfo& info);

  void Start(const int32_t* record);
  void Complete(int32_t tag, Status status, uint64_t detail);
  static void OnOpDone(Op* op);
  static void OnControlDone(void* context, Status status);
  // The control of that id, made busy; null, and a JavaScript exception, where the call is not one
  // to make.
  Control* BeginControl(const Napi::CallbackInfo& info);
  // After a control call: sends what it gathered.
  Napi::Value EndControl(const Napi::CallbackInfo& info);
  int Drive();
  void Watch();
  void WatchWorkers();
  void OnReady();
  static void OnCleanup(napi_async_cleanup_hook_handle handle, void* self);

  std::vector<std::unique_ptr<MediumFile>> media_;
  int epoll_fd_ = -1;  // Of all media, where there is more than one.
  bool devices_changed_ = false;
  std::unique_ptr<Pool> pool_;
  Uuid store_id_{};
  std::string name_;
  LoopWatcher* watcher_ = nullptr;
  LoopWatcher* workers_watcher_ = nullptr;  // Of Pool::WorkersFd.
  std::vector<Op> ops_;  // By tag.
  std::vector<uint8_t> op_busy_;
  std::vector<Control> controls_;  // By id.
  uint32_t outstanding_ = 0;       // Operations and control calls begun and not done.
  uint32_t empty_rounds_ = 0;  // Polls in a row that delivered nothing while the pool wanted more.
  uint32_t completed_ = 0;     // As in shared[0].
  const int32_t* submission_ = nullptr;
  int32_t* completion_ = nullptr;
  int32_t* shared_ = nullptr;
  Napi::ObjectReference lanes_;  // Keeps the three arrays alive.
  Napi::FunctionReference on_completions_;
  std::unique_ptr<Napi::AsyncContext> context_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

}  // namespace ashlar
