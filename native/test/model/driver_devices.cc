// The media of a pool, how it loses its daemon, and what an operator does with devices.
#include <algorithm>

#include "native/test/model/host_op.h"

namespace ashlar::model {

namespace {
constexpr size_t kMaxDevices = 5;
}

void Driver::AddMedium(uint64_t bytes) {
  media_.push_back(std::make_unique<MemFile>(bytes, immediate_));
  if (Chance(50)) media_.back()->pick = [this](size_t n) { return Below(n); };
}

std::vector<DeviceFile> Driver::Files() const {
  std::vector<DeviceFile> files;
  for (const auto& medium : media_) {
    files.push_back({medium.get(), "device-" + std::to_string(files.size()), {}});
  }
  return files;
}

// Without a close: what media had not done yet is not done.
void Driver::Kill() {
  pool_.reset();
  for (const auto& medium : media_) medium->DropQueue();
}

bool Driver::AddDevice() {
  if (media_.size() >= kMaxDevices) return true;
  AddMedium((small_ ? 8 + Below(8) : 64 + Below(512)) << 20);
  DeviceFile file = Files().back();
  for (uint8_t& byte : file.id.bytes) byte = static_cast<uint8_t>(rng_());
  if (Do([&](DoneFn done, void* c) { pool_->AddVdev({file}, done, c); }) != Status::kOk) {
    return Fail("a device was refused");
  }
  ++counts_.devices;
  return true;
}

// Begun, or stopped on the way: what hosts do goes on meanwhile.
bool Driver::Rebalance() {
  const WalkStatus now = pool_->WalkInfo(WalkKind::kRebalance);
  const bool running = now.state == WalkState::kRunning;
  const bool stop = running && Chance(50);
  const bool cancel = Chance(50);
  CountMoves();
  const Status status = Do([&](DoneFn done, void* c) {
    stop ? pool_->StopRebalance(cancel, done, c) : pool_->StartRebalance(done, c);
  });
  if (status != Status::kOk) return Fail("a rebalance was refused");
  counts_.rebalances += !stop && !running;
  return true;
}

// A reopening goes on with the count that a checkpoint kept.
void Driver::CountMoves() {
  const uint64_t moved = pool_->WalkInfo(WalkKind::kRebalance).healed_blocks;
  if (moved > moved_) counts_.moved_blocks += moved - moved_;
  moved_ = moved;
}

}  // namespace ashlar::model
