// The third step of opening: the log is read to its end (S6) and applied (S7).
#include <algorithm>

#include "native/engine/aligned_blocks.h"
#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {

constexpr uint32_t kReadBlocks = 32;
// How far past the end of the log S6 looks for a block that says it had been flushed.
constexpr uint64_t kTailBlocks = 4096;

}  // namespace

struct PoolImpl::Replay {
  std::vector<LogEntry> group;  // Of snapshots, as far as it was read. Names are not in it.
  std::vector<std::string> names;
  std::map<uint64_t, uint64_t>
      pending;  // Start to end: pending_old_, less what the log took into use again.
};

Status PoolImpl::ReplayLog(std::string* why) {
  const uint64_t ring = sb_.log_blocks;
  // Every side of the log: what no flush covered may be on one of them only.
  struct Side {
    uint16_t device;
    std::unique_ptr<AlignedBlocks> buffer;
  };
  std::vector<Side> sides;
  for (uint16_t index : devices_.vdevs()[VdevOf(sb_.log_start)].sides) {
    if (!devices_.device(index)->Readable()) continue;
    sides.push_back({index, std::make_unique<AlignedBlocks>(kReadBlocks)});
  }
  auto read = [&](uint64_t sequence, uint32_t* count) {
    const uint64_t at = sequence % ring;
    const uint64_t place = BlockOf(sb_.log_start) + at;
    *count = static_cast<uint32_t>(std::min<uint64_t>(kReadBlocks, ring - at));
    for (const Side& side : sides) {
      uint8_t* data = side.buffer->data;
      if (RunSyncOn(side.device, IoKind::kRead, place, *count, data)) continue;
      // One unreadable block does not hide those before it.
      for (uint32_t i = 0; i < *count; ++i) {
        uint8_t* block = data + i * kBlockBytes;
        if (!RunSyncOn(side.device, IoKind::kRead, place + i, 1, block)) {
          std::memset(block, 0, kBlockBytes);
        }
      }
    }
  };
  // The block `i` of what was read that passes the test, on every side. Null: none does.
  auto find = [&](uint64_t sequence, uint32_t i, auto test) -> const uint8_t* {
    for (const Side& side : sides) {
      const uint8_t* block = side.buffer->data + i * kBlockBytes;
      if (!test(block)) continue;
      for (const Side& other : sides) {
        uint8_t* theirs = other.buffer->data + i * kBlockBytes;
        if (options_.read_only || std::memcmp(theirs, block, kBlockBytes) == 0) continue;
        std::memcpy(theirs, block, kBlockBytes);
        static_cast<void>(RunSyncOn(other.device, IoKind::kWrite,
                                    BlockOf(sb_.log_start) + sequence % ring, 1, theirs));
      }
      return block;
    }
    return nullptr;
  };

  // First pass: where the chain ends, and what each opening's blocks say was flushed.
  std::map<uint64_t, LogPlace> flushed;
  uint64_t end = sb_.log_sequence;
  uint32_t crc = sb_.log_predecessor_crc;
  uint64_t opening = sb_.log_opening;
  for (bool chained = true; chained && end - sb_.log_sequence < ring;) {
    uint32_t count = 0;
    read(end, &count);
    for (uint32_t i = 0; i < count && chained; ++i) {
      LogBlockHeader h;
      chained = end - sb_.log_sequence < ring &&
                find(end, i, [&](const uint8_t* block) {
                  return ParseLogBlock(block, sb_.store_id, &h) == Status::kOk &&
                         h.sequence == end && h.predecessor_crc == crc && h.opening >= opening;
                }) != nullptr;
      if (!chained) break;
      crc = h.crc;
      opening = h.opening;
      flushed[opening] =
          std::max(flushed[opening], LogPlace{h.flushed_up_to, h.flushed_entries});
      ++end;
    }
  }
  // S6: a later block of the same opening that speaks of what is missing as flushed.
  const uint64_t tail = std::min(end + kTailBlocks, sb_.log_sequence + ring);
  for (uint64_t s = end + 1; s < tail;) {
    uint32_t count = 0;
    read(s, &count);
    for (uint32_t i = 0; i < count && s < tail; ++i, ++s) {
      for (const Side& side : sides) {
        LogBlockHeader h;
        if (ParseLogBlock(side.buffer->data + i * kBlockBytes, sb_.store_id, &h) != Status::kOk ||
            h.sequence != s || h.opening != opening) {
          continue;
        }
        const LogPlace place{h.flushed_up_to, h.flushed_entries};
        flushed[opening] = std::max(flushed[opening], std::min(place, LogPlace{s, 0}));
        log_damaged_ |= place > LogPlace{end, 0};
      }
    }
  }
  if (other_valid_ && other_.generation > sb_.generation) {
    // The newer superblock was written after a flush of everything before its cut.
    log_damaged_ |= other_.log_sequence > end;
    LogPlace& place = flushed[other_.log_opening];
    place = std::max(place, LogPlace{other_.log_sequence, 0});
    opening = std::max(opening, other_.log_opening);
  }
  opening_ = opening + 1;

  // Second pass.
  Replay replay;
  for (const Run& run : pending_old_) replay.pending[run.phys] = run.phys + run.blocks;
  uint32_t replayed_crc = sb_.log_predecessor_crc;
  for (uint64_t s = sb_.log_sequence; s < end;) {
    uint32_t count = 0;
    read(s, &count);
    count = static_cast<uint32_t>(std::min<uint64_t>(count, end - s));
    // The first side with them all: Prefetch only wants to know what is coming.
    Prefetch(sides[0].buffer->data, count);
    for (uint32_t i = 0; i < count; ++i, ++s) {
      LogBlockHeader h;
      const uint8_t* block = find(s, i, [&](const uint8_t* b) {
        return ParseLogBlock(b, sb_.store_id, &h) == Status::kOk && h.sequence == s &&
               h.predecessor_crc == replayed_crc;
      });
      if (block == nullptr) {
        *why = "a log block changed while it was read";
        return Status::kIoError;
      }
      replayed_crc = h.crc;
      const LogPlace& place = flushed[h.opening];
      uint64_t trusted = s < place.block ? ~0ull : s == place.block ? place.entries : 0;
      if (Mutated(Mutant::kTornDataReplayed)) trusted = ~0ull;
      ReplayBlock(&replay, block, trusted);
    }
    if (rebuild_wanted_) return Status::kOk;  // It begins anew.
  }
  guessed_.clear();
  known_owned_ = {};
  pending_old_.clear();
  for (const auto& [from, to] : replay.pending) {
    // Runs stay inside groups: they were split when loaded, and only ever shrink.
    pending_old_.push_back({from, to - from});
  }
  for (const auto& v : volumes_) {
    if (v == nullptr || v->kind != RecordKind::kVolume) continue;
    v->progress.Recovered(v->version);
    v->durable_contig = v->progress.contig();
    MarkRecord(v.get());
  }
  next_sequence_ = apply_sequence_ = cut_sequence_ = end;
  log_tail_ = sb_.log_sequence;
  apply_crc_ = chain_crc_ = crc;
  return Status::kOk;
}

