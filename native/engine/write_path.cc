// Changes: admitted, logged, applied. Data and the log block that names it go out together (S5); a
// change is applied when its data, its log block, every earlier log block (S8) and every earlier
// change have completed: in the order of the log.
#include <algorithm>
#include <cassert>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr uint8_t kTries = 3;  // S10.
// A stall that this many checkpoints could not end, ends in kNoSpace.
constexpr uint64_t kStallCheckpoints = 5;
}  // namespace

void PoolImpl::StartWrite(OpState* state) {
  const Op* op = state->op;
  uint64_t bad_lba = 0;
  if (op->tags != nullptr && !TagsMatch(op, &bad_lba)) {
    state->status = Status::kDamaged;
    state->failed_lba = bad_lba;
    return FinishOp(state);
  }
  SpoilUnknown(op);
  const bool atomic = NeedsAtomicEntry(op);
  const PieceKind kind = atomic                       ? PieceKind::kWriteAtomic
                         : op->guard == Guard::kNewer ? PieceKind::kWrite
                                                      : PieceKind::kInstall;
  if (kind != PieceKind::kInstall) {
    const uint64_t last = (op->lba + op->blocks - 1) >> kLeafBits;
    state->parts = atomic ? 1 : static_cast<uint32_t>(last - (op->lba >> kLeafBits) + 1);
    state->ticket = state->volume->progress.Begin(op->version, state->parts, &state->previous);
  }
  ++state->pieces;
  // Far from the limit, no one counts. Near it the whole operation is decided at once, in its turn
  // (N1: nothing is changed if it fails).
  bool queue = !stalled_.empty() || !ready_.empty();
  if (!queue && FreeSoon() >= growth_reserve_ + OwedBlocks() + op->blocks + 256) Credit(state);
  queue |= state->promised == 0;
  uint64_t lba = op->lba;
  const uint64_t end = op->lba + op->blocks;
  state->unlogged = 1;  // Not to be logged in full before the last piece is made.
  uint8_t part = 0;
  while (lba < end) {
    ++state->unlogged;
    Piece* piece = NewPiece(kind, state);
    piece->part = part++;
    piece->lba = lba;
    piece->blocks = std::min<uint64_t>(end - lba, kLeafEntries - (lba & (kLeafEntries - 1)));
    if (atomic) piece->blocks = op->blocks;
    piece->data = op->data + (lba - op->lba) * kBlockBytes;
    piece->version = op->version;
    if (op->tags != nullptr) {
      const BlockTag* tags = op->tags + (lba - op->lba);
      for (uint64_t i = 0; i < piece->blocks; ++i) piece->crc[i] = tags[i].crc;
      piece->summed = true;
    }
    lba += piece->blocks;
    if (queue && BeforeASnapshot(state)) {
      ready_.Push(piece);  // An install that had to wait: the snapshot waits for it.
    } else if (queue) {
      stalled_.Push(piece);
    } else {
      AdmitPiece(piece);
    }
  }
  if (--state->unlogged == 0) OpLogged(state);
  if (--state->pieces == 0) FinishOp(state);
}

// The first attempt, or the one after a page came. Whoever was woken is older than all that is
// stalled.
void PoolImpl::AdmitPiece(Piece* piece) {
  const bool writes = piece->kind == PieceKind::kWrite || piece->kind == PieceKind::kInstall;
  if (writes && piece->leaf == nullptr) {
    Page* leaf = nullptr;
    Got got = GetOrCreate(&piece->volume->map, piece->lba >> kLeafBits, piece, &leaf);
    if (got == Got::kLoading) return;
    piece->leaf = leaf;
    ++leaf->pins;
  }
  if (!ready_.empty() || !stalled_.empty() || TryStart(piece) == Admission::kWait) {
    ready_.Push(piece);
  }
}

void PoolImpl::ProcessStalled() {
  if (in_stalled_) return;
  in_stalled_ = true;
  for (PieceQueue* queue : {&ready_, &stalled_}) {
    while (!queue->empty()) {
      Piece* head = queue->head;
      // It may end, and be used again, inside TryStart: so it leaves the queue first.
      queue->Pop();
      if (TryStart(head) == Admission::kWait) {
        head->next = queue->head;
        queue->head = head;
        if (queue->tail == nullptr) queue->tail = head;
        in_stalled_ = false;
        return;
      }
      stall_cut_ = ~0ull;
    }
  }
  in_stalled_ = false;
}

