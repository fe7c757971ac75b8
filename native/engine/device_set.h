// The devices of a pool, between the engine and its media. An address names a vdev; a write goes to
// every side of a vdev that is in sync or being resilvered, a read to one that is in sync, a flush
// to all devices.
//
// A side that fails a write or a flush which another side took is taken out of its mirror, as is
// one that an operator takes offline or away: first the labels of all others say so, durably. Until
// then no write and no flush is reported to the engine (`held_`), so nothing is ever acknowledged
// that the labels would let a stale device hide.
//
// A vdev of one device costs a branch: its requests go straight to the medium, and its errors are
// the engine's to deal with (S9, S10), as are those that all sides of a mirror share.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/engine/label.h"

namespace ashlar {

class DeviceSet;

// A request of the engine. `request.offset` is inside the vdev (or the device).
struct SetIo {
  IoRequest request;
  void (*ended)(SetIo*) = nullptr;
  DeviceSet* set = nullptr;
  uint16_t vdev = 0;
  uint16_t device = 0;  // Which one served it, where that was one.
  uint8_t left = 0;     // Sides under way.
  bool direct = false;  // Asked of a device, not of a vdev: what fails is for the asker.
  int32_t error = 0;
  uint64_t ok = 0, failed = 0;  // Bits, by device.
  SetIo* next_held = nullptr;
};

// Whose a pool was.
struct FoundOwner {
  Uuid owner_id{};
  std::string owner_name;
  uint64_t owned_since_s = 0;
  bool exported = false;
};

class DeviceSet {
 public:
  struct Device {
    DeviceRecord record{};
    BlockFile* file = nullptr;  // Null: not here.
    std::string path;
    std::string why;
    uint32_t in_flight = 0;
    bool kick = false;
    bool leaving = false;  // In no label any more: to be wiped and let go.
    bool wiped = false;
    bool fresh = false;      // No label yet: it gets one before any other label speaks of it.
    bool returning = false;  // It was out, and has no label of this opening since.
    uint8_t label_slot = 0;  // Where its newest durable label is: the next goes to the other.

    bool Readable() const { return file != nullptr && record.state == DeviceState::kInSync; }
    bool Writable() const {
      return file != nullptr &&
             (record.state == DeviceState::kInSync || record.state == DeviceState::kResilvering);
    }
  };
  struct Vdev {
    VdevClass vdev_class = VdevClass::kData;
    std::vector<uint16_t> sides;  // Devices, by place.
  };
  // The last device of a vdev cannot be written: the pool is to fault.
  using FaultFn = void (*)(void* context, std::string why);
  using LabelsFn = void (*)(void* context);

  DeviceSet() = default;
  ~DeviceSet();
  DeviceSet(const DeviceSet&) = delete;
  DeviceSet& operator=(const DeviceSet&) = delete;

  // assemble.cc. Finds out which pool the files are, which device each is, and whether they
  // suffice. Reads, never writes. `owner`: who is to use the pool; null: nobody, it is only read.
  Status Assemble(const std::vector<DeviceFile>& files, const PoolOwner* owner, std::string* why);
  // Whether what is present differs from what the labels say: UpdateLabels before anything else.
  bool labels_wanted() const { return labels_wanted_; }
  // Whether the pool is being taken from a machine that has not exported it. Once.
  bool TakeSettling() {
    const bool settling = settling_;
    settling_ = false;
    return settling;
  }
  // Devices newly missing have all that was born up to here.
  void MissingSince(uint64_t generation);

  void SetOwner(void* owner, FaultFn fault, const Uuid& opening) {
    owner_ = owner;
    fault_ = fault;
    opening_ = opening;
  }
  void set_durable_generation(uint64_t generation) { durable_generation_ = generation; }