// Starts loading the leaves that the blocks' entries will want, all at once.
void PoolImpl::Prefetch(const uint8_t* blocks, uint32_t count) {
  for (uint32_t round = 0; round <= kMaxHeight; ++round) {
    bool loading = false;
    for (uint32_t b = 0; b < count; ++b) {
      const uint8_t* block = blocks + b * kBlockBytes;
      LogBlockHeader h;
      std::memcpy(&h, block, sizeof h);
      uint32_t offset = 0;
      LogEntry entry;
      for (uint32_t i = 0; i < h.entries; ++i) {
        if (!ParseLogEntry(block + sizeof h, h.entry_bytes, &offset, &entry)) break;
        VolumeState* v = FindTree(entry.header.tree);
        const LogKind kind = entry.header.kind;
        if (v == nullptr || (kind != LogKind::kWrite && kind != LogKind::kWriteAtomic &&
                             kind != LogKind::kInstall)) {
          continue;
        }
        if (entry.header.lba + entry.header.blocks > v->size_blocks) continue;
        const uint64_t last = (entry.header.lba + entry.header.blocks - 1) >> kLeafBits;
        for (uint64_t leaf = entry.header.lba >> kLeafBits; leaf <= last; ++leaf) {
          Page* page = nullptr;
          loading |= GetPage(&v->map, 0, leaf, nullptr, &page) == Got::kLoading;
        }
      }
    }
    if (!loading) return;
    while (loads_in_flight_ > 0) WaitIo();
  }
}