PoolImpl::Admission PoolImpl::TryStart(Piece* piece) {
  if (Faulted()) {
    FailPiece(piece, Status::kIoError);
    return Admission::kDone;
  }
  if (piece->kind == PieceKind::kUnmap) return TryStartUnmap(piece);
  if (piece->kind == PieceKind::kControl) return TryStartControl(piece);
  if (piece->op->status != Status::kOk) {
    // Another part was refused: nothing more of it is begun.
    FinishPiece(piece, Status::kOk);
    return Admission::kDone;
  }
  const bool atomic = piece->kind == PieceKind::kWriteAtomic;
  if (atomic ? piece->leaves.empty() : piece->leaf == nullptr) {
    Page* leaf = nullptr;
    uint64_t index = piece->lba >> kLeafBits;
    Got got = atomic ? PinLeaves(piece) : GetOrCreate(&piece->volume->map, index, nullptr, &leaf);
    if (got == Got::kLoading) return Admission::kWait;
    if (got == Got::kBad) {
      FailPiece(piece, Status::kDamaged);
      return Admission::kDone;
    }
    if (!atomic) {
      piece->leaf = leaf;
      ++leaf->pins;
    }
  }
  if (!piece->op->credited) {
    Admission credit = HasCredit(piece);
    if (credit != Admission::kGo) return credit;
  }
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  const uint32_t log_bytes = atomic ? WriteAtomicEntryBytes(blocks, blocks)
                             : piece->kind == PieceKind::kInstall
                                 ? InstallEntryBytes(blocks, blocks)
                                 : WriteEntryBytes(blocks, blocks);
  Admission room = HasRoom(blocks, log_bytes, PagesOf(piece));
  if (room == Admission::kDone) {
    FinishPiece(piece, Status::kNoSpace, piece->lba);
    return room;
  }
  if (room == Admission::kGo) {
    piece->op->promised -= blocks;
    promised_ -= blocks;
    SendWrite(piece);
  } else if (piece->op->promised == piece->op->op->blocks) {
    // Nothing of it is begun: decided anew when its turn comes, by what is free then.
    EndCredit(piece->op);
  }
  return room;
}

void PoolImpl::Credit(OpState* state) {
  state->credited = true;
  state->promised = state->op->blocks;
  promised_ += state->promised;
}

void PoolImpl::EndCredit(OpState* state) {
  state->credited = false;
  promised_ -= state->promised;
  state->promised = 0;
}

// Of what is free, or will be: what the pages in memory take that have no place yet, the changes
// that are logged and will need more, and the rest of operations that are begun.
uint64_t PoolImpl::OwedBlocks() const { return 2 * (unplaced_pages_ + owed_pages_) + promised_; }

// N1-N3. Blocks in flight count as used, pending ones as free: they come back (N4).
PoolImpl::Admission PoolImpl::HasCredit(Piece* piece) {
  if (FreeSoon() >= growth_reserve_ + OwedBlocks() + piece->op->op->blocks) {
    Credit(piece->op);
    return Admission::kGo;
  }
  uint64_t growth = 0;
  if (!CountGrowth(piece->op, &growth)) return Admission::kWait;
  const uint64_t soon = FreeSoon();
  const uint64_t blocks = piece->op->op->blocks;
  const uint64_t needs = growth > 0 ? growth_reserve_ + growth : reserve_ / 2 + blocks;
  if (soon >= needs + OwedBlocks()) {
    Credit(piece->op);
    return Admission::kGo;
  }
  // What is owed is more than will be taken, and what is written over comes back: known once it is
  // applied.
  const bool may_fit = growth == 0 || soon >= needs + OwedBlocks() - 2 * owed_pages_;
  if (owed_pages_ > 0 && may_fit) return Admission::kWait;
  FinishPiece(piece, Status::kNoSpace, piece->lba);
  return Admission::kDone;
}

