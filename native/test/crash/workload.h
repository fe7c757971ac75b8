// A seeded host: it drives a pool with everything a host and an operator do, and keeps the history
// that crash states are judged by.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "native/engine/pool.h"
#include "native/test/crash/history.h"
#include "native/test/crash/recording_file.h"

namespace ashlar::crash {

struct WorkloadOptions {
  uint64_t seed = 1;
  uint32_t operations = 400;
  uint32_t queue_depth = 12;
  uint32_t max_blocks = 512;  // Largest volume, in blocks.
};

// What a workload runs on: a medium, or many and what is done with them.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual Status Open(const PoolOptions& options, std::unique_ptr<Pool>* pool,
                      std::string* why) = 0;
  // Medium events so far.
  virtual uint64_t Now() const = 0;
  virtual void Wait() = 0;
  // With something in `percent` of a hundred steps: a device call on the pool, one at a time.
  // False: there is nothing to do.
  virtual uint32_t percent() const { return 0; }
  virtual bool DeviceCall(Pool&, Rng&, DoneFn, void*) { return false; }
};

class Workload {
 public:
  Workload(Machine* machine, const WorkloadOptions& options);

  // Opens the pool, runs, lets everything in flight end. Empty, or what went wrong (a wrong read,
  // an error nobody injected).
  std::string Run();

  const std::vector<std::unique_ptr<VolumeHistory>>& volumes() const { return volumes_; }
  const std::vector<std::unique_ptr<SnapshotHistory>>& snapshots() const { return snapshots_; }
  uint64_t ticks() const { return tick_; }
  // Events before the first operation.
  uint64_t base() const { return base_; }

 private:
  struct HostOp;
  struct Control;
  struct Touched {
    Register* reg;
    size_t change;
    uint64_t tick;  // When the host heard of it, on the host's own count.
  };

  uint64_t Now() const { return machine_->Now(); }
  VolumeHistory* PickOpen();
  void Step();
  void SubmitBlockOp();
  void SubmitFlush();
  void SubmitControl();
  void SubmitLineControl();
  void SubmitDeviceCall();
  void TakeSnapshots(std::unique_ptr<Control> control);
  void Clone(std::unique_ptr<Control> control, SnapshotHistory* snapshot);
  void Rollback(std::unique_ptr<Control> control, SnapshotHistory* snapshot);
  void Promoted(VolumeHistory* clone);
  SnapshotHistory* PickSnapshot();
  bool HasClones(const SnapshotHistory* snapshot) const;
  std::unique_ptr<VolumeHistory> FreshVolume();
  void Promise(uint64_t submitted_tick);
  void Settle(uint32_t limit);
  static void OnOpDone(Op* op);
  static void OnControlDone(void* context, Status status);
  static void OnDeviceDone(void* context, Status status);

  Machine* machine_;
  WorkloadOptions options_;
  Rng rng_;
  std::unique_ptr<Pool> pool_;
  std::vector<std::unique_ptr<VolumeHistory>> volumes_;
  std::vector<std::unique_ptr<SnapshotHistory>> snapshots_;  // By age.
  uint64_t groups_ = 0;
  uint64_t base_ = 0;
  std::vector<Touched> acked_;  // Acknowledged, not yet promised durable.
  uint64_t tick_ = 0;           // Counts what the host does and hears.
  uint64_t next_value_ = 1;
  uint32_t in_flight_ = 0;
  uint32_t control_in_flight_ = 0;
  std::string error_;
};

}  // namespace ashlar::crash