// Of its entries the first `trusted` and their data had been flushed (S7).
void PoolImpl::ReplayBlock(Replay* replay, const uint8_t* block, uint64_t trusted) {
  LogBlockHeader h;
  std::memcpy(&h, block, sizeof h);
  uint32_t offset = 0;
  for (uint32_t i = 0; i < h.entries; ++i) {
    LogEntry entry;
    if (!ParseLogEntry(block + sizeof h, h.entry_bytes, &offset, &entry)) return;
    ++replayed_entries_;
    const bool verify = i >= trusted;
    const LogEntryHeader& e = entry.header;
    VolumeState* v = FindTree(e.tree);
    switch (e.kind) {
      case LogKind::kWrite:
      case LogKind::kWriteAtomic:
        ReplayWrite(replay, entry, verify);
        break;
      case LogKind::kInstall:
        ReplayInstall(replay, entry, verify);
        break;
      case LogKind::kUnmap:
        ReplayUnmap(entry);
        break;
      case LogKind::kMarks:
        if (v == nullptr) break;
        ApplyMarks(v, {(e.flags & 1) != 0, (e.flags & 2) != 0, e.count, e.version});
        break;
      case LogKind::kCreate: {
        // The slot it had may still be held by a volume whose deletion this replay takes up again:
        // any free one will do.
        const uint32_t slot = FreeSlot();
        if (v != nullptr || slot >= kMaxRecords) break;
        v = AddVolume(e.tree, slot, entry.create.id,
                      std::string(entry.name, entry.create.name_bytes), e.count);
        v->hole_floor = entry.create.hole_floor;
        MarkRecord(v);
        break;
      }
      case LogKind::kResize:
        if (v != nullptr && v->kind == RecordKind::kVolume && e.count > v->size_blocks) {
          SetSize(v, e.count);
        }
        break;
      case LogKind::kDelete:
        if (v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged) ApplyDelete(v);
        break;
      case LogKind::kSnapshot:
        ReplaySnapshot(replay, entry);
        break;
      case LogKind::kClone: {
        VolumeState* origin = FindTree(e.version);
        if (v != nullptr || origin == nullptr || origin->kind != RecordKind::kSnapshot) break;
        if (FreeSlot() >= kMaxRecords) break;
        // It was logged when both superblocks reached its snapshot.
        if (origin->supers < 2 || e.count != origin->size_blocks) break;
        v = AddVolume(e.tree, FreeSlot(), entry.create.id,
                      std::string(entry.name, entry.create.name_bytes), e.count);
        v->hole_floor = entry.create.hole_floor;
        v->origin = origin;
        v->origin_tree = e.version;
        origin->clones.push_back(v);
        ApplyClone(v);
        break;
      }
      case LogKind::kPromote:
        if (v == nullptr || v->kind != RecordKind::kVolume || v->origin == nullptr) break;
        if (v->origin->supers == 2) ApplyPromote(v);
        break;
      case LogKind::kRollback: {
        VolumeState* target = FindTree(e.count);
        if (v == nullptr || v->state != RecordState::kLive || target == nullptr) break;
        if (target->kind != RecordKind::kSnapshot || target->head != v) break;
        if (target->supers < 2 || target->delete_logged) break;
        v->rolling = true;
        ApplyRollback(v, target, e.version);
        break;
      }
      case LogKind::kRolledBack:
        if (v != nullptr && v->state == RecordState::kRollingBack) ApplyRolledBack(v);
        break;
      case LogKind::kDeleteSnapshot:
        if (v != nullptr && v->kind == RecordKind::kSnapshot && !v->delete_logged) {
          ApplyDeleteSnapshot(v);
        }
        break;
      case LogKind::kPutBlob:
        ReplayBlob(replay, entry, verify);
        break;
    }
  }
}

// Once the last of a group is here. An end of the log in between leaves none of it.
void PoolImpl::ReplaySnapshot(Replay* replay, const LogEntry& entry) {
  if (entry.snapshot.group_index != replay->group.size()) {
    replay->group.clear();
    replay->names.clear();
  }
  if (entry.snapshot.group_index != replay->group.size()) return;
  replay->group.push_back(entry);
  replay->names.emplace_back(entry.name, entry.snapshot.name_bytes);
  if (replay->group.size() < entry.snapshot.group_count) return;
  std::vector<ControlOp::Target> targets;
  for (size_t i = 0; i < replay->group.size(); ++i) {
    const LogSnapshot& record = replay->group[i].snapshot;
    VolumeState* v = FindTree(replay->group[i].header.tree);
    if (v == nullptr || v->kind != RecordKind::kVolume || v->delete_logged ||
        FindTree(record.snapshot_tree) != nullptr || FreeSlot() >= kMaxRecords) {
      continue;
    }
    const bool twice =
        std::any_of(targets.begin(), targets.end(), [v](const auto& t) { return t.volume == v; });
    if (twice) continue;
    VolumeState* s = AddRecord(RecordKind::kSnapshot, record.snapshot_tree, FreeSlot());
    s->head = v;
    s->head_tree = v->tree;
    s->id = record.id;
    s->name = replay->names[i];
    s->created_ms = record.created_ms;
    v->snapshots[s->name] = s;
    targets.push_back({v, s, replay->group[i].header.version});
  }
  if (!targets.empty()) ApplySnapshots(targets);
  replay->group.clear();
  replay->names.clear();
}

