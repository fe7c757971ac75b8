// A pool's devices, as its owner sees them: which there are, how they are, and what can be done
// with them while the pool serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/engine/status.h"
#include "native/io/block_file.h"

namespace ashlar {

// A medium handed to the pool. `file` outlives the pool, or the moment when HoldsFile says false.
struct DeviceFile {
  BlockFile* file = nullptr;
  std::string path;
  Uuid id{};  // Of a device that joins. Zero: made from the pool's own.
  uint8_t label_slot = 0;  // Of a device that comes back: where its newest label is (Probe).
};

// The machine that opens a pool. A pool that another one used last, and did not export, is refused
// (kOwned).
struct PoolOwner {
  Uuid id{};              // The same at each opening. Zero: the machine has nothing to be known by.
  std::string name;       // For people; 63 bytes of it are kept.
  bool take_over = false; // The other machine has stopped for good, says whoever asks.
  // What this machine was known by before. Zero: nothing else.
  Uuid former_id{};
  // A take-over waits so long between its labels and its first look at what the pool holds: if the
  // other machine runs on after all, it notices meanwhile (LookBeforeWriting).
  uint32_t settle_ms = 0;
  // What is written so long after the labels were last read waits until they were read again: if
  // another machine has taken the pool over, it faults. 0: they are read before each label,
  // and when LookBeforeWriting asks for it.
  uint32_t look_ms = 0;
};

// A vdev is a device, or the two or three of a mirror. Data is spread over the vdevs.
struct PoolLayout {
  std::vector<std::vector<DeviceFile>> data;
  std::vector<DeviceFile> log;  // Empty: the intent log lies on the first vdev.
};

enum class VdevClass : uint8_t { kData = 1, kLog = 2 };

enum class DeviceState : uint8_t {
  kInSync = 1,
  kResilvering = 2,  // Gets every write, is not read from before it has what it missed.
  kOffline = 3,      // By an operator's word.
  kFaulted = 4,      // It failed a write or a flush.
  kMissing = 5,      // Not among the devices that the pool was opened with.
};

struct DeviceInfo {
  Uuid id{};
  std::string path;
  uint32_t vdev = 0;
  uint32_t place = 0;
  VdevClass vdev_class = VdevClass::kData;
  DeviceState state = DeviceState::kInSync;
  uint64_t size_blocks = 0;    // As the pool uses it.
  uint64_t device_blocks = 0;  // As the device is. 0: not here.
  uint64_t stale_since = 0;
  bool replacing = false;  // It will replace `replaces`.
  Uuid replaces{};
  uint64_t read_errors = 0;
  uint64_t write_errors = 0;
  uint64_t checksum_errors = 0;
  std::string why;  // Why it is out, in words.
};

struct VdevInfo {
  uint32_t vdev = 0;
  VdevClass vdev_class = VdevClass::kData;
  uint64_t size_blocks = 0;  // That hold data.
  uint64_t used_blocks = 0;
};

enum class WalkKind : uint8_t { kScrub = 1, kResilver = 2, kRebalance = 3 };
enum class WalkState : uint32_t { kNone = 0, kRunning = 1, kPaused = 2, kDone = 3, kCancelled = 4 };

struct WalkStatus {
  WalkState state = WalkState::kNone;
  uint64_t started_s = 0;  // Unix time; 0: never.
  uint64_t ended_s = 0;    // 0: not yet.
  uint64_t done_blocks = 0;
  uint64_t total_blocks = 0;  // An estimate.
  uint64_t healed_blocks = 0;  // Of a rebalance: moved.
  uint64_t damaged_blocks = 0;
  uint64_t seconds_left = 0;  // At the pace so far. 0: not known.
};

// A block that no copy could heal. `volume` is empty for the pool's own metadata; of a snapshot it is
// VOLUME@SNAPSHOT.
struct DamagedBlock {
  std::string volume;
  uint64_t lba = 0;
  uint64_t phys = 0;
  uint64_t tree = 0;      // Of `volume`; 0: the pool's own.
  bool data = false;      // What hosts wrote at `lba`, not metadata.
  bool scrubbed = false;  // Found by the scrub, not on another walk.
};

class PoolDevices {
 public:
  using DoneFn = void (*)(void* context, Status status);
  virtual ~PoolDevices() = default;

  virtual std::vector<DeviceInfo> Devices() const = 0;
  virtual std::vector<VdevInfo> Vdevs() const = 0;
  // Whether the pool still uses the medium: only then must it stay open.
  virtual bool HoldsFile(const BlockFile* file) const = 0;

  // --- Changes. One at a time (kBusy); each is durable before `done`. What joins was wiped before
  // (WipeDevice). ---
  // A new vdev: new writes use it at once.
  virtual void AddVdev(const std::vector<DeviceFile>& sides, DoneFn done, void* context) = 0;
  // A side more for the vdev of `beside`; with `replaces`, `beside` leaves once the new one is in
  // sync. The resilver goes on after `done`.
  virtual void AttachDevice(const Uuid& beside, const DeviceFile& file, bool replaces, DoneFn done,
                            void* context) = 0;
  // Takes it away and wipes it. kTooFew: it is the last of its vdev that is in sync.
  virtual void DetachDevice(const Uuid& id, DoneFn done, void* context) = 0;
  virtual void OfflineDevice(const Uuid& id, DoneFn done, void* context) = 0;
  // Brings back a device that is offline, faulted or missing: what it missed is resilvered. A null
  // file: the one it had. `sequence`: of the label that Probe finds on the file. kDiverged: it was
  // used without the others.
  virtual void OnlineDevice(const Uuid& id, const DeviceFile& file, uint64_t sequence, DoneFn done,
                            void* context) = 0;
  // Takes into use what the media have grown by.
  virtual void GrowDevices(DoneFn done, void* context) = 0;
  // N3: writes that grow end once so many percent are in use.
  virtual void SetGrowthLimit(uint32_t percent, DoneFn done, void* context) = 0;
  // Closes, and marks the labels: to be opened elsewhere.
  virtual void Export(DoneFn done, void* context) = 0;

  // Closes, and puts back the owner and the mark that this opening found: nobody is to know of it.
  virtual void GiveBack(DoneFn done, void* context) = 0;
  // Before the next write the labels are read, as PoolOwner::look_ms does now and then.
  virtual void LookBeforeWriting() = 0;

  // --- Walks ---
  // Begins, or goes on with a paused one.
  virtual void StartScrub(DoneFn done, void* context) = 0;
  virtual void StopScrub(bool cancel, DoneFn done, void* context) = 0;
  // Moves data from vdevs that are fuller than the pool to emptier ones: after AddVdev.
  virtual void StartRebalance(DoneFn done, void* context) = 0;
  virtual void StopRebalance(bool cancel, DoneFn done, void* context) = 0;
  virtual WalkStatus WalkInfo(WalkKind kind) const = 0;
  // What this opening's scrub found and nothing has mended or overwritten since: the first thousand.
  virtual std::vector<DamagedBlock> Damage() const = 0;
  virtual void SetWalkRate(uint64_t bytes_per_second) = 0;
  // Whether a throttled walk wants Poll to be called now and then.
  virtual bool WantsTick() const = 0;
};

}  // namespace ashlar
