// Healing: see repair.h. A block under repair may have left its tree before the good bytes are
// written over the bad ones; it must not have been given to somebody else by then. So no checkpoint
// ends, and nothing that was freed comes back, while a repair is under way (HoldCheckpoint).
#include <cassert>
#include <cstdlib>
#include <cstring>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {

void PoolImpl::AddPlaces(Repair* repair, uint64_t phys) {
  if (VdevOf(phys) >= devices_.vdevs().size()) return;
  for (uint16_t index : devices_.vdevs()[VdevOf(phys)].sides) {
    if (devices_.device(index)->Readable()) repair->places.push_back({phys, index});
  }
}

Repair* PoolImpl::NewRepair(void* owner, void (PoolImpl::*done)(Repair*), uint32_t index) {
  if (free_repairs_.empty()) free_repairs_.push_back(&all_repairs_.emplace_back());
  Repair* repair = free_repairs_.back();
  free_repairs_.pop_back();
  *repair = Repair{};
  repair->buffer = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, 2 * kBlockBytes));
  if (repair->buffer == nullptr) std::abort();
  repair->owner = owner;
  repair->done = done;
  repair->index = index;
  HoldCheckpoint();
  return repair;
}

// The caller has just found the block in a tree.
void PoolImpl::RepairData(uint64_t phys, uint32_t crc, void* owner, void (PoolImpl::*done)(Repair*),
                          uint32_t index, bool expected, const uint8_t* offer) {
  Repair* repair = NewRepair(owner, done, index);
  repair->crc = crc;
  repair->expected = expected;
  repair->offer = offer;
  AddPlaces(repair, phys);
  StepRepair(repair);
}

void PoolImpl::RepairPage(const PagePtr& ptr, const PageIdentity& identity, void* owner,
                          void (PoolImpl::*done)(Repair*)) {
  Repair* repair = NewRepair(owner, done, 0);
  repair->is_page = true;
  repair->ptr = ptr;
  repair->identity = identity;
  for (uint64_t phys : ptr.addr) AddPlaces(repair, phys);
  StepRepair(repair);
}

bool PoolImpl::RepairMatches(const Repair* repair, const uint8_t* block) const {
  if (!repair->is_page) return Crc32c(block, kBlockBytes) == repair->crc;
  return PageMatches(block, repair->identity, repair->ptr) &&
         PageIsSound(block, repair->identity.role, repair->identity.level, range_);
}

void PoolImpl::StepRepair(Repair* repair) {
  if (repair->at < repair->places.size()) {
    const Repair::Place& place = repair->places[repair->at];
    SubmitToDevice(place.device, IoKind::kRead, BlockOf(place.phys), 1,
                   repair->buffer + (repair->good ? kBlockBytes : 0), repair,
                   &PoolImpl::RepairReadDone);
    return;
  }
  if (!repair->good && repair->offer != nullptr && RepairMatches(repair, repair->offer)) {
    std::memcpy(repair->buffer, repair->offer, kBlockBytes);
    repair->good = true;
  }
  (this->*repair->done)(repair);
  repair->left = 1;
  if (repair->good && !options_.read_only && !Faulted()) {
    repair->mended = true;
    for (const Repair::Place& place : repair->places) {
      if (place.state != Repair::State::kBad) continue;
      const DeviceSet::Device* device = devices_.device(place.device);
      if (device == nullptr || !device->Writable()) {
        repair->mended = false;
        continue;
      }
      ++repair->left;
      SubmitToDevice(place.device, IoKind::kWrite, BlockOf(place.phys), 1, repair->buffer, repair,
                     &PoolImpl::RepairWriteDone);
    }
  }
  EndRepair(repair);
}

void PoolImpl::RepairReadDone(EngineIo* io) {
  Repair* repair = static_cast<Repair*>(io->owner);
  const int32_t result = io->request.result;
  FreeIo(io);
  Repair::Place& place = repair->places[repair->at++];
  const uint8_t* block = repair->buffer + (repair->good ? kBlockBytes : 0);
  if (result == 0 && RepairMatches(repair, block)) {
    place.state = Repair::State::kGood;
    repair->good = true;
  } else {
    place.state = Repair::State::kBad;
    repair->unread |= result != 0;
    DeviceSet::Device* device = devices_.device(place.device);
    if (result == 0 && !repair->expected && device != nullptr) ++device->record.checksum_errors;
  }
  StepRepair(repair);
}

void PoolImpl::RepairWriteDone(EngineIo* io) {
  Repair* repair = static_cast<Repair*>(io->owner);
  if (io->request.result == 0) {
    healed_blocks_ += !repair->expected;
  } else {
    repair->mended = false;
  }
  if (io->request.result != 0 && !Faulted()) {
    // A place that can neither be read nor written. Alone in its vdev it stays: the block has
    // another copy elsewhere, or the next writer finds another place.
    static_cast<void>(devices_.TakeOut(io->device, DeviceState::kFaulted,
                                       "a bad block on it could not be written"));
  }
  FreeIo(io);
  EndRepair(repair);
}

void PoolImpl::EndRepair(Repair* repair) {
  if (--repair->left > 0) return;
  if (repair->mended) {
    for (const Repair::Place& place : repair->places) ForgetDamage(place.phys, 1);
  }
  std::free(repair->buffer);
  repair->buffer = nullptr;
  free_repairs_.push_back(repair);
  ReleaseCheckpoint();
}

void PoolImpl::ReleaseCheckpoint() {
  assert(checkpoint_holds_ > 0);
  if (--checkpoint_holds_ > 0 || !finish_waiting_) return;
  finish_waiting_ = false;
  if (!Faulted()) FinishCheckpoint();
}

// --- For opening, which waits ---

struct SyncRepair {
  bool ended = false;
  bool good = false;
  uint8_t* into = nullptr;
};

void PoolImpl::SyncRepairDone(Repair* repair) {
  auto* sync = static_cast<SyncRepair*>(repair->owner);
  sync->ended = true;
  sync->good = repair->good;
  if (repair->good && sync->into != nullptr) {
    std::memcpy(sync->into, repair->buffer, kBlockBytes);
  }
}

// Reads a block that should match, from wherever it does. With `all`, every side is tested and made
// good: what no flush covered may be on one side of a mirror only, and is about to become the
// truth.
bool PoolImpl::ReadGoodSync(uint64_t phys, uint32_t crc, bool all, uint8_t* into) {
  const bool single =
      VdevOf(phys) < devices_.vdevs().size() && devices_.vdevs()[VdevOf(phys)].sides.size() == 1;
  if (single || !all) {
    if (ReadSync(phys, 1, into) && Crc32c(into, kBlockBytes) == crc) return true;
    if (single) return false;
  }
  SyncRepair sync;
  sync.into = into;
  RepairData(phys, crc, &sync, &PoolImpl::SyncRepairDone, 0, all);
  while (!sync.ended || checkpoint_holds_ > 0) WaitIo();
  return sync.good;
}

}  // namespace ashlar