// Takes blocks that an entry names, as the write did. They are free, or were pending and have been
// reused since (the older superblock's view); or nobody knew (lost_space.cc). Anything else is not a history that this engine
// writes.
bool PoolImpl::ReplayAlloc(Replay* replay, const std::vector<Run>& runs,
                           std::vector<PhysRun>* out) {
  std::vector<Run> parts;
  for (const Run& run : runs) {
    if (!range_.HoldsRun(run.phys, run.blocks)) return false;
    for (uint64_t phys = run.phys, left = run.blocks; left > 0;) {
      uint64_t n = std::min<uint64_t>(left, kGroupBlocks - BitOf(phys));
      parts.push_back({phys, n});
      phys += n;
      left -= n;
    }
  }
  auto pending = [replay](uint64_t phys) {
    auto it = replay->pending.upper_bound(phys);
    if (it == replay->pending.begin()) return replay->pending.end();
    --it;
    return phys < it->second ? it : replay->pending.end();
  };
  for (const Run& part : parts) {
    Page* leaf = nullptr;
    if (WaitPage(&space_, GroupOf(part.phys), true, &leaf) != Got::kHere) {
      LoseSpace(GroupOf(part.phys));
      return false;
    }
    for (uint64_t k = 0; k < part.blocks; ++k) {
      if (Group::AnySet(leaf->space_leaf(), BitOf(part.phys + k), 1) &&
          pending(part.phys + k) == replay->pending.end() && !IsUnclaimed(part.phys + k)) {
        return false;
      }
    }
  }
  // And each of them once.
  std::vector<Run> sorted = parts;
  std::sort(sorted.begin(), sorted.end(),
            [](const Run& a, const Run& b) { return a.phys < b.phys; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1].phys + sorted[i - 1].blocks > sorted[i].phys) return false;
  }
  for (const Run& part : parts) {
    Page* leaf = nullptr;
    if (WaitPage(&space_, GroupOf(part.phys), true, &leaf) != Got::kHere) return false;
    for (uint64_t phys = part.phys; phys < part.phys + part.blocks; ++phys) {
      auto it = pending(phys);
      if (it != replay->pending.end()) {
        const auto [from, to] = *it;
        replay->pending.erase(it);
        if (from < phys) replay->pending[from] = phys;
        if (phys + 1 < to) replay->pending[phys + 1] = to;
        --pending_blocks_;
      } else if (IsUnclaimed(phys)) {
        Claim(phys);
      } else {
        continue;
      }
      Touch(leaf);
      Group::ClearBits(leaf->space_leaf(), BitOf(phys), 1);
      --leaf->used;
      CountUsed(phys, -1);
    }
    Group* group = HoldGroup(GroupOf(part.phys), leaf);
    group->SetBusy(BitOf(part.phys), static_cast<uint32_t>(part.blocks));
    busy_ += part.blocks;
    out->push_back({part.phys, static_cast<uint32_t>(part.blocks), group});
  }
  return true;
}

// Whether all blocks of a run are there. On a mirror: on any side, and from here on on all.
bool PoolImpl::VerifyRunSync(const PhysRun& run, const uint32_t* crcs, uint8_t* data) {
  if (devices_.vdevs()[VdevOf(run.phys)].sides.size() > 1) {
    for (uint32_t k = 0; k < run.blocks; ++k) {
      if (!ReadGoodSync(run.phys + k, crcs[k], true, data)) return false;
    }
    return true;
  }
  // A run of an atomic write may be longer than the buffer.
  for (uint32_t at = 0; at < run.blocks; at += kLeafEntries) {
    const uint32_t count = std::min(kLeafEntries, run.blocks - at);
    if (!ReadSync(run.phys + at, count, data)) return false;
    for (uint32_t k = 0; k < count; ++k) {
      if (Crc32c(data + k * kBlockBytes, kBlockBytes) != crcs[at + k]) return false;
    }
  }
  return true;
}

