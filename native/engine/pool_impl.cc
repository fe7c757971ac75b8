// Entry points, I/O, completion, flushes, faults.
#include "native/engine/pool_impl.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

namespace ashlar {

PoolImpl::PoolImpl(const PoolOptions& options) : options_(options), cache_(options.cache_bytes) {
  devices_.SetOwner(
      this,
      [](void* self, std::string why) { static_cast<PoolImpl*>(self)->Fault(std::move(why)); },
      options.open_id);
}

PoolImpl::~PoolImpl() {
  // As a crash would: nothing is written. But the medium still holds our memory: wait for what is
  // in flight, and drop its results.
  workers_.reset();
  state_ = PoolState::kClosed;
  draining_ = true;
  devices_.Abandon();
  while (devices_.in_flight() > 0) {
    const uint64_t before = devices_.in_flight();
    if (devices_.Wait() <= 0 && before == devices_.in_flight()) break;
  }
  for (Piece& piece : all_pieces_) {
    if (piece.control != nullptr) {
      std::free(piece.control->buffer);
      delete piece.control;
    }
  }
  for (const auto& [snapshot, control] : waiting_controls_) delete control;
  for (uint8_t* buffer : buffers_) std::free(buffer);
  for (const CheckpointItem& item : items_) std::free(item.buffer);
  for (LogBlock& block : all_log_) std::free(block.data);
  std::free(sb_buffer_);
  for (uint8_t* buffer : readback_) std::free(buffer);
  for (const WalkTask& task : all_tasks_) std::free(task.buffer);
  for (const Repair& repair : all_repairs_) std::free(repair.buffer);
  for (const auto& [buffer, left] : wipe_buffers_) std::free(buffer);
}

// --- I/O ---

EngineIo* PoolImpl::NewIo(IoKind kind, uint64_t block, uint32_t blocks, uint8_t* data, void* owner,
                          IoFinish finish, uint32_t first) {
  if (free_ios_.empty()) {
    free_ios_.push_back(&all_ios_.emplace_back());
  }
  EngineIo* io = free_ios_.back();
  free_ios_.pop_back();
  io->request.kind = kind;
  io->request.offset = block * kBlockBytes;
  io->request.bytes = blocks * kBlockBytes;
  io->request.data = data;
  io->request.result = 0;
  io->ended = &PoolImpl::OnIoDone;
  io->pool = this;
  io->finish = finish;
  io->owner = owner;
  io->first = first;
  io->tries = 0;
  io->checked = false;
  io->next = nullptr;
  ++ios_in_flight_;
  need_kick_ = true;
  return io;
}

EngineIo* PoolImpl::SubmitIo(IoKind kind, uint64_t phys, uint32_t blocks, uint8_t* data,
                             void* owner, IoFinish finish, uint32_t first) {
  EngineIo* io = NewIo(kind, BlockOf(phys), blocks, data, owner, finish, first);
  io->vdev = static_cast<uint16_t>(VdevOf(phys));
  devices_.Submit(io);
  return io;
}

EngineIo* PoolImpl::SubmitToDevice(uint16_t device, IoKind kind, uint64_t block, uint32_t blocks,
                                   uint8_t* data, void* owner, IoFinish finish, uint32_t first) {
  EngineIo* io = NewIo(kind, block, blocks, data, owner, finish, first);
  devices_.SubmitTo(device, io);
  return io;
}

void PoolImpl::Resubmit(EngineIo* io) {
  io->request.result = 0;
  ++ios_in_flight_;
  need_kick_ = true;
  if (io->direct) {
    devices_.SubmitTo(io->device, io);
  } else {
    devices_.Submit(io);
  }
}

void PoolImpl::OnIoDone(SetIo* ended) {
  EngineIo* io = static_cast<EngineIo*>(ended);
  PoolImpl* pool = io->pool;
  if (pool->workers_ != nullptr && pool->GiveToWorkers(io)) return;
  // A medium that answers in the middle of a call of ours is not kept waiting by what is left.
  const bool at_once = pool->depth_ > 0 && !pool->polling_;
  (io->finish == &PoolImpl::ReadIoDone && !at_once ? pool->reads_done_ : pool->io_done_).Push(io);
}

void PoolImpl::FreeIo(EngineIo* io) { free_ios_.push_back(io); }

void PoolImpl::Drain() {
  if (draining_) return;
  draining_ = true;
  do {
    while (!io_done_.empty()) {
      EngineIo* io = io_done_.Pop();
      --ios_in_flight_;
      (this->*io->finish)(io);
    }
    ProcessStalled();
  } while (!io_done_.empty());
  draining_ = false;
}

// Many reads may have ended at once, and while they are checked the medium has nothing to do but
// what comes of those before them. So while it has nothing, the hosts are told of a few or of one
// large one, then of the more the more it has to do; the rest is the next Poll's.
void PoolImpl::CheckReads() {
  if (draining_) return;
  draining_ = true;
  const uint64_t under_way = devices_.in_flight();
  const uint64_t most = std::max<uint64_t>(kFirstReads, 2 * under_way);
  uint64_t blocks = 0;
  for (uint64_t n = 0; n < most && !reads_done_.empty(); ++n) {
    EngineIo* io = reads_done_.Pop();
    blocks += io->request.bytes / kBlockBytes;
    --ios_in_flight_;
    ReadIoDone(io);
    if (under_way == 0 && blocks >= kLargeBlocks) break;
  }
  draining_ = false;
}

// Sends what was gathered until nothing more comes of it. True if it got that far.
bool PoolImpl::Pump(int rounds) {
  for (; rounds > 0; --rounds) {
    SealLog();
    need_kick_ = false;
    devices_.Kick();
    Drain();
    if (!need_kick_ && !devices_.kick_pending() && open_log_ == nullptr) return true;
  }
  return false;
}

void PoolImpl::Leave() {
  if (depth_ == 1 && !delivering_) {
    delivering_ = true;
    for (;;) {
      Drain();
      if (done_head_ == nullptr && control_done_.empty()) break;
      while (done_head_ != nullptr) {
        Op* op = done_head_;
        done_head_ = op->next;
        if (done_head_ == nullptr) done_tail_ = nullptr;
        op->next = nullptr;
        ++delivered_;
        op->done(op);
      }
      std::vector<ControlDone> controls;
      controls.swap(control_done_);
      for (const ControlDone& c : controls) {
        ++delivered_;
        c.done(c.context, c.status);
      }
    }
    delivering_ = false;
  } else {
    Drain();
  }
  --depth_;
}

void PoolImpl::Kick() {
  Enter();
  Pump(4);
  Leave();
}

int PoolImpl::Poll() {
  const int before = delivered_;
  Enter();
  polling_ = true;
  devices_.Poll();
  polling_ = false;
  if (workers_ != nullptr) TakeFromWorkers();
  CheckReads();
  Drain();
  Background();
  Pump(4);
  Leave();
  return delivered_ - before;
}

void PoolImpl::Background() {
  if (state_ != PoolState::kOpen) return;
  if (options_.read_only) {
    StepMapStatus();
    StepDiff();
    return StepChanged();
  }
  if (closing_) reclaim_room_ = 0;
  // Before the next checkpoint begins: where one follows the other there is no other time between
  // two of them, which the ends of some work need. And after its cut, when least is changed.
  if (!closing_ && stage_ == CheckpointStage::kIdle) StepReclaim();
  StepCheckpoint();
  Drain();
  if (!closing_ && stage_ != CheckpointStage::kIdle) StepReclaim();
  StepMapStatus();
  StepChanged();
  StepDiff();
  StepWalk();
  DropLeaving();
  Drain();
  StepClose();
}

bool PoolImpl::WantsPoll() const {
  // Reads left for the next Poll; or what is held until the labels were looked at.
  if (!io_done_.empty() || !reads_done_.empty() || devices_.kick_pending()) return true;
  if (state_ != PoolState::kOpen) return false;
  const bool walks = !map_status_.empty() || !changed_.empty() || !diffs_.empty();
  if (options_.read_only) return walks && ios_in_flight_ == 0;
  // What the last rounds of Pump gathered and did not send: on a medium that answers at once no
  // completion would bring anyone back.
  if (open_log_ != nullptr || need_kick_ || devices_.kick_pending()) return true;
  if (stage_ == CheckpointStage::kWrite && MoreItems()) return true;
  if (stage_ == CheckpointStage::kIdle && CheckpointWanted()) return true;
  if (WalkWantsPoll()) return true;
  if (ios_in_flight_ > 0) return false;
  if (closing_ || AnyLeaving()) return true;
  if (stage_ != CheckpointStage::kIdle || !stalled_.empty() || !ready_.empty()) return true;
  return walks || (!reclaim_.empty() && !reclaim_stuck_);
}

// --- Operations ---

void PoolImpl::Submit(Op* op) {
  Enter();
  op->next = nullptr;
  op->status = Status::kOk;
  op->failed_lba = 0;
  VolumeState* volume = FindVolume(op->volume);
  const bool changes = op->kind == OpKind::kWrite || op->kind == OpKind::kUnmap;
  Status status = Status::kOk;
  if (state_ == PoolState::kFaulted) {
    status = Status::kIoError;
  } else if (state_ == PoolState::kClosed || closing_) {
    status = Status::kOffline;
  } else if (volume == nullptr || volume->creating || volume->delete_logged ||
             volume->kind == RecordKind::kSegment) {
    status = Status::kNotFound;
  } else if (volume->rolling || (options_.read_only && !Readable(volume))) {
    // The latter: a snapshot that the log alone knows. No checkpoint will come here that gives it
    // pages of its own, and it must not be taken for an empty one.
    status = Status::kBusy;
  } else if (op->kind != OpKind::kFlush &&
             (op->lba > volume->size_blocks || op->blocks > volume->size_blocks - op->lba)) {
    status = Status::kOutOfRange;
  } else if (changes && (options_.read_only || volume->kind != RecordKind::kVolume)) {
    status = Status::kReadOnly;
  } else if ((op->kind == OpKind::kRead || op->kind == OpKind::kWrite ||
              op->kind == OpKind::kTags) &&
             op->blocks > kMaxOpBlocks) {
    status = Status::kInvalid;
  } else if ((op->flags & kOpAtomic) != 0 &&
             (op->kind != OpKind::kWrite || op->blocks > kMaxAtomicBlocks ||
              op->guard != Guard::kNewer)) {
    status = Status::kInvalid;
  } else if (op->kind == OpKind::kTags ? op->tags == nullptr
                                       : op->kind == OpKind::kWrite && !InstallIsSound(op)) {
    status = Status::kInvalid;
  }
  if (status != Status::kOk || (op->blocks == 0 && op->kind != OpKind::kFlush)) {
    CompleteOp(op, status);
    Leave();
    return;
  }
  if (!Readable(volume)) {
    ++in_flight_ops_;
    parked_.push_back(op);
    Leave();
    return;
  }
  if (op->kind == OpKind::kFlush) {
    ++volume->in_flight;
    ++in_flight_ops_;
    op->engine = volume;
    if (options_.read_only) {
      OpFlushed(op, Status::kOk);
    } else {
      RequestFlush(&PoolImpl::OpFlushed, op);
    }
    Leave();
    return;
  }
  if (free_states_.empty()) free_states_.push_back(&all_states_.emplace_back());
  OpState* state = free_states_.back();
  free_states_.pop_back();
  *state = OpState{};
  state->op = op;
  state->volume = volume;
  state->cursor = op->lba;
  if (changes) {
    state->logged = false;
    state->snapshots_begun = volume->snapshots_begun;
    ++volume->unlogged;
  }
  op->engine = state;
  ++volume->in_flight;
  volume->moves += (op->flags & kOpMove) != 0;
  ++in_flight_ops_;
  switch (op->kind) {
    case OpKind::kRead:
    case OpKind::kTags:
      StartRead(state);
      break;
    case OpKind::kWrite:
      op->guard == Guard::kNewer ? StartWrite(state) : StartInstall(state);
      break;
    case OpKind::kUnmap:
      // Where holes have no versions, an unmap of nothing leaves no entry: the chain does without.
      if (op->version > volume->hole_floor) {
        state->ticket = volume->progress.Begin(op->version, 1, &state->previous);
      }
      state->unmap = volume->unmaps_begun++;
      volume->unmaps.insert(state->unmap);
      StepUnmap(state);
      break;
    case OpKind::kVerify:
      StepVerify(state);
      break;
    default:
      state->status = Status::kInvalid;
      FinishOp(state);
      break;
  }
  Leave();
}

void PoolImpl::OpFlushed(void* context, Status status) {
  Op* op = static_cast<Op*>(context);
  --static_cast<VolumeState*>(op->engine)->in_flight;
  --in_flight_ops_;
  CompleteOp(op, status);
}

Piece* PoolImpl::NewPiece(PieceKind kind, OpState* op) {
  if (free_pieces_.empty()) {
    free_pieces_.push_back(&all_pieces_.emplace_back());
    free_pieces_.back()->pool = this;
    free_pieces_.back()->wake = [](Waiter* waiter, Status status) {
      Piece* piece = static_cast<Piece*>(waiter);
      piece->pool->PieceWoken(piece, status);
    };
  }
  Piece* piece = free_pieces_.back();
  free_pieces_.pop_back();
  piece->kind = kind;
  piece->retried = piece->io_failed = piece->logged = piece->summed = false;
  piece->part = 0;
  piece->op = op;
  piece->volume = op != nullptr ? op->volume : nullptr;
  piece->control = nullptr;
  piece->leaf = nullptr;
  piece->data = nullptr;
  piece->ios = piece->owes = 0;
  piece->tries = 0;
  piece->log = nullptr;
  piece->holds.clear();
  piece->bad_count = 0;
  piece->bad[0] = piece->bad[1] = 0;
  piece->runs.clear();
  piece->leaves.clear();
  if (op != nullptr) ++op->pieces;
  return piece;
}

void PoolImpl::FreePiece(Piece* piece) {
  piece->control = nullptr;
  free_pieces_.push_back(piece);
}

// Lets go of the piece's pages and counts it into its operation's end.
void PoolImpl::FinishPiece(Piece* piece, Status status, uint64_t failed_lba) {
  if (piece->leaf != nullptr) --piece->leaf->pins;
  piece->leaf = nullptr;
  for (Page* leaf : piece->leaves) --leaf->pins;
  piece->leaves.clear();
  if (piece->kind == PieceKind::kControl) {
    FinishControl(piece, status);
    return;
  }
  OpState* state = piece->op;
  if (status != Status::kOk) {
    bool damage = status == Status::kDamaged;
    if (state->status == Status::kOk ||
        (damage && state->status == Status::kDamaged && failed_lba < state->failed_lba)) {
      state->status = status;
      state->failed_lba = failed_lba;
    }
  }
  if (piece->kind == PieceKind::kVerify) ReleaseBuffer(piece->data);
  const PieceKind kind = piece->kind;
  FreePiece(piece);
  assert(state->pieces > 0);
  if (--state->pieces > 0 || state->stepping) return;
  if (state->status == Status::kOk && kind == PieceKind::kUnmap) {
    StepUnmap(state);
  } else if (state->status == Status::kOk && kind == PieceKind::kVerify) {
    StepVerify(state);
  } else {
    FinishOp(state);
  }
}

void PoolImpl::FinishOp(OpState* state) {
  Op* op = state->op;
  EndCredit(state);
  OpLogged(state);
  const bool change = op->kind == OpKind::kWrite || op->kind == OpKind::kUnmap;
  state->volume->progress.End(state->ticket, state->status == Status::kOk);
  if (op->kind == OpKind::kUnmap) UnmapEnded(state);
  if (state->status == Status::kOk && change && (op->flags & kOpFua) != 0 && !Faulted() &&
      !Mutated(Mutant::kFuaWithoutFlush)) {
    RequestFlush(&PoolImpl::FuaFlushed, state);
    return;
  }
  FuaFlushed(state, state->status);
}

void PoolImpl::FuaFlushed(void* context, Status status) {
  OpState* state = static_cast<OpState*>(context);
  --state->volume->in_flight;
  const bool moved = (state->op->flags & kOpMove) != 0;
  if (moved && --state->volume->moves == 0 && !Faulted()) StartWaitingControls();
  --in_flight_ops_;
  CompleteOp(state->op, status, state->failed_lba);
  free_states_.push_back(state);
}

void PoolImpl::CompleteOp(Op* op, Status status, uint64_t failed_lba) {
  op->status = status;
  op->failed_lba = failed_lba;
  op->engine = nullptr;
  op->next = nullptr;
  (done_tail_ != nullptr ? done_tail_->next : done_head_) = op;
  done_tail_ = op;
}

void PoolImpl::CompleteControl(DoneFn done, void* context, Status status) {
  if (done != nullptr) control_done_.push_back({done, context, status});
}

void PoolImpl::PieceWoken(Piece* piece, Status status) {
  if (Faulted()) return FailPiece(piece, Status::kIoError);
  if (status != Status::kOk) return FailPiece(piece, status);
  switch (piece->kind) {
    case PieceKind::kRead:
    case PieceKind::kVerify:
      return ReadPiece(piece);
    default:
      return AdmitPiece(piece);
  }
}

void PoolImpl::FailPiece(Piece* piece, Status status) {
  // Never hand out what was not verified.
  if (piece->kind == PieceKind::kRead) {
    const Op* op = piece->op->op;
    if (piece->data != nullptr) std::memset(piece->data, 0, piece->blocks * kBlockBytes);
    if (op->tags != nullptr) {
      // H6: nothing is known of these blocks, and what the memory for tags held was another read's.
      BlockTag unknown;
      unknown.result = kTagDamaged;
      std::fill_n(op->tags + (piece->lba - op->lba), piece->blocks, unknown);
    }
  }
  FinishPiece(piece, status, piece->lba);
}

// --- Flush ---

void PoolImpl::RequestFlush(FlushThen then, void* context) {
  flush_waiting_.push_back({then, context});
  if (!flush_in_flight_) StartFlush();
}

// S11: a flush covers what had completed when it was submitted. Applied log blocks and their data
// had, and of the next one what is applied, with the block itself.
void PoolImpl::StartFlush() {
  flush_running_.swap(flush_waiting_);
  flush_in_flight_ = true;
  flush_covers_ = {apply_sequence_, log_head_ != nullptr ? log_head_->applied_entries : 0u};
  for (const auto& [name, v] : by_name_) v->flush_contig = v->progress.contig();
  SubmitIo(IoKind::kFlush, 0, 0, nullptr, nullptr, &PoolImpl::FlushIoDone);
}

void PoolImpl::FlushIoDone(EngineIo* io) {
  const int32_t result = io->request.result;
  FreeIo(io);
  flush_in_flight_ = false;
  std::vector<FlushWaiter> done;
  done.swap(flush_running_);
  if (result != 0) {
    ++io_errors_;
    Fault("flush failed: what was written since the last good one may be lost");  // S9
  } else if (!Faulted()) {
    flushed_up_to_ = std::max(flushed_up_to_, flush_covers_);
    for (const auto& [name, v] : by_name_) v->durable_contig = v->flush_contig;
  }
  const Status status = Faulted() ? Status::kIoError : Status::kOk;
  for (const FlushWaiter& w : done) (this->*w.then)(w.context, status);
  if (!Faulted() && !flush_in_flight_ && !flush_waiting_.empty()) StartFlush();
}

// --- Faults (S9) ---

void PoolImpl::Fault(std::string why) {
  if (state_ == PoolState::kClosed) EndExport(Status::kIoError);  // Its labels were not written.
  if (state_ != PoolState::kOpen) return;
  state_ = PoolState::kFaulted;
  fault_ = std::move(why);
  for (PieceQueue* queue : {&ready_, &stalled_}) {
    while (!queue->empty()) FailPiece(queue->Pop(), Status::kIoError);
  }
  // Pieces whose buffers the medium still uses end when it lets go of them.
  for (LogBlock* block = log_head_; block != nullptr; block = block->next) {
    std::vector<Piece*> pieces;
    pieces.swap(block->pieces);
    for (Piece* piece : pieces) {
      if (piece != nullptr && piece->ios == 0) FinishPiece(piece, Status::kIoError);
    }
  }
  for (const auto& v : volumes_) {
    if (v != nullptr) PassInstalls(v.get());
  }
  EndDeviceCall(Status::kIoError);
  std::vector<FlushWaiter> waiting;
  waiting.swap(flush_waiting_);
  for (const FlushWaiter& w : waiting) (this->*w.then)(w.context, Status::kIoError);
  std::vector<CheckpointWaiter> waiters;
  waiters.swap(checkpoint_waiters_);
  for (const CheckpointWaiter& w : waiters) CompleteControl(w.done, w.context, Status::kIoError);
  std::vector<Op*> parked;
  parked.swap(parked_);
  for (Op* op : parked) {
    --in_flight_ops_;
    CompleteOp(op, Status::kIoError);
  }
  EndQuestions(Status::kIoError);
  for (const auto& [snapshot, control] : waiting_controls_) {
    --in_flight_ops_;
    CompleteControl(control->done, control->context, Status::kIoError);
    delete control;
  }
  waiting_controls_.clear();
  for (const auto& [name, v] : by_name_) {
    if (v->rolled_done != nullptr) {
      CompleteControl(v->rolled_done, v->rolled_context, Status::kIoError);
    }
    v->rolled_done = nullptr;
  }
  if (close_done_ != nullptr && !close_started_) {
    CompleteControl(close_done_, close_context_, Status::kIoError);
  }
}

// --- Small things ---

uint8_t* PoolImpl::TakeBuffer() {
  if (!buffers_.empty()) {
    uint8_t* buffer = buffers_.back();
    buffers_.pop_back();
    return buffer;
  }
  auto* buffer = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kLeafEntries * kBlockBytes));
  if (buffer == nullptr) std::abort();
  return buffer;
}