// How many blocks of the operation are not mapped yet. False: a page is still on its way.
bool PoolImpl::CountGrowth(OpState* state, uint64_t* growth) {
  const Op* op = state->op;
  uint64_t mapped = 0;
  bool loading = false;
  const auto& snapshots = state->volume->snapshots;
  const auto coming = std::count_if(snapshots.begin(), snapshots.end(),
                                    [](const auto& named) { return named.second->creating; });
  const auto& waiting = state->volume->snapshots_waiting;
  const auto later = std::count_if(waiting.begin(), waiting.end(), [state](const auto& snapshot) {
    return state->snapshots_begun < snapshot.first;
  });
  const bool snapshot_comes = coming > later;  // One that will have what is there now.
  for (uint64_t lba = op->lba; lba < op->lba + op->blocks;) {
    const uint64_t next = std::min((lba | (kLeafEntries - 1)) + 1, op->lba + op->blocks);
    Page* leaf = nullptr;
    Got got = GetPage(&state->volume->map, 0, lba >> kLeafBits, nullptr, &leaf);
    if (got == Got::kLoading) loading = true;
    if (got == Got::kHere) {
      for (uint64_t i = lba; i < next; ++i) {
        const uint32_t e = i & (kLeafEntries - 1);
        // What a snapshot keeps is not paid for by overwriting it (N3).
        mapped += leaf->map_leaf()->kind[e] == kEntryData &&
                  leaf->map_leaf()->born[e] > state->volume->prev_birth && !snapshot_comes;
      }
    }
    lba = next;
  }
  *growth = op->blocks - mapped;
  return !loading;
}

bool PoolImpl::LogHasRoom(uint32_t bytes) const {
  if (open_log_ != nullptr && open_log_->used + bytes <= kLogEntrySpace) return true;
  return next_sequence_ + 2 - log_tail_ < sb_.log_blocks;
}

// Physical room: log, cache, blocks. kWait asks for the checkpoint that makes it; kDone: none can
// (N4).
PoolImpl::Admission PoolImpl::HasRoom(uint64_t blocks, uint32_t log_bytes, uint32_t pages) {
  if (!LogHasRoom(log_bytes) || cache_.dirty_pages() >= hard_dirty_) {
    want_checkpoint_ = true;
    return Admission::kWait;
  }
  if (blocks == 0 && pages == 0) return Admission::kGo;
  bool space = FreeNow() >= blocks + CheckpointNeed() + 2 * (owed_pages_ + pages) + reclaim_room_;
  if (space && EnsureFree(&data_, blocks)) return Admission::kGo;
  if (space && !data_.exhausted) return Admission::kWait;
  want_checkpoint_ = true;
  if (stall_cut_ == ~0ull) stall_cut_ = checkpoints_;
  const bool quiet = log_head_ == nullptr && stage_ == CheckpointStage::kIdle;
  if (quiet && checkpoints_ >= stall_cut_ + kStallCheckpoints) {
    stall_cut_ = ~0ull;
    if (reclaim_room_ == 0) return Admission::kDone;
    // Rather than refuse it, without what runs in the background: that waits for its next turn.
    reclaim_room_ = 0;
    reclaim_turn_ = checkpoints_;
  }
  return Admission::kWait;
}

// The pages that it may change once it is applied: its leaves and what is above them, each perhaps
// twice, since a snapshot may have them as they were. Until then they are owed: the checkpoint that
// comes after it needs places for them, and so does an opening that replays it.
uint32_t PoolImpl::PagesOf(const Piece* piece) const {
  constexpr uint32_t kRecords = 8;
  const uint32_t height = piece->volume == nullptr ? 0 : piece->volume->map.root.height;
  const auto leaves = static_cast<uint32_t>(piece->leaves.size());
  switch (piece->kind) {
    case PieceKind::kControl:
      return kRecords * (1 + static_cast<uint32_t>(piece->control->targets.size()));
    case PieceKind::kUnmap:
      return 2 * (leaves + height + 1);
    case PieceKind::kWriteAtomic:
      return 2 * leaves * (height + 1);
    default:
      return 2 * (height + 1);
  }
}

// --- The log ---

uint8_t* PoolImpl::AppendEntry(Piece* piece, uint32_t bytes) {
  if (open_log_ != nullptr && open_log_->used + bytes > kLogEntrySpace) SealLog();
  if (open_log_ == nullptr) {
    if (free_log_.empty()) {
      free_log_.push_back(&all_log_.emplace_back());
      free_log_.back()->data = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
      if (free_log_.back()->data == nullptr) std::abort();
    }
    LogBlock* block = free_log_.back();
    free_log_.pop_back();
    std::memset(block->data, 0, kBlockBytes);
    block->sequence = next_sequence_++;
    block->used = block->pending = 0;
    block->entries = 0;
    block->group_end = 0;
    block->written = block->whole = false;
    block->applied = 0;
    block->applied_entries = 0;
    block->tries = 0;
    block->pieces.clear();
    block->through.clear();
    block->next = nullptr;
    (log_last_ != nullptr ? log_last_->next : log_head_) = block;
    log_last_ = block;
    open_log_ = block;
  }
  uint8_t* at = open_log_->data + sizeof(LogBlockHeader) + open_log_->used;
  open_log_->used += bytes;
  ++open_log_->entries;
  if (piece != nullptr) {
    open_log_->pieces.push_back(piece);
    open_log_->through.push_back(open_log_->entries);
    piece->log = open_log_;
    piece->owes = PagesOf(piece);
    owed_pages_ += piece->owes;
  }
  return at;
}