bool PoolImpl::ReplayDataMatches(const std::vector<PhysRun>& runs,
                                 const std::vector<uint32_t>& crcs) {
  bool good = true;
  uint8_t* data = TakeBuffer();
  uint32_t first = 0;
  for (const PhysRun& run : runs) {
    good = good && VerifyRunSync(run, crcs.data() + first, data);
    first += run.blocks;
  }
  ReleaseBuffer(data);
  return good;
}

void PoolImpl::ReplayWrite(Replay* replay, const LogEntry& entry, bool verify) {
  const LogEntryHeader& e = entry.header;
  std::vector<Run> named;
  std::vector<uint32_t> crcs(e.blocks);
  for (uint32_t i = 0; i < e.runs; ++i) named.push_back({entry.Run(i).phys, entry.Run(i).blocks});
  for (uint32_t i = 0; i < e.blocks; ++i) crcs[i] = entry.Crc(i);
  std::vector<PhysRun> runs;
  if (!ReplayAlloc(replay, named, &runs)) {
    log_damaged_ = true;
    return;
  }
  // S7: data that no flush covered may be missing. The whole entry is dropped; its blocks wait like
  // freed ones (a second recovery reads them again).
  const bool drop = verify && !ReplayDataMatches(runs, crcs);
  dropped_entries_ += drop;
  VolumeState* v = FindTree(e.tree);
  Page* leaf = nullptr;
  const bool known = v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged &&
                     e.lba + e.blocks <= v->size_blocks;
  if (e.kind == LogKind::kWriteAtomic) {
    if (!drop && known && ReplayWriteAtomic(v, e, runs, crcs.data())) {
      v->progress.Replayed(e.version, entry.previous, 0, 1);
      return;
    }
  } else if (!drop && known && WaitPage(&v->map, e.lba >> kLeafBits, true, &leaf) == Got::kHere) {
    ApplyWrite(v, leaf, e.lba, e.blocks, e.version, runs, crcs.data());
    v->progress.Replayed(e.version, entry.previous, e.flags & 15, (e.flags >> 4) + 1);
    return;
  }
  for (const PhysRun& run : runs) {
    ApplyAlloc(run);
    FreeRun(run.phys, run.blocks);
  }
}

void PoolImpl::ReplayUnmap(const LogEntry& entry) {
  const LogEntryHeader& e = entry.header;
  VolumeState* v = FindTree(e.tree);
  if (v == nullptr || v->kind != RecordKind::kVolume || v->delete_logged) return;
  UnmapRange(v, e.lba, e.count, e.version, true);
  if ((e.flags & 1) != 0) v->progress.Replayed(e.version, entry.previous, 0, 1);
}

void PoolImpl::ReplayBlob(Replay* replay, const LogEntry& entry, bool verify) {
  // The value is kept in memory: it is read, and so checked, in any case.
  const LogEntryHeader& e = entry.header;
  VolumeState* v = e.tree == 0 ? nullptr : FindTree(e.tree);
  BlobStore* store = e.tree == 0 ? &pool_blobs_ : v != nullptr ? &v->blobs : nullptr;
  std::vector<Run> named;
  for (uint32_t i = 0; i < e.blocks; ++i) named.push_back({entry.blob.phys[i], 1});
  std::vector<PhysRun> runs;
  if (!ReplayAlloc(replay, named, &runs)) {
    log_damaged_ = true;
    return;
  }
  AlignedBlocks buffer(kBlobBlocks);
  bool good = true;
  for (uint32_t i = 0; i < e.blocks; ++i) {
    uint8_t* at = buffer.data + i * kBlockBytes;
    good = good && ReadGoodSync(entry.blob.phys[i], entry.blob.crc[i], verify, at);
  }
  for (const PhysRun& run : runs) ApplyAlloc(run);
  const bool usable = store != nullptr && e.lba < kMaxBlobs &&
                      (v == nullptr || (v->kind == RecordKind::kVolume && !v->delete_logged));
  if (!good || !usable) {
    dropped_entries_ += !good;
    for (const PhysRun& run : runs) FreeRun(run.phys, run.blocks);
    return;
  }
  ApplyBlob(store, std::string(entry.blob.key, entry.blob.key_bytes), e.lba,
            {buffer.data, buffer.data + e.count}, entry.blob.phys, entry.blob.crc);
}

}  // namespace ashlar