void PoolImpl::ReleaseBuffer(uint8_t* buffer) {
  if (buffer != nullptr) buffers_.push_back(buffer);
}

VolumeState* PoolImpl::FindVolume(uint32_t handle) const {
  const uint32_t slot = (handle & 0xFFFFF) - 1;
  if (handle == 0 || slot >= volumes_.size()) return nullptr;
  VolumeState* volume = volumes_[slot].get();
  return volume != nullptr && volume->handle == handle ? volume : nullptr;
}

VolumeState* PoolImpl::FindTree(uint64_t tree) const {
  auto it = by_tree_.find(tree);
  return it == by_tree_.end() ? nullptr : it->second;
}

PoolStats PoolImpl::Stats() const {
  PoolStats s;
  s.state = state_;
  s.size_blocks = sb_.size_blocks;
  const uint64_t kept = growth_reserve_ + lost_free_;
  s.usable_blocks = alloc_blocks_ - std::min(alloc_blocks_, kept);
  s.growth_limit_percent = growth_limit_;
  s.allocated_blocks = bits_used_ + busy_;
  s.data_blocks = data_mapped_;
  s.metadata_blocks = metadata_blocks_;
  s.pending_free_blocks = pending_blocks_ - lost_pending_ + releasing_count_;
  s.free_blocks = FreeNow();
  for (const auto& [start, groups] : lost_) s.unknown_blocks += groups.blocks;
  s.rebuilt_pages = rebuilt_pages_;
  s.checkpoints = checkpoints_;
  s.log_bytes_used = (next_sequence_ - log_tail_) * kBlockBytes;
  s.log_bytes = sb_.log_blocks * kBlockBytes;
  s.cache_pages = cache_.frames_used();
  s.cache_dirty_pages = cache_.dirty_pages();
  s.checksum_errors = checksum_errors_;
  s.io_errors = io_errors_;
  s.replayed_entries = replayed_entries_;
  s.dropped_entries = dropped_entries_;
  s.log_damaged = log_damaged_;
  s.fault = fault_;
  return s;
}

}  // namespace ashlar
