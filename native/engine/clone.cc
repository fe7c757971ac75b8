// Clones (S14): a volume that begins as what a snapshot holds, in O(1), with versions of its own.
//
// A clone's record is logged only when both superblocks reach its snapshot: then no replay meets
// the two together, and the snapshot's pages are where its root says.
#include <algorithm>

#include "native/engine/pool_impl.h"

namespace ashlar {

void PoolImpl::CloneSnapshot(uint32_t snapshot, const Uuid& id, std::string_view name,
                             uint32_t* handle, DoneFn done, void* context) {
  Enter();
  VolumeState* s = FindVolume(snapshot);
  Status status = MayChange();
  if (status != Status::kOk) {
  } else if (s == nullptr || s->kind != RecordKind::kSnapshot || s->creating || s->delete_logged ||
             s->head->delete_logged) {
    status = Status::kNotFound;
  } else if (s->head->rolling) {
    status = Status::kBusy;  // Snapshots after the one it goes back to are about to go.
  } else if (name.empty() || name.size() > 255) {
    status = Status::kInvalid;
  } else if (by_name_.find(name) != by_name_.end()) {
    status = Status::kExists;
  }
  if (status == Status::kOk) {
    VolumeState* v = AddVolume(next_tree_, FreeSlot(), id, std::string(name), s->size_blocks);
    v->creating = true;
    v->origin = s;
    v->origin_tree = s->tree;
    s->clones.push_back(v);
    if (handle != nullptr) *handle = v->handle;
    auto* control = new ControlOp;
    control->kind = LogKind::kClone;
    control->volume = v;
    control->done = done;
    control->context = context;
    if (s->supers == 2) {
      StartControl(control);
    } else {
      ++in_flight_ops_;
      waiting_controls_.push_back({s, control});
    }
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

bool PoolImpl::MustWait(const VolumeState* snapshot, const ControlOp* control) {
  return snapshot->supers < 2 ||
         (control->kind == LogKind::kRollback && control->volume->moves > 0);
}

// After a checkpoint: what waited for its snapshot to be in both superblocks. After the last move
// of a volume: its rollback.
void PoolImpl::StartWaitingControls() {
  std::vector<std::pair<VolumeState*, ControlOp*>> waiting;
  waiting.swap(waiting_controls_);
  for (const auto& [snapshot, control] : waiting) {
    if (MustWait(snapshot, control)) {
      waiting_controls_.emplace_back(snapshot, control);
      continue;
    }
    --in_flight_ops_;
    StartControl(control);
  }
}

// The origin has been set.
void PoolImpl::ApplyClone(VolumeState* clone) {
  const VolumeState* s = clone->origin;
  clone->creating = false;
  clone->origin_birth = clone->version_base = clone->prev_birth = s->birth;
  clone->map.id = s->map.id;
  clone->map.root = s->map.root;
  clone->mapped = clone->inherited = s->mapped;
  data_mapped_ += clone->mapped;
  MarkRecord(clone);
}

}  // namespace ashlar
