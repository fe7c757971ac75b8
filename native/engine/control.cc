// Volumes and blobs, as calls and log records. Each change is a log record, flushed before its
// `done`.
#include <algorithm>
#include <cassert>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {

template <typename T>
void Put(uint8_t** at, const T& value) {
  std::memcpy(*at, &value, sizeof value);
  *at += sizeof value;
}

// Whether calls may change a volume. What is called behind a rollback that waits would be logged
// before it.
Status MayEdit(const VolumeState* v) {
  if (v == nullptr || v->kind != RecordKind::kVolume || v->creating || v->delete_logged) {
    return Status::kNotFound;
  }
  if (v->rolling) return Status::kBusy;
  return v->state == RecordState::kLive ? Status::kOk : Status::kNotFound;
}

}  // namespace

uint32_t PoolImpl::HeightFor(uint64_t leaves) {
  uint32_t height = 0;
  while (height < kMaxHeight && (leaves - 1) >> (kFanOutBits * height) != 0) ++height;
  return height;
}

VolumeState* PoolImpl::AddVolume(uint64_t tree, uint32_t slot, const Uuid& id, std::string name,
                                 uint64_t size_blocks) {
  VolumeState* v = AddRecord(RecordKind::kVolume, tree, slot);
  v->id = id;
  v->name = std::move(name);
  v->size_blocks = v->pending_size = size_blocks;
  v->created_generation = generation_;
  v->map.id = tree;
  v->map.root.height = HeightFor((size_blocks + kLeafEntries - 1) / kLeafEntries);
  v->blobs.tree.role = Role::kBlob;
  v->blobs.tree.id = tree;
  v->blobs.tree.owner = v;
  v->blobs.tree.root.height = 1;  // 64 keys. It grows with more.
  v->dead = NewDeadList(v, tree);
  by_name_[v->name] = v;
  return v;
}

// Whether control calls that change something are answered at all.
Status PoolImpl::MayChange() const {
  if (state_ == PoolState::kFaulted) return Status::kIoError;
  if (state_ == PoolState::kClosed || closing_) return Status::kOffline;
  return options_.read_only ? Status::kReadOnly : Status::kOk;
}

void PoolImpl::SetSize(VolumeState* volume, uint64_t size_blocks) {
  volume->size_blocks = size_blocks;
  volume->pending_size = std::max(volume->pending_size, size_blocks);
  MarkRecord(volume);
  Grow(&volume->map, HeightFor((size_blocks + kLeafEntries - 1) / kLeafEntries));
}

