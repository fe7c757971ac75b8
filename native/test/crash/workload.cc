#include "native/test/crash/workload.h"

#include <cstdlib>
#include <cstring>

#include "native/engine/crc32c.h"

namespace ashlar::crash {
namespace {

uint8_t* AlignedBlocks(uint64_t blocks) {
  void* memory = std::aligned_alloc(kBlockBytes, blocks * kBlockBytes);
  if (memory == nullptr) std::abort();
  return static_cast<uint8_t*>(memory);
}

struct FreeDeleter {
  void operator()(uint8_t* memory) const { std::free(memory); }
};

}  // namespace

struct Workload::HostOp {
  Op op;
  Workload* workload = nullptr;
  VolumeHistory* volume = nullptr;
  std::unique_ptr<uint8_t[], FreeDeleter> data;
  std::vector<size_t> changes;  // Index of the change in each block's register.
  std::vector<BlockTag> tags;   // Of an install.
  uint64_t tick = 0;
};

// A control call under way: what becomes durable with its end.
struct Workload::Control {
  Workload* workload = nullptr;
  VolumeHistory* volume = nullptr;
  std::vector<std::pair<Register*, size_t>> changes;
  std::vector<SnapshotHistory*> taken;
  bool opens = false;
  bool promotes = false;  // May be refused as busy.