void PoolImpl::SealLog() {
  LogBlock* block = open_log_;
  if (block == nullptr) return;
  open_log_ = nullptr;
  LogBlockHeader header{};
  header.store_id = sb_.store_id;
  header.sequence = block->sequence;
  header.opening = opening_;
  header.flushed_up_to = flushed_up_to_.block;
  header.flushed_entries = flushed_up_to_.entries;
  header.predecessor_crc = chain_crc_;
  header.entry_bytes = static_cast<uint16_t>(block->used);
  header.entries = block->entries;
  std::memcpy(block->data, &header, sizeof header);
  SealLogBlock(block->data);
  std::memcpy(&chain_crc_, block->data + offsetof(LogBlockHeader, crc), 4);
  SubmitIo(IoKind::kWrite, sb_.log_start + block->sequence % sb_.log_blocks, 1, block->data, block,
           &PoolImpl::LogIoDone);
}

void PoolImpl::LogIoDone(EngineIo* io) {
  LogBlock* block = static_cast<LogBlock*>(io->owner);
  const int32_t result = io->request.result;
  FreeIo(io);
  if (Faulted()) return;
  if (result != 0) {
    ++io_errors_;
    // The ring has no other place for this block.
    if (++block->tries >= kTries) return Fault("the intent log could not be written");
    SubmitIo(IoKind::kWrite, sb_.log_start + block->sequence % sb_.log_blocks, 1, block->data,
             block, &PoolImpl::LogIoDone);
    return;
  }
  block->written = true;
  for (Piece* piece : block->pieces) {
    if (piece != nullptr && piece->ios == 0) ReleaseHold(piece);
  }
  AdvanceApply();
}

// Whether every block of the group that begins in this one can be applied.
bool PoolImpl::GroupReady(const LogBlock* block) const {
  const uint64_t end = block->group_end;
  for (; block != nullptr && block->sequence <= end; block = block->next) {
    if (!block->written || block->pending > 0) return false;
  }
  return true;
}

void PoolImpl::AdvanceApply() {
  while (log_head_ != nullptr && log_head_->written && !Faulted()) {
    if (log_head_->pending > 0) return ApplyPart(log_head_);
    if (log_head_->group_end > log_head_->sequence && !GroupReady(log_head_)) return;
    LogBlock* block = log_head_;
    log_head_ = block->next;
    if (log_head_ == nullptr) log_last_ = nullptr;
    apply_sequence_ = block->sequence + 1;
    std::memcpy(&apply_crc_, block->data + offsetof(LogBlockHeader, crc), 4);
    for (size_t i = block->applied; i < block->pieces.size(); ++i) {
      if (block->pieces[i] != nullptr) Apply(block->pieces[i]);
    }
    block->pieces.clear();
    free_log_.push_back(block);
  }
}

// Changes of the first block up to the first whose data is not there yet: their hosts do not wait
// for the data of those behind them, which would make large writes go in lockstep, the medium idle
// at the end of each batch. Of a crash it is a case like any other: replay checks the data of each
// entry that no flush covered, and a flush covers of this block what is applied. But a
// checkpoint names the log by whole blocks: once one is to be cut, no block is begun.
void PoolImpl::ApplyPart(LogBlock* block) {
  if (block->whole || block->group_end > block->sequence) return;
  const bool cutting = stage_ == CheckpointStage::kPrepare && !Mutated(Mutant::kCutInsideBlock);
  if (block->applied == 0 && cutting) return;
  while (block->applied < block->pieces.size() && !Faulted()) {
    Piece* piece = block->pieces[block->applied];
    if (piece->ios > 0) return;
    block->applied_entries = block->through[block->applied];
    block->pieces[block->applied++] = nullptr;
    Apply(piece);
  }
}