void PoolImpl::CreateVolume(const Uuid& id, std::string_view name, uint64_t size_blocks,
                            uint32_t* handle, DoneFn done, void* context, uint64_t hole_floor) {
  Enter();
  Status status = MayChange();
  const uint32_t slot = FreeSlot();
  if (status != Status::kOk) {
  } else if (name.empty() || name.size() > 255 || size_blocks == 0 ||
             size_blocks > kPhysBlockMask) {
    status = Status::kInvalid;
  } else if (by_name_.find(name) != by_name_.end()) {
    status = Status::kExists;
  } else if (slot >= kMaxRecords) {
    status = Status::kNoSpace;
  }
  if (status == Status::kOk) {
    VolumeState* v = AddVolume(next_tree_, slot, id, std::string(name), size_blocks);
    v->creating = true;
    v->hole_floor = hole_floor;
    if (handle != nullptr) *handle = v->handle;
    auto* control = new ControlOp;
    control->kind = LogKind::kCreate;
    control->volume = v;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::ResizeVolume(uint32_t handle, uint64_t size_blocks, DoneFn done, void* context) {
  Enter();
  VolumeState* v = FindVolume(handle);
  Status status = MayChange();
  if (status == Status::kOk) status = MayEdit(v);
  if (status != Status::kOk) {
  } else if (size_blocks < v->pending_size || size_blocks > kPhysBlockMask) {
    status = Status::kInvalid;
  }
  if (status == Status::kOk) {
    v->pending_size = size_blocks;
    auto* control = new ControlOp;
    control->kind = LogKind::kResize;
    control->volume = v;
    control->size_blocks = size_blocks;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::DeleteVolume(uint32_t handle, DoneFn done, void* context, bool with_snapshots) {
  Enter();
  VolumeState* v = FindVolume(handle);
  Status status = MayChange();
  if (status == Status::kOk) status = MayEdit(v);
  if (status == Status::kOk && v->promoting) status = Status::kBusy;
  if (status == Status::kOk) {
    for (const auto& [name, snapshot] : v->snapshots) {
      if (!with_snapshots) status = Status::kHasSnapshots;
      if (HasLiveClones(snapshot)) status = Status::kHasClones;
      if (snapshot->creating) status = Status::kBusy;
      if (status == Status::kHasClones) break;
    }
  }
  if (status == Status::kOk) {
    v->delete_logged = true;
    auto* control = new ControlOp;
    control->kind = LogKind::kDelete;
    control->volume = v;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::PutBlob(uint32_t handle, std::string_view key, std::span<const uint8_t> value,
                       DoneFn done, void* context) {
  Enter();
  VolumeState* v = handle == 0 ? nullptr : FindVolume(handle);
  BlobStore* store = handle == 0 ? &pool_blobs_ : v != nullptr ? &v->blobs : nullptr;
  Status status = MayChange();
  uint64_t slot = 0;
  if (status == Status::kOk && handle != 0) status = MayEdit(v);
  if (status != Status::kOk) {
  } else if (key.empty() || key.size() > kBlobKeyBytes || value.size() > kBlobBytes) {
    status = Status::kInvalid;
  } else if (auto it = store->slots.find(key); it != store->slots.end()) {
    slot = it->second;
  } else if (value.empty()) {
    // Nothing to remove. Yet `done` promises durability of what came before: there is nothing of
    // it.
    CompleteControl(done, context, Status::kOk);
    Leave();
    return;
  } else {
    std::vector<bool> taken(kMaxBlobs);
    for (const auto& [k, s] : store->slots) taken[s] = true;
    slot = static_cast<uint64_t>(std::find(taken.begin(), taken.end(), false) - taken.begin());
    if (slot >= kMaxBlobs) status = Status::kNoSpace;
  }
  if (status == Status::kOk) {
    store->slots[std::string(key)] = slot;
    ++store->coming[std::string(key)];
    auto* control = new ControlOp;
    control->kind = LogKind::kPutBlob;
    control->volume = v;
    control->store = store;
    control->key = std::string(key);
    control->value.assign(value.begin(), value.end());
    control->slot = slot;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::SetMarks(uint32_t handle, const VolumeMarks& marks, DoneFn done, void* context) {
  Enter();
  VolumeState* v = FindVolume(handle);
  Status status = MayChange();
  if (status == Status::kOk) status = MayEdit(v);
  if (status != Status::kOk) {
  } else if (!marks.set_hole_floor && !marks.set_contig) {
    status = Status::kInvalid;
  }
  if (status == Status::kOk) {
    auto* control = new ControlOp;
    control->kind = LogKind::kMarks;
    control->volume = v;
    control->marks = marks;
    control->done = done;
    control->context = context;
    StartControl(control);
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

void PoolImpl::ApplyMarks(VolumeState* volume, const VolumeMarks& marks) {
  if (marks.set_hole_floor) volume->hole_floor = marks.hole_floor;
  if (marks.set_contig) volume->progress.Set(marks.contig);
  MarkRecord(volume);
}

// Each block in a leaf of its own is the worst case: itself, the leaf's two copies, and a share of
// the pages above.
uint64_t PoolImpl::CreditBlocks() const {
  const uint64_t owed = growth_reserve_ + OwedBlocks() + 512;
  const uint64_t soon = FreeSoon();
  return soon <= owed ? 0 : (soon - owed) * 4 / 13;
}

std::vector<Uuid> PoolImpl::OpenIds() const {
  return {sb_.open_ids, sb_.open_ids + sb_.open_id_count};
}

void PoolImpl::StartControl(ControlOp* control) {
  Piece* piece = NewPiece(PieceKind::kControl, nullptr);
  piece->control = control;
  piece->lba = 0;
  piece->blocks = (control->value.size() + kBlockBytes - 1) / kBlockBytes;
  if (control->volume != nullptr) ++control->volume->in_flight;
  ++in_flight_ops_;
  if (!ready_.empty() || !stalled_.empty() || TryStartControl(piece) == Admission::kWait) {
    stalled_.Push(piece);
  }
}

// Records stay, and with them the pages of their lists: never out of the reserve, which is for what
// gives back.
bool PoolImpl::MayGrow(const Piece* piece) const {
  // Settings are what a volume that is full is told, too; and what gives back needs the last of it.
  const bool setting = piece->control->kind == LogKind::kPutBlob;
  const uint64_t kept = setting ? reserve_ / 8 : reserve_;
  return FreeSoon() >= kept + OwedBlocks() + piece->blocks + 2 * PagesOf(piece);
}

PoolImpl::Admission PoolImpl::TryStartControl(Piece* piece) {
  ControlOp* c = piece->control;
  if (c->kind == LogKind::kSnapshot) {
    if (c->waits > 0 && !Mutated(Mutant::kSnapshotOvertakes)) return Admission::kWait;
    if (!MayGrow(piece)) {
      if (owed_pages_ > 0) return Admission::kWait;
      FinishPiece(piece, Status::kNoSpace);
      return Admission::kDone;
    }
    // What comes back soon is not there for the checkpoint that brings it back.
    if (FreeNow() < CheckpointNeed() + 2 * (owed_pages_ + PagesOf(piece))) {
      const Admission room = HasRoom(0, 0, PagesOf(piece));
      if (room == Admission::kWait) return room;
      if (room == Admission::kDone) {
        FinishPiece(piece, Status::kNoSpace);
        return room;
      }
    }
    // Each entry in a block of its own is more than enough.
    if (!LogHasBlocks(c->targets.size() + 1)) {
      want_checkpoint_ = true;
      return Admission::kWait;
    }
    AppendSnapshots(piece);
    return Admission::kGo;
  }
  const bool stays = c->kind == LogKind::kCreate || c->kind == LogKind::kClone ||
                     (c->kind == LogKind::kPutBlob && piece->blocks > 0);
  if (stays && !MayGrow(piece)) {
    if (owed_pages_ > 0) return Admission::kWait;
    FinishPiece(piece, Status::kNoSpace);
    return Admission::kDone;
  }
  uint32_t bytes = sizeof(LogEntryHeader);
  if (c->kind == LogKind::kCreate || c->kind == LogKind::kClone)
    bytes += sizeof(LogCreate) + ((c->volume->name.size() + 7) & ~7u);
  if (c->kind == LogKind::kPutBlob) bytes += sizeof(LogBlob);
  Admission room = HasRoom(piece->blocks, bytes, PagesOf(piece));
  if (room == Admission::kWait) return room;
  // What takes no blocks goes on all the same where no checkpoint helps any more.
  if (room == Admission::kDone && piece->blocks > 0) {
    FinishPiece(piece, Status::kNoSpace);
    return room;
  }
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  for (uint32_t at = 0; at < blocks;) {
    PhysRun run{};
    if (!AllocRun(&data_, blocks - at, &run)) {
      Fault("space map: free blocks miscounted");
      FinishPiece(piece, Status::kIoError);
      return Admission::kDone;
    }
    piece->runs.push_back(run);
    at += run.blocks;
  }
  uint8_t* at = AppendEntry(piece, bytes);
  LogEntryHeader header{};
  header.kind = c->kind;
  header.bytes = static_cast<uint16_t>(bytes);
  header.blocks = static_cast<uint16_t>(blocks);
  header.tree = c->volume != nullptr ? c->volume->tree : 0;
  if (c->kind == LogKind::kCreate || c->kind == LogKind::kClone) {
    header.version = c->volume->origin_tree;
    header.lba = c->volume->slot;
    header.count = c->volume->size_blocks;
    Put(&at, header);
    LogCreate create{};
    create.id = c->volume->id;
    create.hole_floor = c->volume->hole_floor;
    create.name_bytes = static_cast<uint32_t>(c->volume->name.size());
    Put(&at, create);
    std::memcpy(at, c->volume->name.data(), c->volume->name.size());
  } else if (c->kind == LogKind::kPutBlob) {
    header.lba = c->slot;
    header.count = c->value.size();
    Put(&at, header);
    LogBlob blob{};
    blob.key_bytes = static_cast<uint8_t>(c->key.size());
    std::memcpy(blob.key, c->key.data(), c->key.size());
    if (blocks > 0) {
      c->buffer = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes));
      if (c->buffer == nullptr) std::abort();
      std::memset(c->buffer, 0, blocks * kBlockBytes);
      std::memcpy(c->buffer, c->value.data(), c->value.size());
    }
    uint32_t i = 0;
    for (const PhysRun& run : piece->runs) {
      for (uint32_t k = 0; k < run.blocks; ++k, ++i) {
        blob.phys[i] = run.phys + k;
        blob.crc[i] = piece->crc[i] = Crc32c(c->buffer + i * kBlockBytes, kBlockBytes);
      }
    }
    Put(&at, blob);
  } else if (c->kind == LogKind::kMarks) {
    header.flags =
        static_cast<uint8_t>((c->marks.set_hole_floor ? 1 : 0) | (c->marks.set_contig ? 2 : 0));
    header.version = c->marks.contig;
    header.count = c->marks.hole_floor;
    Put(&at, header);
  } else {
    header.count = c->kind == LogKind::kRollback ? c->snapshot->tree : c->size_blocks;
    header.version = c->version;
    Put(&at, header);
  }
  piece->ios = static_cast<uint32_t>(piece->runs.size());
  if (piece->ios > 0) ++open_log_->pending;
  uint32_t first = 0;
  const size_t runs = piece->runs.size();
  for (size_t i = 0; i < runs; ++i) {
    const PhysRun& run = piece->runs[i];
    SubmitIo(IoKind::kWrite, run.phys, run.blocks, c->buffer + first * kBlockBytes, piece,
             &PoolImpl::ControlIoDone);
    first += run.blocks;
  }
  return Admission::kGo;
}

void PoolImpl::ControlIoDone(EngineIo* io) {
  Piece* piece = static_cast<Piece*>(io->owner);
  const int32_t result = io->request.result;
  if (result != 0) {
    ++io_errors_;
    if (++io->tries < 3 && !Faulted()) {
      // Settings are few and small: the same place again, then the pool is no good.
      return Resubmit(io);
    }
    piece->io_failed = true;
  }
  FreeIo(io);
  if (--piece->ios > 0) return;
  if (Faulted()) return FinishPiece(piece, Status::kIoError);
  if (piece->io_failed) return Fault("a settings block could not be written");
  --piece->log->pending;
  AdvanceApply();
}

void PoolImpl::ApplyControl(Piece* piece) {
  ControlOp* c = piece->control;
  switch (c->kind) {
    case LogKind::kCreate:
      c->volume->creating = false;
      MarkRecord(c->volume);
      break;
    case LogKind::kResize:
      SetSize(c->volume, std::max(c->volume->size_blocks, c->size_blocks));
      break;
    case LogKind::kMarks:
      ApplyMarks(c->volume, c->marks);
      break;
    case LogKind::kDelete:
      ApplyDelete(c->volume);
      break;
    case LogKind::kSnapshot:
      ApplySnapshots(c->targets);
      break;
    case LogKind::kDeleteSnapshot:
      ApplyDeleteSnapshot(c->volume);
      break;
    case LogKind::kClone:
      ApplyClone(c->volume);
      break;
    case LogKind::kPromote:
      ApplyPromote(c->volume);
      break;
    case LogKind::kRollback:
      // `done` is told at the end of it.
      c->volume->rolled_done = c->done;
      c->volume->rolled_context = c->context;
      c->done = nullptr;
      ApplyRollback(c->volume, c->snapshot, c->version);
      break;
    case LogKind::kRolledBack:
      ApplyRolledBack(c->volume);
      break;
    default: {
      uint64_t phys[kBlobBlocks] = {};
      uint32_t i = 0;
      for (const PhysRun& run : piece->runs) {
        ApplyAlloc(run);
        for (uint32_t k = 0; k < run.blocks; ++k) phys[i++] = run.phys + k;
      }
      ApplyBlob(c->store, c->key, c->slot, c->value, phys, piece->crc);
      break;
    }
  }
  RequestFlush(&PoolImpl::ControlFlushed, piece);
}

void PoolImpl::ApplyDelete(VolumeState* volume) {
  volume->state = RecordState::kDeleting;
  volume->delete_logged = true;
  auto it = by_name_.find(volume->name);
  if (it != by_name_.end() && it->second == volume) by_name_.erase(it);
  for (VolumeState* s : volume->line) {
    s->delete_logged = true;
    std::erase(reclaim_, s);
  }
  volume->snapshots.clear();
  Relink(volume);
  MarkRecord(volume);
  reclaim_.push_back(volume);
}

void PoolImpl::ControlFlushed(void* context, Status status) {
  FinishPiece(static_cast<Piece*>(context), status);
}

void PoolImpl::FinishControl(Piece* piece, Status status) {
  ControlOp* c = piece->control;
  if (c->volume != nullptr) --c->volume->in_flight;
  --in_flight_ops_;
  if (c->kind == LogKind::kSnapshot) FinishSnapshots(c, status);
  if (status != Status::kOk && c->kind == LogKind::kRollback) c->volume->rolling = false;
  if (c->kind == LogKind::kPromote) c->volume->promoting = c->from->promoting = false;
  if (status == Status::kNoSpace && c->kind == LogKind::kClone) {
    std::erase(c->volume->origin->clones, c->volume);
  }
  if (status == Status::kNoSpace && (c->kind == LogKind::kCreate || c->kind == LogKind::kClone)) {
    by_name_.erase(c->volume->name);
    by_tree_.erase(c->volume->tree);
    slot_hint_ = std::min(slot_hint_, c->volume->slot);
    volumes_[c->volume->slot].reset();
  } else if (status == Status::kNoSpace &&
             (c->kind == LogKind::kDelete || c->kind == LogKind::kDeleteSnapshot)) {
    c->volume->delete_logged = false;
  } else if (c->kind == LogKind::kPutBlob && --c->store->coming[c->key] == 0) {
    c->store->coming.erase(c->key);
    if (c->store->blobs.find(c->key) == c->store->blobs.end()) c->store->slots.erase(c->key);
  }
  CompleteControl(c->done, c->context, status);
  std::free(c->buffer);
  delete c;
  FreePiece(piece);
}

// All blob pages that exist are pinned, so a tree's inner pages are in memory and nothing here
// waits.
void PoolImpl::ApplyBlob(BlobStore* store, const std::string& key, uint64_t slot,
                         std::vector<uint8_t> value, const uint64_t* phys, const uint32_t* crc) {
  Grow(&store->tree, std::max(store->tree.root.height, HeightFor(slot + 1)));
  Page* page = nullptr;
  Got got = GetOrCreate(&store->tree, slot, nullptr, &page);
  if (got != Got::kHere) return Fault("a settings page went missing");
  auto* leaf = reinterpret_cast<BlobLeaf*>(page->data);
  const bool was = leaf->bytes > 0;
  Touch(page);
  leaf = reinterpret_cast<BlobLeaf*>(page->data);
  for (uint32_t i = 0; i * kBlockBytes < leaf->bytes; ++i) FreeRun(leaf->phys[i], 1);
  const PageHeader kept = leaf->header;
  *leaf = BlobLeaf{};
  leaf->header = kept;
  if (value.empty()) {
    store->blobs.erase(key);
    // Else whoever comes to it last gives it away.
    if (store->coming.find(key) == store->coming.end()) store->slots.erase(key);
    if (was) --page->pins;
    return;
  }
  if (!was) ++page->pins;
  leaf->bytes = static_cast<uint32_t>(value.size());
  leaf->key_bytes = static_cast<uint8_t>(key.size());
  std::memcpy(leaf->key, key.data(), key.size());
  const uint32_t blocks = (leaf->bytes + kBlockBytes - 1) / kBlockBytes;
  for (uint32_t i = 0; i < blocks; ++i) {
    leaf->phys[i] = phys[i];
    leaf->crc[i] = crc[i];
  }
  store->slots[key] = slot;
  store->blobs[key] = Blob{slot, std::move(value)};
}

bool PoolImpl::GetBlob(uint32_t handle, std::string_view key, std::vector<uint8_t>* value) const {
  const VolumeState* v = handle == 0 ? nullptr : FindVolume(handle);
  const BlobStore* store = handle == 0 ? &pool_blobs_ : v != nullptr ? &v->blobs : nullptr;
  if (store == nullptr) return false;
  auto it = store->blobs.find(key);
  if (it == store->blobs.end()) return false;
  *value = it->second.value;
  return true;
}

std::vector<std::string> PoolImpl::BlobKeys(uint32_t handle) const {
  std::vector<std::string> keys;
  const VolumeState* v = handle == 0 ? nullptr : FindVolume(handle);
  const BlobStore* store = handle == 0 ? &pool_blobs_ : v != nullptr ? &v->blobs : nullptr;
  if (store == nullptr) return keys;
  for (const auto& [key, blob] : store->blobs) keys.push_back(key);
  return keys;
}

std::vector<VolumeInfo> PoolImpl::Volumes() const {
  std::vector<VolumeInfo> all;
  for (const auto& v : volumes_) {
    VolumeInfo info;
    if (v != nullptr && Volume(v->handle, &info)) all.push_back(std::move(info));
  }
  return all;
}

bool PoolImpl::Volume(uint32_t handle, VolumeInfo* info) const {
  const VolumeState* v = FindVolume(handle);
  if (v == nullptr || v->kind != RecordKind::kVolume || v->creating) return false;
  info->handle = v->handle;
  info->id = v->id;
  info->name = v->name;
  info->size_blocks = v->size_blocks;
  info->mapped_blocks = v->mapped;
  info->version = v->version;
  info->deleting = v->state == RecordState::kDeleting;
  info->contig = v->progress.contig();
  info->durable = std::min(v->durable_contig, info->contig);
  info->hole_floor = v->hole_floor;
  info->written_blocks = v->written;
  info->inherited_blocks = v->inherited;
  info->origin = v->origin != nullptr ? v->origin->handle : 0;
  info->rolling_back = v->state == RecordState::kRollingBack;
  info->snapshot_blocks = v->dead->blocks;
  for (const VolumeState* s : v->line) info->snapshot_blocks += s->dead->blocks;
  return true;
}

// --- Map status ---

void PoolImpl::MapStatus(uint32_t handle, uint64_t lba, uint32_t max_runs,
                         std::vector<MapRun>* runs, DoneFn done, void* context) {
  Enter();
  runs->clear();
  const VolumeState* v = FindVolume(handle);
  Status status = Status::kOk;
  if (Faulted()) {
    status = Status::kIoError;
  } else if (state_ == PoolState::kClosed || closing_) {
    status = Status::kOffline;
  } else if (v == nullptr || v->kind == RecordKind::kSegment || v->creating || v->delete_logged) {
    status = Status::kNotFound;
  } else if (v->state == RecordState::kRollingBack) {
    status = Status::kBusy;
  } else if (lba >= v->size_blocks || max_runs == 0) {
    status = Status::kOutOfRange;
  }
  if (status == Status::kOk) {
    map_status_.push_back({handle, lba, max_runs, runs, done, context, 0});
    StepMapStatus();
  } else {
    CompleteControl(done, context, status);
  }
  Leave();
}

// The front one, as far as pages in memory lead; the next Poll goes on. At most so many leaves are
// looked at: a caller wants the state around an address, and may ask again.
void PoolImpl::StepMapStatus() {
  constexpr uint32_t kMaxLeaves = 1024;
  while (!map_status_.empty()) {
    MapStatusOp& m = map_status_.front();
    VolumeState* v = FindVolume(m.handle);
    Status status = v == nullptr || v->delete_logged ? Status::kNotFound : Status::kOk;
    if (status == Status::kOk && !Readable(v)) return;
    auto add = [&m](uint64_t blocks, bool mapped) {
      if (!m.runs->empty() && m.runs->back().mapped == mapped) {
        m.runs->back().blocks += blocks;
      } else if (m.runs->size() == m.max_runs) {
        return false;
      } else {
        m.runs->push_back({m.lba, blocks, mapped});
      }
      m.lba += blocks;
      return true;
    };
    bool more = status == Status::kOk;
    while (more && m.lba < v->size_blocks && m.leaves < kMaxLeaves) {
      const uint64_t index = m.lba >> kLeafBits;
      if (const uint64_t span = NullSpan(&v->map, index)) {
        uint64_t end = std::min((index / span + 1) * span << kLeafBits, v->size_blocks);
        more = add(end - m.lba, false);
        continue;
      }
      Page* page = nullptr;
      Got got = GetPage(&v->map, 0, index, nullptr, &page);
      if (got == Got::kLoading) return;
      if (got == Got::kBad) {
        status = m.runs->empty() ? Status::kDamaged : Status::kOk;
        break;
      }
      ++m.leaves;
      const uint64_t end = std::min((index + 1) << kLeafBits, v->size_blocks);
      while (more && m.lba < end) {
        more = add(1, page->map_leaf()->kind[m.lba & (kLeafEntries - 1)] == kEntryData);
      }
    }
    CompleteControl(m.done, m.context, status);
    map_status_.erase(map_status_.begin());
  }
}

}  // namespace ashlar