  // --- I/O ---
  void Submit(SetIo* io) {
    io->set = this;
    io->direct = false;
    if (Held(io)) return HoldForLook(io);
    if (io->request.kind == IoKind::kFlush) return SubmitFlush(io);
    const Vdev& vdev = vdevs_[io->vdev];
    if (vdev.sides.size() == 1) return Send(vdev.sides[0], io);
    if (io->request.kind == IoKind::kRead) return Send(PickSide(vdev), io);
    SubmitWrite(io);
  }
  // One device, whatever its mirror.
  void SubmitTo(uint16_t device, SetIo* io) {
    io->set = this;
    io->direct = true;
    io->device = device;
    // What leaves is to be wiped, whoever has the pool.
    if (Held(io) && !devices_[device]->leaving) return HoldForLook(io);
    Send(device, io);
  }
  // owner_watch.cc. Whether the pool is still this opening's is looked up before the next write.
  void LookBeforeWriting();
  // And before a write of so long after the last look. 0: not by the clock.
  void LookEvery(uint32_t ms);
  // It is not, and nothing is written any more.
  bool lost() const { return look_.state == Look::State::kLost; }
  void Kick();
  bool kick_pending() const { return kick_pending_; }
  int Poll();
  int Wait();
  // Requests that media still hold.
  uint64_t in_flight() const { return in_flight_; }
  // Forgets what is held back, and writes no more labels: the owner is going.
  void Abandon();

  // --- Devices ---
  // Takes a device out of its mirror for good reason. False: it is the last one in sync.
  bool TakeOut(uint16_t device, DeviceState state, std::string why);
  // Out of the labels for good; the caller updates them. Whoever let it go wipes it once they are
  // durable. Until then it is in sync by all labels, so nothing is acknowledged without it.
  void LetGo(uint16_t device);
  // Writes new labels, flushed, to all devices that are written to. `done` when what is in memory
  // now is durable.
  void UpdateLabels(LabelsFn done, void* context);
  bool labels_busy() const { return labels_busy_; }
  // Why a device has not joined after all: it could not take its first label, or was used elsewhere
  // while it was out. Once.
  Status TakeJoinFailure() {
    const Status failure = join_failure_;
    join_failure_ = Status::kOk;
    return failure;
  }
  // A slot for a device that joins, in memory; labels make it last.
  int AddDevice(const DeviceFile& file, uint16_t vdev, uint8_t place, VdevClass vdev_class,
                DeviceState state, uint64_t size_blocks);
  // Drops it from memory and from its vdev; its file is free once nothing is in flight.
  void RemoveDevice(uint16_t device);
  uint32_t AddVdev(VdevClass vdev_class);

  std::vector<std::unique_ptr<Device>>& devices() { return devices_; }
  const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }
  const std::vector<Vdev>& vdevs() const { return vdevs_; }
  Device* device(uint32_t index) const {
    return index < devices_.size() ? devices_[index].get() : nullptr;
  }
  int FindDevice(const Uuid& id) const;
  uint32_t DeviceCount() const;
  uint32_t DataVdevs() const;
  // In sync and here.
  uint32_t ReadableSides(uint32_t vdev) const;
  // Blocks that every side has, both ends included.
  uint64_t VdevBlocks(uint32_t vdev) const;
  bool HoldsFile(const BlockFile* file) const;
  const Uuid& pool_id() const { return pool_id_; }
  const std::string& name() const { return name_; }
  uint64_t sequence() const { return sequence_; }
  bool exported() const { return exported_; }
  void set_exported(bool exported) { exported_ = exported; }
  // The next labels name the owner, and have the mark, that this opening found.
  void RestoreOwner() {
    if (!found_) return;
    exported_ = found_->exported;
    owner_id_ = found_->owner_id;
    owner_name_ = found_->owner_name;
    owned_since_s_ = found_->owned_since_s;
  }
  // An opening that takes a second attempt finds what the first has written: what that one found
  // goes on to it.
  const std::optional<FoundOwner>& found() const { return found_; }
  void set_found(const std::optional<FoundOwner>& found) { found_ = found; }
  void MakeLabel(Label* label, const Uuid& device_id) const;
  std::string Describe(const Device& device) const;
  Uuid FreshId(uint64_t salt) const;

