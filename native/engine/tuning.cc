// What a volume gets of what the pool's volumes share: frames of the page cache.
#include "native/engine/pool_impl.h"

namespace ashlar {

Status PoolImpl::Tune(uint32_t handle, const VolumeTuning& tuning) {
  VolumeState* v = FindVolume(handle);
  if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged) {
    return Status::kNotFound;
  }
  Enter();
  cache_.SetShare(&v->share, (tuning.cache_bytes + kBlockBytes - 1) / kBlockBytes);
  Leave();
  return Status::kOk;
}

bool PoolImpl::Use(uint32_t handle, VolumeUse* use) const {
  const VolumeState* v = FindVolume(handle);
  if (v == nullptr || v->kind != RecordKind::kVolume) return false;
  use->cache_bytes = v->share.frames * kBlockBytes;
  use->cached_bytes = v->share.pages * kBlockBytes;
  use->cache_hits = v->share.hits;
  use->cache_misses = v->share.misses;
  return true;
}

}  // namespace ashlar
