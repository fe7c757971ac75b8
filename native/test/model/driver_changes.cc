// What hosts and operators change, here and in the model.
#include <algorithm>

#include "native/test/model/host_op.h"

namespace ashlar::model {

// --- Operations ---

void Driver::Submit(std::unique_ptr<HostOp> host) {
  host->driver = this;
  host->op.volume = host->volume->handle;
  host->op.context = host.get();
  host->op.done = &Driver::OnDone;
  if (!host->tags.empty()) host->op.tags = host->tags.data();
  ++in_flight_;
  // Behind an unmap an install waits, and what comes later overtakes it: with the same end, but not
  // with the same answer.
  host->in_turn = unmaps_in_flight_ == 0;
  unmaps_in_flight_ += host->op.kind == OpKind::kUnmap;
  pool_->Submit(&host.release()->op);
}

void Driver::OnDone(Op* op) {
  std::unique_ptr<HostOp> host(static_cast<HostOp*>(op->context));
  Driver& self = *host->driver;
  --self.in_flight_;
  self.unmaps_in_flight_ -= op->kind == OpKind::kUnmap;
  Volume* v = host->volume;
  const bool install = op->guard != Guard::kNewer;
  if (op->status == Status::kNoSpace && self.small_) {
    ++self.counts_.refusals;
    // An unmap is done piece by piece, up to the one that there was no space for.
    if (op->kind == OpKind::kUnmap) v->Unmap(op->lba, op->failed_lba - op->lba, op->version);
    // It rests below what was refused: a later epoch goes on.
    if (!install) ++v->epoch;
    return;
  }
  if (op->status != Status::kOk) {
    self.Fail("a change ended with status " + std::to_string(static_cast<int>(op->status)));
    return;
  }
  if (self.small_) {
    // Alone, so its turn is now.
    if (install) {
      for (uint64_t i = 0; i < op->blocks; ++i) {
        host->installed.push_back(
            v->Install(op->lba + i, host->tags[i], host->value, op->guard, op->version));
      }
    } else if (op->kind == OpKind::kWrite) {
      v->Write(op->lba, op->blocks, op->version, host->value);
    } else {
      v->Unmap(op->lba, op->blocks, op->version);
    }
  }
  if (install) {
    for (uint64_t i = 0; host->in_turn && i < op->blocks; ++i) {
      const bool took = host->tags[i].result == kTagInstalled;
      if (took != (host->installed[i] != 0)) {
        self.Fail("an install of " + v->name + " block " + std::to_string(op->lba + i) +
                  (took ? " was taken" : " was refused"));
      }
    }
    return;
  }
  v->Applied(op->version, op->kind == OpKind::kUnmap);
}

void Driver::SubmitWrite(Volume* v) {
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kWrite;
  Range(*v, Chance(90) ? 16 : Chance(80) ? 150 : 600, &op.lba, &op.blocks);
  if (Chance(10)) op.flags |= kOpFua;
  if (Chance(10) && op.blocks <= kMaxAtomicBlocks) op.flags |= kOpAtomic;
  // Now and then one that comes late: older than what is there (W2). Versions may repeat then, so
  // it is told apart from all others by its own bits.
  op.version = v->newest = NextVersion(v) + Below(3);
  host->value = next_value_++;
  host->data = Blocks(op.blocks);
  op.data = host->data.get();
  for (uint64_t i = 0; i < op.blocks; ++i) {
    Fill(op.lba + i, host->value, op.data + i * kBlockBytes);
  }
  if (Chance(30)) {
    host->tags.resize(op.blocks);
    for (uint64_t i = 0; i < op.blocks; ++i) {
      host->tags[i].crc = Checksum(op.lba + i, host->value);
      host->tags[i].kind = BlockKind::kData;
    }
  }
  if (!small_) v->Write(op.lba, op.blocks, op.version, host->value);
  Submit(std::move(host));
}

void Driver::SubmitUnmap(Volume* v) {
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kUnmap;
  Range(*v, Chance(60) ? 40 : v->size, &op.lba, &op.blocks);
  if (Chance(5)) {
    op.lba = 0;
    op.blocks = v->size;
  }
  op.version = NextVersion(v);
  if (!small_) v->Unmap(op.lba, op.blocks, op.version);
  Submit(std::move(host));
}

void Driver::SubmitInstall(Volume* v) {
  ++counts_.installs;
  auto host = std::make_unique<HostOp>();
  host->volume = v;
  Op& op = host->op;
  op.kind = OpKind::kWrite;
  op.guard = Chance(20) ? Guard::kExact : Guard::kJoin;
  Range(*v, Chance(80) ? 10 : 300, &op.lba, &op.blocks);
  op.version = op.guard == Guard::kJoin ? Below(v->newest + 2) : 0;
  if (Chance(30)) op.version = op.guard == Guard::kJoin ? v->newest + 1 : 0;
  host->value = next_value_++;
  host->data = Blocks(op.blocks);
  op.data = host->data.get();
  host->tags.resize(op.blocks);
  for (uint64_t i = 0; i < op.blocks; ++i) {
    BlockTag& tag = host->tags[i];
    const uint64_t here = v->blocks[op.lba + i].version;
    const uint64_t dice = Below(100);
    tag.kind = op.guard == Guard::kExact || dice < 70 ? BlockKind::kData
               : dice < 90                            ? BlockKind::kHole
                                                      : BlockKind::kEmpty;
    // Around the version that is there; of a data block never one that other data has had.
    tag.version = std::max<uint64_t>(1, here + Below(3) - std::min<uint64_t>(here, Below(3)));
    if (tag.kind == BlockKind::kEmpty) tag.version = 0;
    if (tag.kind != BlockKind::kData) continue;
    Fill(op.lba + i, host->value, op.data + i * kBlockBytes);
    tag.crc = Checksum(op.lba + i, host->value);
  }
  if (!small_) {
    for (uint64_t i = 0; i < op.blocks; ++i) {
      host->installed.push_back(
          v->Install(op.lba + i, host->tags[i], host->value, op.guard, op.version));
    }
  }
  Submit(std::move(host));
}

// --- Control ---

bool Driver::Create() {
  auto v = std::make_unique<Volume>();
  v->name = "volume-" + std::to_string(next_name_++);
  for (uint8_t& byte : v->id.bytes) byte = static_cast<uint8_t>(rng_());
  v->size = Chance(20) ? 1 + Below(200) : 200 + Below(small_ ? 6000 : 20000);
  v->hole_floor = Chance(60) ? 0 : ~0ull;
  // A clone's versions begin below those of what it was made of (S14).
  v->epoch = 1 + Below(3);
  v->blocks.resize(v->size);
  const Status status = Do([&](DoneFn done, void* c) {
    pool_->CreateVolume(v->id, v->name, v->size, &v->handle, done, c, v->hole_floor);
  });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("creating a volume failed");
  volumes_.push_back(std::move(v));
  return true;
}

bool Driver::Delete() {
  if (!Wait(0)) return false;
  const size_t at = Below(volumes_.size());
  Volume* v = volumes_[at].get();
  const bool with_snapshots = !Chance(10);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->DeleteVolume(v->handle, done, c, with_snapshots); });
  const Status expected = AnyOrigin(*v, 0)                           ? Status::kHasClones
                          : !with_snapshots && !v->snapshots.empty() ? Status::kHasSnapshots
                                                                     : Status::kOk;
  if (status != expected) {
    return Fail("deleting " + v->name + " ended with status " +
                std::to_string(static_cast<int>(status)));
  }
  if (status != Status::kOk) {
    ++counts_.held_back;
    return true;
  }
  volumes_.erase(volumes_.begin() + static_cast<std::ptrdiff_t>(at));
  ++counts_.deletions;
  return Chance(50) || CompareSpace();
}