  void Issue(Register* reg, uint64_t value) {
    changes.emplace_back(reg, reg->Issue(value, workload->Now()));
  }
};

Workload::Workload(Machine* machine, const WorkloadOptions& options)
    : machine_(machine), options_(options), rng_(options.seed) {}

std::string Workload::Run() {
  PoolOptions pool_options;
  pool_options.cache_bytes = 4 << 20;
  for (uint8_t& byte : pool_options.open_id.bytes) byte = static_cast<uint8_t>(rng_());
  std::string why;
  if (machine_->Open(pool_options, &pool_, &why) != Status::kOk)
    return "the fresh pool does not open: " + why;
  base_ = Now();
  for (uint32_t count = 0; count < options_.operations && error_.empty(); count += 1) Step();
  Settle(0);
  return error_;
}

VolumeHistory* Workload::PickOpen() {
  std::vector<VolumeHistory*> open;
  for (const auto& volume : volumes_) {
    if (volume->open) open.push_back(volume.get());
  }
  return open.empty() ? nullptr : open[Below(rng_, open.size())];
}

void Workload::Step() {
  const uint64_t dice = Below(rng_, 100);
  if (machine_->percent() > 0 && control_in_flight_ == 0 && Chance(rng_, machine_->percent())) {
    SubmitDeviceCall();
  } else if (PickOpen() == nullptr || dice < 4) {
    if (control_in_flight_ == 0) SubmitControl();
  } else if (dice < 9) {
    if (control_in_flight_ == 0) SubmitLineControl();
  } else if (dice < 17) {
    SubmitFlush();
  } else {
    SubmitBlockOp();
  }
  // Several operations to a batch, as a socket read brings them.
  if (Chance(rng_, 50)) pool_->Kick();
  if (Chance(rng_, 50)) pool_->Poll();
  Settle(options_.queue_depth);
  if (Chance(rng_, 2)) pool_->Checkpoint([](void*, Status) {}, nullptr);
}

// Waits until no more than `limit` operations are in flight.
void Workload::Settle(uint32_t limit) {
  uint32_t idle = 0;
  while (in_flight_ + control_in_flight_ > limit && error_.empty()) {
    pool_->Kick();
    if (pool_->Poll() == 0) idle += 1;
    if (idle > 10) machine_->Wait();
    if (idle > 100000) error_ = "operations in flight that never end";
  }
}

void Workload::SubmitBlockOp() {
  VolumeHistory* volume = PickOpen();
  auto host = std::make_unique<HostOp>();
  host->workload = this;
  host->volume = volume;
  host->tick = ++tick_;
  VolumeInfo info;
  if (!pool_->Volume(volume->handle, &info)) {
    error_ = "an open volume is unknown";
    return;
  }
  Op& op = host->op;
  op.volume = volume->handle;
  // A few hot blocks, so that overwrites and races are common; else anywhere.
  const uint64_t size = info.size_blocks;
  op.lba = Chance(rng_, 40) ? Below(rng_, std::min<uint64_t>(size, 16)) : Below(rng_, size);
  const uint64_t dice = Below(rng_, 100);
  uint64_t longest = dice < 70 ? 1 + Below(rng_, 8) : 1 + Below(rng_, 64);
  op.kind = OpKind::kWrite;
  if (dice < 10) op.kind = OpKind::kRead;
  if (dice >= 88) {
    op.kind = OpKind::kUnmap;
    longest = 1 + Below(rng_, size);
  }
  const bool atomic = op.kind == OpKind::kWrite && Chance(rng_, 20);
  if (atomic) {
    // Across leaves more often than not, and of a length that no other write has.
    longest = 2 + Below(rng_, Chance(rng_, 30) ? kMaxAtomicBlocks - 1 : 40);
    const uint64_t leaf = 128 * (1 + Below(rng_, 3));
    if (Chance(rng_, 60) && leaf < size) op.lba = leaf - 1 - Below(rng_, std::min(longest, leaf));
  }
  op.blocks = std::min(longest, size - op.lba);
  op.flags = op.kind != OpKind::kRead && Chance(rng_, 15) ? kOpFua : 0;
  if (atomic) op.flags |= kOpAtomic;
  op.context = host.get();
  op.done = &Workload::OnOpDone;
  if (op.kind != OpKind::kUnmap) {
    host->data.reset(AlignedBlocks(op.blocks));
    op.data = host->data.get();
  }
  if (op.kind != OpKind::kRead) {
    const uint64_t value = op.kind == OpKind::kUnmap ? 0 : next_value_++;
    op.version = (uint64_t{1} << 40) | host->tick;
    const bool install =
        op.kind == OpKind::kWrite && !atomic && volume->keeps_holes && Chance(rng_, 25);
    const bool counts = !install && (op.kind == OpKind::kWrite || volume->keeps_holes);
    if (install) {
      // A copy from a peer: older than all that is here, and taken for being below `j` (B4).
      op.guard = Guard::kJoin;
      host->tags.resize(op.blocks);
      op.tags = host->tags.data();
    }
    for (uint64_t at = 0; at < op.blocks; at += 1) {
      const uint64_t lba = op.lba + at;
      host->changes.push_back(volume->blocks[lba].Issue(value, Now()));
      if (counts) volume->blocks[lba].change(host->changes.back()).version = op.version;
      uint8_t* const block = op.data == nullptr ? nullptr : op.data + at * kBlockBytes;
      if (block != nullptr) FillBlock(volume->number, lba, value, block);
      if (!install) continue;
      host->tags[at].version = host->tick;
      host->tags[at].kind = BlockKind::kData;
      host->tags[at].crc = Crc32c(block, kBlockBytes);
    }
    if (atomic) volume->atomic_writes.push_back({op.lba, value, Now(), host->changes});
  }
  in_flight_ += 1;
  pool_->Submit(&host.release()->op);
}

void Workload::SubmitFlush() {
  VolumeHistory* volume = PickOpen();
  auto host = std::make_unique<HostOp>();
  host->workload = this;
  host->volume = volume;
  host->tick = ++tick_;
  host->op.kind = OpKind::kFlush;
  host->op.volume = volume->handle;
  host->op.context = host.get();
  host->op.done = &Workload::OnOpDone;
  in_flight_ += 1;
  pool_->Submit(&host.release()->op);
}

void Workload::OnOpDone(Op* op) {
  std::unique_ptr<HostOp> host(static_cast<HostOp*>(op->context));
  Workload& self = *host->workload;
  self.in_flight_ -= 1;
  self.tick_ += 1;
  if (op->status != Status::kOk) {
    // Deleting a volume ends its operations; nothing else may fail here.
    if (host->volume->open)
      self.error_ =
          "an operation failed with status " + std::to_string(static_cast<int>(op->status));
    return;
  }
  VolumeInfo info;
  if (op->kind != OpKind::kRead && self.pool_->Volume(op->volume, &info)) {
    host->volume->contig_marks.push_back({self.Now(), info.contig, info.durable});
  }
  if (op->kind == OpKind::kFlush) {
    self.Promise(host->tick);
    return;
  }
  if (op->kind == OpKind::kRead) {
    for (uint64_t at = 0; at < op->blocks; at += 1) {
      uint64_t value = 0;
      const uint64_t lba = op->lba + at;
      const bool whole = ReadBlock(host->volume->number, lba, op->data + at * kBlockBytes, &value);
      const uint64_t initial = host->volume->Initial(lba);
      if (!whole || !host->volume->blocks[lba].AllowsRead(value, host->tick, initial)) {
        self.error_ = "a read returned a value that was not there: block " + std::to_string(lba);
      }
    }
    return;
  }
  for (size_t at = 0; at < host->changes.size(); at += 1) {
    Register& reg = host->volume->blocks[op->lba + at];
    Change& change = reg.change(host->changes[at]);
    change.acked = self.Now();
    change.acked_tick = self.tick_;
    if ((op->flags & kOpFua) != 0) {
      change.durable = self.Now();
    } else {
      self.acked_.push_back({&reg, host->changes[at], self.tick_});
    }
  }
}

// A flush that was submitted at `submitted_tick` has succeeded: what was acknowledged before is
// safe from now on (C3).
void Workload::Promise(uint64_t submitted_tick) {
  std::vector<Touched> rest;
  for (const Touched& touched : acked_) {
    if (touched.tick < submitted_tick) {
      touched.reg->change(touched.change).durable = Now();
    } else {
      rest.push_back(touched);
    }
  }
  acked_.swap(rest);
}

void Workload::SubmitControl() {
  auto control = std::make_unique<Control>();
  control->workload = this;
  VolumeHistory* volume = PickOpen();
  uint32_t open = 0;
  for (const auto& each : volumes_) open += each->open ? 1 : 0;
  const uint64_t dice = Below(rng_, 100);
  control_in_flight_ += 1;
  if (volume == nullptr || (dice < 30 && open < 3)) {
    auto fresh = FreshVolume();
    fresh->keeps_holes = Chance(rng_, 50);
    control->volume = fresh.get();
    control->Issue(&fresh->existence, 1);
    control->opens = true;
    const uint64_t size = 16 + Below(rng_, options_.max_blocks - 16);
    fresh->size.change(fresh->size.Issue(size, Now())).durable =
        0;  // A volume that exists has its first size.
    fresh->size.change(0).acked = 0;
    VolumeHistory* raw = fresh.get();
    volumes_.push_back(std::move(fresh));
    pool_->CreateVolume(raw->id, raw->name, size, &raw->handle, &Workload::OnControlDone,
                        control.release(), raw->keeps_holes ? 0 : ~0ull);
    return;
  }
  bool cloned = false;
  for (const auto& s : snapshots_) cloned |= s->open && s->volume == volume && HasClones(s.get());
  if (dice < 50 && open > 1 && in_flight_ == 0 && !cloned) {
    volume->open = false;
    control->volume = volume;
    control->Issue(&volume->existence, 0);
    for (const auto& s : snapshots_) {
      if (!s->open || s->volume != volume) continue;
      s->open = false;
      control->Issue(&s->existence, 0);
    }
    pool_->DeleteVolume(volume->handle, &Workload::OnControlDone, control.release(), true);
  } else if (dice < 65) {
    VolumeInfo info;
    static_cast<void>(pool_->Volume(volume->handle, &info));
    const uint64_t size =
        info.size_blocks + Below(rng_, options_.max_blocks - info.size_blocks + 1);
    control->volume = volume;
    control->Issue(&volume->size, size);
    pool_->ResizeVolume(volume->handle, size, &Workload::OnControlDone, control.release());
  } else {
    const std::string key = "key-" + std::to_string(Below(rng_, 3));
    const uint64_t value = Chance(rng_, 20) ? 0 : next_value_++;
    // Small and large: the large ones fill several pages.
    std::vector<uint8_t> bytes(value == 0 ? 0 : 8 + Below(rng_, Chance(rng_, 80) ? 200 : 20000),
                               static_cast<uint8_t>(value));
    if (value != 0) std::memcpy(bytes.data(), &value, 8);
    control->volume = volume;
    control->Issue(&volume->blobs[key], value);
    pool_->PutBlob(volume->handle, key, bytes, &Workload::OnControlDone, control.release());
  }
}

std::unique_ptr<VolumeHistory> Workload::FreshVolume() {
  auto fresh = std::make_unique<VolumeHistory>();
  fresh->name = "volume-" + std::to_string(volumes_.size() + 1);
  for (uint8_t& byte : fresh->id.bytes) byte = static_cast<uint8_t>(rng_());
  fresh->number = fresh->id.bytes[0];
  fresh->blocks.resize(options_.max_blocks);
  return fresh;
}

void Workload::SubmitDeviceCall() {
  ++control_in_flight_;
  if (!machine_->DeviceCall(*pool_, rng_, &Workload::OnDeviceDone, this)) --control_in_flight_;
}

// It may be refused: the last side cannot leave, a smaller one cannot join.
void Workload::OnDeviceDone(void* context, Status status) {
  auto* self = static_cast<Workload*>(context);
  --self->control_in_flight_;
  if (status == Status::kIoError) {
    self->error_ = "a device call failed: " + self->pool_->Stats().fault;
  }
}

// --- Snapshots ---

SnapshotHistory* Workload::PickSnapshot() {
  std::vector<SnapshotHistory*> open;
  for (const auto& s : snapshots_) {
    if (s->open && s->volume->open) open.push_back(s.get());
  }
  return open.empty() ? nullptr : open[Below(rng_, open.size())];
}

bool Workload::HasClones(const SnapshotHistory* snapshot) const {
  for (const auto& volume : volumes_) {
    if (volume->open && volume->origin == snapshot) return true;
  }
  return false;
}

void Workload::SubmitLineControl() {
  auto control = std::make_unique<Control>();
  control->workload = this;
  SnapshotHistory* snapshot = PickSnapshot();
  uint32_t open = 0;
  for (const auto& each : volumes_) open += each->open ? 1 : 0;
  const uint64_t dice = Below(rng_, 100);
  if (snapshot == nullptr || dice < 45) return TakeSnapshots(std::move(control));
  if (dice < 72) {
    if (HasClones(snapshot)) return;
    snapshot->open = false;
    control->Issue(&snapshot->existence, 0);
    control_in_flight_ += 1;
    pool_->DeleteSnapshot(snapshot->handle, &Workload::OnControlDone, control.release());
  } else if (dice < 82) {
    if (open < 4) Clone(std::move(control), snapshot);
  } else if (dice < 93) {
    Rollback(std::move(control), snapshot);
  } else {
    for (const auto& volume : volumes_) {
      if (!volume->open || volume->origin == nullptr) continue;
      control->volume = volume.get();
      control->promotes = true;
      control_in_flight_ += 1;
      pool_->PromoteVolume(volume->handle, &Workload::OnControlDone, control.release());
      return;
    }
  }
}

// Of one volume, or of all that are open, at one instant.
void Workload::TakeSnapshots(std::unique_ptr<Control> control) {
  std::vector<VolumeHistory*> of;
  const bool all = Chance(rng_, 30);
  VolumeHistory* one = PickOpen();
  for (const auto& volume : volumes_) {
    if (volume->open && (all || volume.get() == one)) of.push_back(volume.get());
  }
  std::vector<SnapshotRequest> requests(of.size());
  groups_ += 1;
  for (size_t at = 0; at < of.size(); at += 1) {
    VolumeHistory* volume = of[at];
    auto fresh = std::make_unique<SnapshotHistory>();
    fresh->name = "snapshot-" + std::to_string(snapshots_.size() + 1);
    for (uint8_t& byte : fresh->id.bytes) byte = static_cast<uint8_t>(rng_());
    fresh->volume = volume;
    fresh->group = groups_;
    fresh->size = volume->size.Last(0);
    for (uint64_t lba = 0; lba < fresh->size; lba += 1) {
      const Register& reg = volume->blocks[lba];
      const uint64_t initial = volume->Initial(lba);
      fresh->blocks.push_back({reg.Last(initial), &reg, reg.size(), initial});
    }
    control->Issue(&fresh->existence, 1);
    control->taken.push_back(fresh.get());
    requests[at].volume = volume->handle;
    requests[at].id = fresh->id;
    requests[at].name = fresh->name;
    requests[at].version = (uint64_t{1} << 40) | ++tick_;
    requests[at].handle = &fresh->handle;
    snapshots_.push_back(std::move(fresh));
  }
  control_in_flight_ += 1;
  pool_->CreateSnapshots(requests, 1, &Workload::OnControlDone, control.release());
}

void Workload::Clone(std::unique_ptr<Control> control, SnapshotHistory* snapshot) {
  auto fresh = FreshVolume();
  fresh->number = snapshot->volume->number;
  fresh->origin = snapshot;
  for (const SnapshotHistory::Block& block : snapshot->blocks) {
    fresh->initial.push_back(block.value);
  }
  fresh->size.change(fresh->size.Issue(snapshot->size, Now())).durable = 0;
  fresh->size.change(0).acked = 0;
  control->volume = fresh.get();
  control->Issue(&fresh->existence, 1);
  control->opens = true;
  VolumeHistory* raw = fresh.get();
  volumes_.push_back(std::move(fresh));
  control_in_flight_ += 1;
  pool_->CloneSnapshot(snapshot->handle, raw->id, raw->name, &raw->handle, &Workload::OnControlDone,
                       control.release());
}

// Offline: nothing else goes on until it is done.
void Workload::Rollback(std::unique_ptr<Control> control, SnapshotHistory* snapshot) {
  VolumeHistory* volume = snapshot->volume;
  bool after = false;
  for (const auto& s : snapshots_) {
    after |= s.get() == snapshot;
    if (after && s.get() != snapshot && s->open && s->volume == volume && HasClones(s.get()))
      return;
  }
  Settle(0);
  if (!error_.empty()) return;
  after = false;
  for (const auto& s : snapshots_) {
    if (after && s->open && s->volume == volume) {
      s->open = false;
      control->Issue(&s->existence, 0);
    }
    after |= s.get() == snapshot;
  }
  for (uint64_t lba = 0; lba < volume->blocks.size(); lba += 1) {
    const uint64_t value = lba < snapshot->size ? snapshot->blocks[lba].value : 0;
    if (volume->blocks[lba].Last(volume->Initial(lba)) != value) {
      control->Issue(&volume->blocks[lba], value);
    }
  }
  control->Issue(&volume->size, snapshot->size);
  control_in_flight_ += 1;
  pool_->RollbackVolume(volume->handle, snapshot->handle, (uint64_t{1} << 40) | ++tick_, true,
                        &Workload::OnControlDone, control.release());
  Settle(0);
}

// The clone has taken over its origin and what came before it.
void Workload::Promoted(VolumeHistory* clone) {
  SnapshotHistory* origin = clone->origin;
  VolumeHistory* from = origin->volume;
  for (const auto& s : snapshots_) {
    if (s->volume == from) s->volume = clone;
    if (s.get() == origin) break;
  }
  clone->origin = from->origin;
  from->origin = origin;
}

void Workload::OnControlDone(void* context, Status status) {
  std::unique_ptr<Control> control(static_cast<Control*>(context));
  Workload& self = *control->workload;
  self.control_in_flight_ -= 1;
  if (control->promotes) {
    if (status == Status::kOk) self.Promoted(control->volume);
    if (status == Status::kOk || status == Status::kBusy) return;
  }
  if (status != Status::kOk) {
    self.error_ = "a control call failed with status " + std::to_string(static_cast<int>(status));
    return;
  }
  for (const auto& [reg, index] : control->changes) {
    Change& change = reg->change(index);
    change.acked = change.durable = self.Now();
    change.acked_tick = self.tick_;
  }
  for (SnapshotHistory* snapshot : control->taken) snapshot->open = true;
  if (control->opens) control->volume->open = true;
}

}  // namespace ashlar::crash
