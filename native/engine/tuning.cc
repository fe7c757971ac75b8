// What a volume gets of what the pool's volumes share: frames of the page cache, and threads that
// check what was read.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {

Status PoolImpl::Tune(uint32_t handle, const VolumeTuning& tuning) {
  VolumeState* v = FindVolume(handle);
  if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged) {
    return Status::kNotFound;
  }
  Enter();
  SetWorkers(v, std::min(tuning.io_workers, kMaxCheckWorkers));
  cache_.SetShare(&v->share, (tuning.cache_bytes + kBlockBytes - 1) / kBlockBytes);
  Leave();
  return Status::kOk;
}

// It is about to go.
void PoolImpl::Untune(VolumeState* v) {
  SetWorkers(v, 0);
  cache_.SetShare(&v->share, 0);
}

void PoolImpl::SetWorkers(VolumeState* v, uint32_t most) {
  if (most == v->lane.most) return;
  if (workers_ == nullptr) workers_ = std::make_unique<CheckWorkers>();
  workers_->SetLane(&v->lane, most);
  uint32_t threads = 0;
  for (const auto& each : volumes_) {
    if (each != nullptr) threads = std::max(threads, each->lane.most);
  }
  workers_->SetThreads(threads);
}

bool PoolImpl::Use(uint32_t handle, VolumeUse* use) const {
  const VolumeState* v = FindVolume(handle);
  if (v == nullptr || v->kind != RecordKind::kVolume) return false;
  use->cache_bytes = v->share.frames * kBlockBytes;
  use->cached_bytes = v->share.pages * kBlockBytes;
  use->cache_hits = v->share.hits;
  use->cache_misses = v->share.misses;
  if (workers_ == nullptr) return true;
  use->io_workers = std::min(v->lane.most, workers_->threads());
  use->worker_blocks = workers_->BlocksOf(v->lane);
  return true;
}

int PoolImpl::WorkersFd() const { return workers_ == nullptr ? -1 : workers_->event_fd(); }

// What was read for a volume that has workers, and is worth it. It stays in flight.
bool PoolImpl::GiveToWorkers(EngineIo* io) {
  if (io->finish != &PoolImpl::ReadIoDone || io->request.result != 0) return false;
  const uint32_t blocks = io->request.bytes / kBlockBytes;
  const Piece* piece = static_cast<const Piece*>(io->owner);
  if (blocks < kWorkerBlocks || piece->volume->lane.most == 0) return false;
  io->check.data = io->request.data;
  io->check.crc = piece->crc + io->first;
  io->check.blocks = blocks;
  io->check.lane = &piece->volume->lane;
  io->check.owner = io;
  return workers_->Submit(&io->check);
}

void PoolImpl::TakeFromWorkers() {
  for (CheckJob* job = workers_->Take(); job != nullptr;) {
    EngineIo* io = static_cast<EngineIo*>(job->owner);
    job = job->next;
    io->checked = true;
    io_done_.Push(io);
  }
}

}  // namespace ashlar
