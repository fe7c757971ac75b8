// Snapshots as calls and log records: groups at one instant, their order among the operations (P1),
// the lines they form.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {

constexpr size_t kMaxGroup = 4096;

template <typename T>
void Put(uint8_t** at, const T& value) {
  std::memcpy(*at, &value, sizeof value);
  *at += sizeof value;
}

uint32_t EntryBytes(const VolumeState* snapshot) {
  return static_cast<uint32_t>(sizeof(LogEntryHeader) + sizeof(LogSnapshot) +
                               ((snapshot->name.size() + 7) & ~size_t{7}));
}

}  // namespace

// --- Records ---

uint32_t PoolImpl::FreeSlot() {
  uint32_t slot = slot_hint_;
  while (slot < volumes_.size() && volumes_[slot] != nullptr) ++slot;
  slot_hint_ = slot;
  return slot;
}

VolumeState* PoolImpl::AddRecord(RecordKind kind, uint64_t tree, uint32_t slot) {
  if (volumes_.size() <= slot) volumes_.resize(slot + 1);
  volumes_[slot] = std::make_unique<VolumeState>();
  VolumeState* v = volumes_[slot].get();
  v->kind = kind;
  v->slot = slot;
  v->tree = tree;
  v->handle = (slot + 1) | static_cast<uint32_t>((tree & 0xFFF) << 20);
  v->map.role = Role::kMap;
  v->map.owner = v;
  if (kind == RecordKind::kVolume) v->map.share = &v->share;
  by_tree_[tree] = v;
  next_tree_ = std::max(next_tree_, tree + 1);
  Grow(&catalog_, std::max(catalog_.root.height, HeightFor(slot + 1)));
  return v;
}

// After the line changed elsewhere than at its end.
void PoolImpl::Relink(VolumeState* head) {
  head->newest = nullptr;
  uint64_t before = head->origin_birth;
  for (VolumeState* s : head->line) {
    if (s->kind != RecordKind::kSnapshot || s->state == RecordState::kCondemned) continue;
    s->pred_birth = before;
    before = s->birth;
    head->newest = s;
  }
  // A volume that goes takes its snapshots with it.
  head->prev_birth = head->state == RecordState::kDeleting ? head->origin_birth : before;
}

// --- Calls ---

