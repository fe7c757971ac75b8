// One seed: a pool on a medium in memory and its model, driven by the same random operations,
// compared all along.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "native/io/mem_file.h"
#include "native/test/model/model.h"

namespace ashlar::model {

struct DriverOptions {
  uint64_t seed = 1;
  uint32_t operations = 10000;
};

struct DriverCounts {
  uint64_t operations = 0, blocks_compared = 0, reopenings = 0, kills = 0, checks = 0, refusals = 0,
           installs = 0, deletions = 0, snapshots = 0, clones = 0, promotions = 0, rollbacks = 0,
           resumed_rollbacks = 0, diffs = 0, held_back = 0, rotten = 0,
           devices = 0, rebalances = 0, moved_blocks = 0;
  // Nothing but counts in here.
  void Add(const DriverCounts& other) {
    constexpr size_t kCounts = sizeof(DriverCounts) / sizeof(uint64_t);
    uint64_t mine[kCounts], theirs[kCounts];
    std::memcpy(mine, this, sizeof mine);
    std::memcpy(theirs, &other, sizeof theirs);
    for (size_t i = 0; i < kCounts; ++i) mine[i] += theirs[i];
    std::memcpy(static_cast<void*>(this), mine, sizeof mine);
  }
};

class Driver {
 public:
  explicit Driver(const DriverOptions& options);
  ~Driver();
  // Empty, or what differed.
  std::string Run();
  const DriverCounts& counts() const { return counts_; }

 private:
  struct HostOp;
  using Rng = std::mt19937_64;

  uint64_t Below(uint64_t n) { return n == 0 ? 0 : rng_() % n; }
  bool Chance(uint32_t percent) { return Below(100) < percent; }
  bool Fail(std::string why);
  Volume* Pick();
  Snapshot* PickSnapshot();
  uint64_t NextVersion(Volume* v) { return v->newest = std::max(v->newest, v->epoch << 40) + 1; }
  bool IsOrigin(const Snapshot& s) const;
  bool AnyOrigin(const Volume& v, size_t from) const;
  void Range(const Volume& v, uint64_t longest, uint64_t* lba, uint64_t* blocks);

  bool Open();
  bool OpenPool();
  bool Match();
  bool Reopen();
  void Kill();
  void AddMedium(uint64_t bytes);
  std::vector<DeviceFile> Files() const;
  bool AddDevice();
  bool Rebalance();
  void CountMoves();
  bool Step();
  bool Wait(uint32_t limit);
  template <typename F>
  Status Do(F start);
  Status RunOp(Op* op);
  Status TagOf(const Volume& v, uint64_t lba, BlockTag* tag);

  void SubmitWrite(Volume* v);
  void SubmitUnmap(Volume* v);
  void SubmitInstall(Volume* v);
  void Submit(std::unique_ptr<HostOp> op);
  static void OnDone(Op* op);

  bool ReadAndCompare(Volume* v, uint64_t lba, uint64_t blocks, bool tags_only);
  bool CompareChanged(Volume* v);
  bool CompareMap(Volume* v);
  bool CompareVolume(Volume* v);
  bool CompareEverything();
  bool CompareSpace();
  bool CheckOffline();
  bool OpenRotten();

  bool Create();
  bool Delete();
  bool Resize();
  bool Blob();
  bool Marks();
  bool TakeSnapshots();
  bool DropSnapshot();
  bool Clone();
  bool Promote();
  bool Rollback();
  bool KillInRollback(Volume* v, size_t at);
  bool HasRolledBack(Volume* v, const Snapshot& to, uint64_t version, bool* has);
  bool CompareSnapshot(const Volume& v, const Snapshot& s);
  bool CompareDiff();
  void Quiesce();

  DriverOptions options_;
  DriverCounts counts_;
  Rng rng_;
  std::vector<std::unique_ptr<MemFile>> media_;
  bool immediate_ = false;  // Media answer at once.
  uint64_t moved_ = 0;      // By the rebalance under way, as counted.
  std::unique_ptr<Pool> pool_;
  std::vector<std::unique_ptr<Volume>> volumes_;
  std::map<std::string, std::vector<uint8_t>> blobs_;
  uint32_t in_flight_ = 0;
  uint32_t unmaps_in_flight_ = 0;
  uint32_t depth_ = 1;
  bool small_ = false;  // The pool may run full: one operation at a time, refused or done.
  bool rebuild_ = false;
  uint32_t lines_ = 1;  // How often snapshots, clones and rollbacks come.
  uint64_t next_value_ = 1;
  uint64_t next_name_ = 1;
  std::string error_;
};

}  // namespace ashlar::model