// --- Writes ---

void PoolImpl::SendWrite(Piece* piece) {
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  piece->runs.clear();
  if (piece->kind == PieceKind::kInstall) {
    if (!piece->logged && !piece->summed) SumBlocks(piece);
    if (!LogInstall(piece)) return FinishPiece(piece, Status::kIoError);
    piece->logged = true;
    piece->io_failed = false;
    piece->ios = static_cast<uint32_t>(piece->runs.size());
    if (piece->ios > 0) ++open_log_->pending;
    return SendInstallData(piece);
  }
  for (uint32_t at = 0; at < blocks;) {
    PhysRun run{};
    if (!AllocRun(&data_, blocks - at, &run)) {
      // It is in no queue and no log block: Fault does not find it.
      Fault("space map: free blocks miscounted");
      return FinishPiece(piece, Status::kIoError);
    }
    piece->runs.push_back(run);
    at += run.blocks;
  }
  // The medium begins with the data of a large write while its checksums are made, and those of the
  // writes behind it: a medium that waits for the whole batch idles for longer than it works on a
  // block. What the log block says of them goes out after them, as it may: it is not before both
  // have completed that a write is applied.
  piece->io_failed = false;
  piece->ios = static_cast<uint32_t>(piece->runs.size());
  uint32_t first = 0;
  for (const PhysRun& run : piece->runs) {
    SubmitIo(IoKind::kWrite, run.phys, run.blocks, piece->data + first * kBlockBytes, piece,
             &PoolImpl::WriteIoDone);
    first += run.blocks;
  }
  if (blocks >= kLargeBlocks) devices_.Kick();
  if (!piece->logged && !piece->summed) SumBlocks(piece);
  EncodeWrite(piece);
  ++open_log_->pending;
  if (!piece->logged && --piece->op->unlogged == 0) OpLogged(piece->op);
  piece->logged = true;
}

void PoolImpl::SumBlocks(Piece* piece) {
  for (uint64_t i = 0; i < piece->blocks; ++i) {
    piece->crc[i] = Crc32c(piece->data + i * kBlockBytes, kBlockBytes);
  }
}

// Appends the entry of a piece whose runs and checksums are known.
void PoolImpl::EncodeWrite(Piece* piece) {
  const bool atomic = piece->kind == PieceKind::kWriteAtomic;
  const auto blocks = static_cast<uint32_t>(piece->blocks);
  const auto runs = static_cast<uint32_t>(piece->runs.size());
  const uint32_t bytes =
      atomic ? WriteAtomicEntryBytes(runs, blocks) : WriteEntryBytes(runs, blocks);
  uint8_t* at = AppendEntry(piece, bytes);
  LogEntryHeader header{};
  header.kind = atomic ? LogKind::kWriteAtomic : LogKind::kWrite;
  header.flags = static_cast<uint8_t>(piece->part | (piece->op->parts - 1) << 4);
  header.count = piece->op->previous;
  header.bytes = static_cast<uint16_t>(bytes);
  header.runs = static_cast<uint16_t>(runs);
  header.blocks = static_cast<uint16_t>(blocks);
  header.tree = piece->volume->tree;
  header.lba = piece->lba;
  header.version = piece->version;
  std::memcpy(at, &header, sizeof header);
  at += sizeof header;
  for (const PhysRun& run : piece->runs) {
    if (atomic) {
      const uint64_t packed = PackRun(run.phys, run.blocks);
      std::memcpy(at, &packed, sizeof packed);
      at += sizeof packed;
    } else {
      const LogRun logged{run.phys, run.blocks, 0};
      std::memcpy(at, &logged, sizeof logged);
      at += sizeof logged;
    }
  }
  std::memcpy(at, piece->crc, blocks * 4);
}

void PoolImpl::WriteIoDone(EngineIo* io) {
  Piece* piece = static_cast<Piece*>(io->owner);
  if (io->request.result != 0) {
    ++io_errors_;
    piece->io_failed = true;
  }
  FreeIo(io);
  if (--piece->ios > 0) return;
  if (Faulted()) return FinishPiece(piece, Status::kIoError);
  if (piece->io_failed) return RetryWrite(piece);
  --piece->log->pending;
  if (piece->log->written) ReleaseHold(piece);
  AdvanceApply();
}