void PoolImpl::CreateSnapshots(std::span<const SnapshotRequest> requests, uint64_t created_ms,
                               DoneFn done, void* context) {
  Enter();
  Status status = requests.empty() || requests.size() > kMaxGroup ? Status::kInvalid : MayChange();
  for (size_t i = 0; i < requests.size() && status == Status::kOk; ++i) {
    const SnapshotRequest& r = requests[i];
    const VolumeState* v = FindVolume(r.volume);
    if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged) {
      status = Status::kNotFound;
    } else if (v->rolling || v->promoting) {
      status = Status::kBusy;
    } else if (r.name.empty() || r.name.size() > 255) {
      status = Status::kInvalid;
    } else if (v->snapshots.find(r.name) != v->snapshots.end()) {
      status = Status::kExists;
    }
    for (size_t k = 0; k < i && status == Status::kOk; ++k) {
      if (requests[k].volume == r.volume) status = Status::kInvalid;
    }
  }
  if (status == Status::kOk) {
    auto* control = new ControlOp;
    control->kind = LogKind::kSnapshot;
    control->created_ms = created_ms;
    control->done = done;
    control->context = context;
    for (const SnapshotRequest& r : requests) {
      VolumeState* v = FindVolume(r.volume);
      VolumeState* s = AddRecord(RecordKind::kSnapshot, next_tree_, FreeSlot());
      s->creating = true;
      s->head = v;
      s->head_tree = v->tree;
      s->id = r.id;
      s->name = r.name;
      s->created_ms = created_ms;
      v->snapshots[s->name] = s;
      control->targets.push_back({v, s, r.version});
      if (r.handle != nullptr) *r.handle = s->handle;
    }
    BeginSnapshots(control);
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::DeleteSnapshot(uint32_t handle, DoneFn done, void* context) {
  Enter();
  VolumeState* s = FindVolume(handle);
  Status status = MayChange();
  if (status == Status::kOk) {
    if (s == nullptr || s->kind != RecordKind::kSnapshot || s->creating || s->delete_logged ||
        s->head->delete_logged) {
      status = Status::kNotFound;
    } else if (s->head->rolling || s->head->promoting) {
      status = Status::kBusy;
    } else if (HasLiveClones(s)) {
      status = Status::kHasClones;
    }
  }
  if (status == Status::kOk) {
    s->delete_logged = true;
    auto* control = new ControlOp;
    control->kind = LogKind::kDeleteSnapshot;
    control->volume = s;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

std::vector<SnapshotInfo> PoolImpl::Snapshots(uint32_t volume) const {
  std::vector<SnapshotInfo> all;
  const VolumeState* v = FindVolume(volume);
  if (v == nullptr || v->kind != RecordKind::kVolume) return all;
  for (const VolumeState* s : v->line) {
    SnapshotInfo info;
    if (Snapshot(s->handle, &info)) all.push_back(std::move(info));
  }
  return all;
}

bool PoolImpl::Snapshot(uint32_t handle, SnapshotInfo* info) const {
  const VolumeState* s = FindVolume(handle);
  if (s == nullptr || s->kind != RecordKind::kSnapshot || s->creating) return false;
  info->handle = s->handle;
  info->volume = s->head->handle;
  info->id = s->id;
  info->name = s->name;
  info->size_blocks = s->size_blocks;
  info->mapped_blocks = s->mapped;
  info->version = s->version;
  info->created_ms = s->created_ms;
  info->unique_blocks = s->unique;
  info->written_blocks = s->written;
  info->settled = !s->recount;
  info->deleting = s->delete_logged;
  for (const VolumeState* c : s->clones) {
    if (!c->delete_logged) info->clones.push_back(c->handle);
  }
  return true;
}

// --- Order (P1) ---

// Every change that was submitted before comes first; those that come after wait behind the
// record.
void PoolImpl::BeginSnapshots(ControlOp* control) {
  for (const ControlOp::Target& t : control->targets) {
    ++t.volume->in_flight;
    ++t.volume->snapshots_begun;
    control->waits += t.volume->unlogged;
    t.volume->snapshots_waiting.emplace_back(t.volume->snapshots_begun, control);
  }
}

// All of a change is in the log, or it failed.
void PoolImpl::OpLogged(OpState* state) {
  if (state->logged) return;
  state->logged = true;
  --state->volume->unlogged;
  for (auto& [begun, control] : state->volume->snapshots_waiting) {
    if (state->snapshots_begun < begun) --control->waits;
  }
}

void PoolImpl::ForgetWaiting(ControlOp* control) {
  for (const ControlOp::Target& t : control->targets) {
    std::erase_if(t.volume->snapshots_waiting,
                  [control](const auto& waiting) { return waiting.second == control; });
  }
}

// One entry a volume, in a row. They are applied together, so a cut never falls between them.
void PoolImpl::AppendSnapshots(Piece* piece) {
  ControlOp* c = piece->control;
  ForgetWaiting(c);
  const auto count = static_cast<uint32_t>(c->targets.size());
  LogBlock* first = nullptr;
  std::vector<LogBlock*> blocks;
  for (uint32_t i = 0; i < count; ++i) {
    const ControlOp::Target& t = c->targets[i];
    LogEntryHeader header{};
    header.kind = LogKind::kSnapshot;
    header.bytes = static_cast<uint16_t>(EntryBytes(t.snapshot));
    header.tree = t.volume->tree;
    header.version = t.version;
    LogSnapshot body{};
    body.snapshot_tree = t.snapshot->tree;
    body.created_ms = c->created_ms;
    body.id = t.snapshot->id;
    body.group_index = i;
    body.group_count = count;
    body.name_bytes = static_cast<uint32_t>(t.snapshot->name.size());
    // The piece ends with the last of them.
    uint8_t* at = AppendEntry(i + 1 == count ? piece : nullptr, header.bytes);
    Put(&at, header);
    Put(&at, body);
    std::memcpy(at, t.snapshot->name.data(), t.snapshot->name.size());
    if (first == nullptr) first = open_log_;
    if (blocks.empty() || blocks.back() != open_log_) blocks.push_back(open_log_);
  }
  for (LogBlock* block : blocks) block->group_end = blocks.back()->sequence;
}

// --- Application ---

// In O(1) a volume: the root is retained, the deadlist handed over.
void PoolImpl::ApplySnapshots(const std::vector<ControlOp::Target>& targets) {
  const uint64_t birth = generation_;
  for (const auto& [v, s, version] : targets) {
    v->version = std::max(v->version, version);
    s->creating = false;
    s->birth = birth;
    s->pred_birth = v->prev_birth;
    s->size_blocks = s->pending_size = v->size_blocks;
    s->mapped = v->mapped;
    s->version = version;
    s->hole_floor = v->hole_floor;
    s->version_base = v->version_base;
    s->created_generation = birth;
    s->written = v->written;
    v->written = 0;
    s->map.id = v->map.id;
    s->map.root = v->map.root;
    s->dead = std::move(v->dead);
    s->dead->tree.owner = s;
    v->dead = NewDeadList(v, v->tree);
    v->line.push_back(s);
    v->pending.push_back(s);
    v->newest = s;
    v->prev_birth = v->map.barrier = birth;
    MarkRecord(v);
    MarkRecord(s);
  }
  // By two: the next superblock keeps its slot (S3).
  generation_ += 2;
  want_checkpoint_ = true;
}

void PoolImpl::FinishSnapshots(ControlOp* control, Status status) {
  ForgetWaiting(control);
  for (const ControlOp::Target& t : control->targets) {
    --t.volume->in_flight;
    if (status == Status::kOk || !t.snapshot->creating) continue;
    t.volume->snapshots.erase(t.snapshot->name);
    by_tree_.erase(t.snapshot->tree);
    slot_hint_ = std::min(slot_hint_, t.snapshot->slot);
    volumes_[t.snapshot->slot].reset();
  }
}

void PoolImpl::ApplyDeleteSnapshot(VolumeState* snapshot) {
  snapshot->state = RecordState::kDeleting;
  snapshot->delete_logged = true;
  auto it = snapshot->head->snapshots.find(snapshot->name);
  if (it != snapshot->head->snapshots.end() && it->second == snapshot) {
    snapshot->head->snapshots.erase(it);
  }
  MarkRecord(snapshot);
  reclaim_.push_back(snapshot);
}

// Operations on snapshots that a superblock reaches by now.
void PoolImpl::ServeParked() {
  std::vector<Op*> ops;
  ops.swap(parked_);
  for (Op* op : ops) {
    --in_flight_ops_;
    Submit(op);
  }
}

// --- Opening ---

Status PoolImpl::LoadRecord(uint32_t slot, Page* page, std::string* why) {
  const CatalogLeaf record = *reinterpret_cast<const CatalogLeaf*>(page->data);
  if (record.state == RecordState::kFree) return Status::kOk;
  const uint64_t leaves = (record.size_blocks + kLeafEntries - 1) / kLeafEntries;
  const bool low = record.kind != RecordKind::kSegment && record.map.height < HeightFor(leaves);
  if (low || by_tree_.count(record.tree) != 0) return Status::kCorrupt;
  const LineRecord& line = record.line;
  const std::string name(record.name, record.name_bytes);
  VolumeState* v = record.kind == RecordKind::kVolume
                       ? AddVolume(record.tree, slot, record.id, name, record.size_blocks)
                       : AddRecord(record.kind, record.tree, slot);
  v->id = record.id;
  v->name = name;
  v->size_blocks = v->pending_size = record.size_blocks;
  v->state = record.state;
  v->map.id = line.map_tree;
  v->map.root = record.map;
  v->blobs.tree.root = record.blobs;
  v->mapped = record.mapped_blocks;
  v->version = record.version;
  v->hole_floor = record.hole_floor;
  v->progress.Load(record.progress);
  v->created_generation = record.created_generation;
  v->birth = line.birth;
  v->head_tree = line.head_tree;
  v->origin_tree = record.origin_tree;
  v->origin_birth = line.origin_birth;
  v->version_base = line.version_base;
  v->created_ms = line.created_ms;
  v->written = line.written;
  v->unique = line.unique;
  v->unique_data = line.unique_data;
  v->inherited = line.inherited;
  v->recount = (record.flags & kRecordRecount) != 0;
  v->rollback_version = line.rollback_version;
  v->supers = 2;
  v->dead = NewDeadList(v, line.dead_tree);
  v->dead->tree.root = line.dead;
  v->dead->leaves = line.dead_leaves;
  v->dead->blocks = line.dead_blocks;
  dead_blocks_ += line.dead_blocks;
  v->delete_logged = v->state == RecordState::kDeleting || v->state == RecordState::kCondemned;
  if (v->kind != RecordKind::kVolume) return Status::kOk;
  v->record = page;
  ++page->pins;
  data_mapped_ += v->mapped;
  return v->state == RecordState::kDeleting ? Status::kOk : LoadBlobs(&v->blobs, why);
}

// Snapshots to their volumes, clones to their origins, in order.
Status PoolImpl::LinkLines() {
  for (const auto& record : volumes_) {
    VolumeState* v = record.get();
    if (v == nullptr) continue;
    if (v->origin_tree != 0) {
      v->origin = FindTree(v->origin_tree);
      if (v->kind != RecordKind::kVolume || v->origin == nullptr ||
          v->origin->kind != RecordKind::kSnapshot || v->origin_birth != v->origin->birth) {
        return Status::kCorrupt;
      }
      v->origin->clones.push_back(v);
    }
    v->rolling = v->state == RecordState::kRollingBack;
    const bool recount = v->recount && v->kind == RecordKind::kSnapshot;
    if (v->state == RecordState::kDeleting || v->state == RecordState::kCondemned || recount ||
        v->rolling) {
      reclaim_.push_back(v);
    }
    if (v->kind == RecordKind::kVolume) continue;
    v->head = FindTree(v->head_tree);
    if (v->head == nullptr || v->head->kind != RecordKind::kVolume) return Status::kCorrupt;
    v->head->line.push_back(v);
    if (v->kind == RecordKind::kSnapshot && v->state == RecordState::kLive) {
      v->head->snapshots[v->name] = v;
    }
  }
  for (const auto& record : volumes_) {
    VolumeState* v = record.get();
    if (v == nullptr || v->kind != RecordKind::kVolume) continue;
    std::sort(v->line.begin(), v->line.end(),
              [](const VolumeState* a, const VolumeState* b) { return a->birth < b->birth; });
    // Each begins where the one before ends.
    uint64_t before = v->origin_birth;
    for (const VolumeState* s : v->line) {
      if (s->birth <= before || s->birth >= sb_.generation) return Status::kCorrupt;
      before = s->birth;
    }
    Relink(v);
    if (v->rolling && v->newest == nullptr) return Status::kCorrupt;
  }
  // Whoever follows a clone's origins comes to an end.
  for (const auto& record : volumes_) {
    size_t steps = 0;
    for (const VolumeState* v = record.get(); v != nullptr && v->origin != nullptr;) {
      v = v->origin->head;
      if (++steps > volumes_.size()) return Status::kCorrupt;
    }
  }
  return Status::kOk;
}

}  // namespace ashlar