bool Driver::Resize() {
  Volume* v = Pick();
  const uint64_t size = v->size + Below(Chance(50) ? 200 : 8000);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->ResizeVolume(v->handle, size, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("resizing failed");
  // A hole that reached the end goes on behind it: only its version, never bytes.
  v->blocks.resize(size);
  for (uint64_t lba = v->size; lba < size; lba += 1) v->blocks[lba].kind = BlockKind::kUnknown;
  v->size = size;
  for (uint64_t lba = 0; lba < size; ++lba) {
    if (v->blocks[lba].kind != BlockKind::kUnknown) continue;
    BlockTag tag;
    if (TagOf(*v, lba, &tag) != Status::kOk || tag.kind == BlockKind::kData) {
      return Fail("data beyond the end");
    }
    v->blocks[lba] = {tag.kind, tag.version, 0, v->cloned && tag.kind == BlockKind::kHole};
  }
  return true;
}

bool Driver::Blob() {
  Volume* v = Chance(20) ? nullptr : Pick();
  auto& blobs = v == nullptr ? blobs_ : v->blobs;
  const uint32_t handle = v == nullptr ? 0 : v->handle;
  const std::string key = "key-" + std::to_string(Below(small_ ? 5 : 30));
  std::vector<uint8_t> value(Chance(25) ? 0 : Chance(80) ? Below(300) : Below(20000));
  for (uint8_t& byte : value) byte = static_cast<uint8_t>(rng_());
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->PutBlob(handle, key, value, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("a blob was refused");
  if (value.empty()) {
    blobs.erase(key);
  } else {
    blobs[key] = std::move(value);
  }
  return true;
}

bool Driver::Marks() {
  Volume* v = Pick();
  if (v->hole_floor == ~0ull || !Wait(0)) return error_.empty();
  VolumeMarks marks;
  if (Chance(70)) {
    marks.set_hole_floor = true;
    marks.hole_floor = v->hole_floor + Below(v->newest + 1 - std::min(v->hole_floor, v->newest));
  } else {
    marks.set_contig = true;
    marks.contig = v->newest;
  }
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->SetMarks(v->handle, marks, done, c); });
  if (status == Status::kNoSpace && small_) return true;
  if (status != Status::kOk) return Fail("marks were refused");
  if (marks.set_hole_floor) v->hole_floor = marks.hole_floor;
  if (marks.set_contig) v->contig = marks.contig;
  return true;
}

}  // namespace ashlar::model