// The block that named the bad place may be applied once the good place is safely named.
void PoolImpl::ReleaseHold(Piece* piece) {
  for (LogBlock* block : piece->holds) --block->pending;
  piece->holds.clear();
}

// S10: to another place, under a new log entry. The old entry stays in the log with data that does
// not match its checksum, so its block is not applied, nor called flushed, before the new entry is
// written: until then recovery drops it (S7). The bad blocks are left out of use while the pool is
// open. Later changes to the same blocks, already in the log, would be overtaken: then the pool
// faults.
void PoolImpl::RetryWrite(Piece* piece) {
  auto overlaps = [piece](const Piece* p) {
    if (p == nullptr || p == piece) return false;
    if (p->control != nullptr) {
      // A snapshot that this change comes before would not have it.
      return std::any_of(p->control->targets.begin(), p->control->targets.end(),
                         [piece](const auto& t) { return t.volume == piece->volume; });
    }
    return p->volume == piece->volume && p->lba < piece->lba + piece->blocks &&
           piece->lba < p->lba + p->blocks;
  };
  bool overtaken = false;
  for (LogBlock* block = piece->log; block != nullptr; block = block->next) {
    for (const Piece* p : block->pieces) overtaken |= overlaps(p);
  }
  SealLog();
  const bool room = LogHasRoom(kLogEntrySpace) && EnsureFree(&data_, piece->blocks);
  if (++piece->tries >= kTries || overtaken || !room) {
    // The piece is among those that Fault ends: in its log block, with no I/O left.
    return Fault("a write failed, at another place too");
  }
  std::replace(piece->log->pieces.begin(), piece->log->pieces.end(), piece,
               static_cast<Piece*>(nullptr));
  piece->log->whole = true;
  piece->holds.push_back(piece->log);
  owed_pages_ -= piece->owes;  // As its new entry owes them.
  SendWrite(piece);
}

void PoolImpl::Apply(Piece* piece) {
  owed_pages_ -= piece->owes;
  piece->owes = 0;
  switch (piece->kind) {
    case PieceKind::kWrite:
      ApplyWrite(piece->volume, piece->leaf, piece->lba, static_cast<uint32_t>(piece->blocks),
                 piece->version, piece->runs, piece->crc);
      piece->volume->progress.PartApplied(piece->op->ticket, piece->part);
      break;
    case PieceKind::kWriteAtomic:
      ApplyWriteAtomic(piece->volume, piece->leaves, piece->lba, piece->version, piece->runs,
                       piece->crc);
      piece->volume->progress.PartApplied(piece->op->ticket, piece->part);
      break;
    case PieceKind::kInstall: {
      const Op* op = piece->op->op;
      ApplyInstall(piece->volume, piece->leaf, piece->lba, static_cast<uint32_t>(piece->blocks),
                   op->guard, piece->version, piece->runs, op->tags + (piece->lba - op->lba));
      break;
    }
    case PieceKind::kUnmap:
      UnmapRange(piece->volume, piece->lba, piece->blocks, piece->version, false);
      break;
    default:
      return ApplyControl(piece);
  }
  FinishPiece(piece, Status::kOk);
}

void PoolImpl::ApplyWrite(VolumeState* volume, Page* page, uint64_t lba, uint32_t blocks,
                          uint64_t version, const std::vector<PhysRun>& runs, const uint32_t* crc) {
  Touch(page);
  MapLeaf* leaf = page->map_leaf();
  uint32_t e = lba & (kLeafEntries - 1);
  assert(e + blocks <= kLeafEntries);
  uint32_t i = 0;
  for (const PhysRun& run : runs) {
    ApplyAlloc(run);
    for (uint32_t k = 0; k < run.blocks; ++k, ++e, ++i) {
      // W2: a block changes only to a higher version.
      if (leaf->kind[e] != kEntryEmpty && leaf->version[e] > version &&
          !IsInherited(volume, leaf->born[e])) {
        FreeRun(run.phys + k, 1);
        continue;
      }
      ++volume->written;
      if (leaf->kind[e] == kEntryData) {
        RetireData(volume, leaf->phys[e], leaf->born[e]);
      } else {
        page->holes -= leaf->kind[e] == kEntryHole;
        ++page->used;
        ++volume->mapped;
        ++data_mapped_;
      }
      SetEntry(leaf, e, run.phys + k, version, crc[i]);
    }
  }
  volume->version = std::max(volume->version, version);
}

}  // namespace ashlar