 private:
  struct SideIo {
    IoRequest request;
    DeviceSet* set = nullptr;
    SetIo* parent = nullptr;
    uint16_t device = 0;
    uint8_t tries = 0;
  };
  struct LabelIo {
    IoRequest request;
    DeviceSet* set = nullptr;
    uint16_t device = 0;
  };
  // A look at the labels, before something is written.
  struct Look {
    enum class State : uint8_t { kTrusted, kDue, kLooking, kLost };
    struct Read {
      IoRequest request;
      DeviceSet* set = nullptr;
      uint16_t device = 0;
      uint8_t* buffer = nullptr;  // Both label slots in front.
    };
    Look() = default;
    ~Look();
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;
    State state = State::kTrusted;
    uint64_t every_ns = 0;  // Before a write of so long after the last look there is another.
    uint64_t at_ns = 0;     // When the last one began that is over.
    uint64_t began_ns = 0;  // The one under way.
    bool reading = false;
    uint32_t left = 0;
    bool before_labels = false;  // Labels are to follow it.
    bool again = false;          // They were asked for when it had begun.
    std::string why;             // Not empty: the pool is another's now.
    std::vector<SetIo*> held;
    std::vector<std::unique_ptr<Read>> reads;
  };
  struct Waiter {
    LabelsFn done;
    void* context;
    uint64_t sequence;  // Of the first label that counts.
  };

  void Send(uint16_t device, SetIo* io);
  static void OnSent(IoRequest* request);
  void SubmitWrite(SetIo* io);
  void SubmitFlush(SetIo* io);
  void SendSide(SideIo* side);
  SideIo* NewSide(SetIo* io, uint16_t device);
  static void OnSide(IoRequest* request);
  void SideDone(SideIo* side);
  void Settle(SetIo* io);
  void SettleFlush(SetIo* io);
  void Deliver(SetIo* io);
  uint16_t PickSide(const Vdev& vdev);
  Status Claim(const Label& truth, const PoolOwner& owner, std::string* why);
  bool Held(const SetIo* io) {
    if (io->request.kind != IoKind::kWrite) return false;
    if (look_.every_ns != 0 && look_.state == Look::State::kTrusted) LookByTheClock();
    return look_.state != Look::State::kTrusted;
  }
  void LookByTheClock();
  void HoldForLook(SetIo* io);
  void Refuse(SetIo* io);
  void StartLook();
  void WaitForLook();
  static void OnLooked(IoRequest* request);
  void Judge(const Look::Read& read, Device* device);
  void EndLook();
  void StartLabels();
  void WriteLabels();
  void GiveUpLabels();
  void SendLabel(uint16_t device, IoKind kind, uint64_t block, uint8_t* data);
  static void OnLabel(IoRequest* request);
  void LabelStep();
  void FinishLabels();

  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Vdev> vdevs_;
  Uuid pool_id_{};
  std::string name_;
  uint64_t sequence_ = 0;
  bool exported_ = false;
  Uuid owner_id_{};
  std::string owner_name_;
  uint64_t owned_since_s_ = 0;
  std::optional<FoundOwner> found_;
  uint64_t found_sequence_ = 0;
  bool settling_ = false;
  Look look_;
  bool labels_wanted_ = false;
  Uuid opening_{};
  uint64_t durable_generation_ = 0;
  void* owner_ = nullptr;
  FaultFn fault_ = nullptr;

  uint64_t in_flight_ = 0;
  bool kick_pending_ = false;
  bool abandoned_ = false;
  std::deque<SideIo> all_sides_;
  std::vector<SideIo*> free_sides_;
  bool holding_ = false;
  SetIo* held_head_ = nullptr;
  SetIo* held_tail_ = nullptr;

  bool labels_busy_ = false;
  bool labels_again_ = false;
  Status join_failure_ = Status::kOk;
  bool labels_flushing_ = false;
  uint32_t labels_left_ = 0;
  uint64_t label_ok_ = 0, label_failed_ = 0, label_kept_ = 0;  // Bits, by device.
  uint64_t label_sent_ = 0;
  std::vector<uint8_t*> label_buffers_;
  std::deque<LabelIo> all_label_ios_;
  std::vector<LabelIo*> free_label_ios_;
  std::vector<Waiter> waiters_;
};

// For calls without a pool: to the end.
bool TransferBlocks(BlockFile& file, IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data);
// The newest valid label of a device, and its slot. What kind of nothing is there, if there is
// none.
Status ReadLabel(BlockFile& file, Label* label, uint8_t* slot);

}  // namespace ashlar
