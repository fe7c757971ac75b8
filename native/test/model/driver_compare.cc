// The pool beside its model: every block, what changed, what is mapped, what is in use.
#include <algorithm>
#include <cstring>

#include "native/test/model/host_op.h"

namespace ashlar::model {

// To its end, alone.
Status Driver::RunOp(Op* op) {
  bool ended = false;
  op->context = &ended;
  op->done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  pool_->Submit(op);
  while (!ended) Step();
  return op->status;
}

Status Driver::TagOf(const Volume& v, uint64_t lba, BlockTag* tag) {
  Op op;
  op.kind = OpKind::kTags;
  op.volume = v.handle;
  op.lba = lba;
  op.blocks = 1;
  op.tags = tag;
  return RunOp(&op);
}

bool Driver::CompareSnapshot(const Volume& v, const Snapshot& s) {
  Volume frozen;
  frozen.name = v.name + "@" + s.name;
  frozen.handle = s.handle;
  frozen.blocks = s.blocks;
  for (uint64_t lba = 0; lba < s.blocks.size(); lba += 512) {
    const uint64_t blocks = std::min<uint64_t>(512, s.blocks.size() - lba);
    if (!ReadAndCompare(&frozen, lba, blocks, false)) return false;
  }
  return true;
}

bool Driver::ReadAndCompare(Volume* v, uint64_t lba, uint64_t blocks, bool tags_only) {
  Bytes data = Blocks(blocks);
  std::vector<BlockTag> tags(blocks);
  Op op;
  op.kind = tags_only ? OpKind::kTags : OpKind::kRead;
  op.volume = v->handle;
  op.lba = lba;
  op.blocks = blocks;
  op.data = tags_only ? nullptr : data.get();
  op.tags = tags.data();
  bool ended = false;
  op.context = &ended;
  op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
  pool_->Submit(&op);
  while (!ended) Step();
  if (op.status != Status::kOk) return Fail("a read failed");
  counts_.blocks_compared += blocks;
  static const std::vector<uint8_t> zeros(kBlockBytes);
  for (uint64_t i = 0; i < blocks; ++i) {
    const Block& expected = v->blocks[lba + i];
    const uint8_t* bytes = data.get() + i * kBlockBytes;
    // A hole from a clone's origin may have been given up since: nobody asks for its version.
    const bool given_up = expected.inherited && expected.kind == BlockKind::kHole &&
                          tags[i].kind == BlockKind::kEmpty && tags[i].version == 0;
    const bool tagged =
        given_up || (tags[i].kind == expected.kind && tags[i].version == expected.version);
    const bool same =
        tagged && (tags_only || (expected.kind == BlockKind::kData
                                     ? Holds(lba + i, expected.value, bytes)
                                     : std::memcmp(bytes, zeros.data(), kBlockBytes) == 0));
    if (same) continue;
    return Fail(v->name + " block " + std::to_string(lba + i) + " has kind " +
                std::to_string(static_cast<int>(tags[i].kind)) + " version " +
                std::to_string(tags[i].version) + ", expected " + Text(expected));
  }
  return true;
}

bool Driver::CompareVolume(Volume* v) {
  VolumeInfo info;
  if (!pool_->Volume(v->handle, &info)) return Fail(v->name + " is unknown");
  if (info.size_blocks != v->size) return Fail(v->name + " has another size");
  if (info.contig != v->contig) {
    return Fail(v->name + " has contig " + std::to_string(info.contig) + ", expected " +
                std::to_string(v->contig));
  }
  if (info.hole_floor != v->hole_floor) return Fail(v->name + " has another hole floor");
  if (pool_->BlobKeys(v->handle).size() != v->blobs.size()) return Fail("another number of blobs");
  for (const auto& [key, value] : v->blobs) {
    std::vector<uint8_t> found;
    if (!pool_->GetBlob(v->handle, key, &found) || found != value) return Fail("blob " + key);
  }
  for (uint64_t lba = 0; lba < v->size; lba += 512) {
    if (!ReadAndCompare(v, lba, std::min<uint64_t>(512, v->size - lba), false)) return false;
  }
  if (info.mapped_blocks != v->Mapped()) return Fail(v->name + " has another mapped count");
  if (info.inherited_blocks != ~0ull && info.inherited_blocks != v->Inherited()) {
    return Fail(v->name + " has inherited " + std::to_string(info.inherited_blocks));
  }
  for (const auto& s : v->snapshots) {
    SnapshotInfo snapshot;
    if (!pool_->Snapshot(s->handle, &snapshot)) return Fail(s->name + " is unknown");
    size_t clones = 0;
    for (const auto& other : volumes_) clones += other->origin == s.get();
    if (snapshot.clones.size() != clones) return Fail(s->name + " has other clones");
    if (snapshot.size_blocks != s->blocks.size()) return Fail(s->name + " has another size");
    if (!CompareSnapshot(*v, *s)) return false;
  }
  return CompareChanged(v) && CompareMap(v);
}

bool Driver::CompareEverything() {
  if (!Wait(0)) return false;
  for (const auto& v : volumes_) {
    if (!CompareVolume(v.get())) return false;
  }
  for (const auto& [key, value] : blobs_) {
    std::vector<uint8_t> found;
    if (!pool_->GetBlob(0, key, &found) || found != value) return Fail("the pool's blob " + key);
  }
  return true;
}

bool Driver::CompareChanged(Volume* v) {
  const uint64_t since = Chance(30) ? 0 : Below(v->newest + 2);
  const uint32_t max_runs = static_cast<uint32_t>(1 + Below(200));
  std::vector<ChangedRun> all;
  for (uint64_t lba = 0; lba < v->size;) {
    std::vector<ChangedRun> runs;
    uint64_t next = 0;
    const Status status = Do([&](DoneFn done, void* c) {
      pool_->ChangedSince(v->handle, since, lba, max_runs, &runs, &next, done, c);
    });
    if (status != Status::kOk || runs.size() > max_runs) return Fail("changed-since failed");
    if (next <= lba) return Fail("changed-since does not go on");
    for (const ChangedRun& run : runs) {
      if (v->cloned && run.kind == BlockKind::kHole) continue;
      ChangedRun* last = all.empty() ? nullptr : &all.back();
      if (last != nullptr && last->lba + last->blocks == run.lba && last->kind == run.kind &&
          last->version == run.version) {
        last->blocks += run.blocks;
      } else {
        all.push_back(run);
      }
    }
    lba = next;
  }
  std::vector<ChangedRun> expected = v->ChangedSince(since);
  if (v->cloned) {
    std::erase_if(expected, [](const ChangedRun& run) { return run.kind == BlockKind::kHole; });
  }
  for (size_t i = 0; i < std::max(all.size(), expected.size()); ++i) {
    const ChangedRun a = i < all.size() ? all[i] : ChangedRun{};
    const ChangedRun b = i < expected.size() ? expected[i] : ChangedRun{};
    if (a.lba == b.lba && a.blocks == b.blocks && a.version == b.version && a.kind == b.kind)
      continue;
    return Fail(v->name + " changed since " + std::to_string(since) + ": run at " +
                std::to_string(a.lba) + "+" + std::to_string(a.blocks) + ", expected " +
                std::to_string(b.lba) + "+" + std::to_string(b.blocks));
  }
  return true;
}

// Between a snapshot, or nothing, and what comes of it: a later one, the volume, a clone.
bool Driver::CompareDiff() {
  if (!Wait(0)) return false;
  ++counts_.diffs;
  Volume* v = Pick();
  const size_t at = Below(v->snapshots.size() + 1);
  const uint32_t to = at < v->snapshots.size() ? v->snapshots[at]->handle : v->handle;
  const std::vector<Block>& now = v->Held(at);
  std::vector<const Snapshot*> earlier = {nullptr};
  size_t end = at;
  for (const Volume* line = v; line != nullptr;) {
    for (size_t i = 0; i < end; ++i) earlier.push_back(line->snapshots[i].get());
    const Snapshot* origin = line->origin;
    line = origin == nullptr ? nullptr : origin->volume;
    for (end = 0; line != nullptr && line->snapshots[end].get() != origin;) ++end;
    ++end;
  }
  const Snapshot* from = earlier[Below(earlier.size())];
  const auto max_runs = static_cast<uint32_t>(1 + Below(50));
  std::vector<int> said(now.size(), 0);
  for (uint64_t lba = 0; lba < now.size();) {
    std::vector<MapRun> runs;
    uint64_t next = 0;
    const Status status = Do([&](DoneFn done, void* c) {
      pool_->Changed(from == nullptr ? 0 : from->handle, to, lba, max_runs, &runs, &next, done, c);
    });
    if (status != Status::kOk || runs.size() > max_runs || next <= lba) {
      return Fail("a diff failed with status " + std::to_string(static_cast<int>(status)));
    }
    for (const MapRun& run : runs) {
      for (uint64_t i = run.lba; i < run.lba + run.blocks; ++i) {
        if (i < lba || i >= next || i >= said.size()) return Fail("a diff speaks of another place");
        said[i] = run.mapped ? 1 : 2;
      }
    }
    lba = next;
  }
  for (uint64_t lba = 0; lba < now.size(); ++lba) {
    static const Block kNothing;
    const Block& was = from != nullptr && lba < from->blocks.size() ? from->blocks[lba] : kNothing;
    const int expected = now[lba].Same(was) ? 0 : now[lba].kind == BlockKind::kData ? 1 : 2;
    if (said[lba] == expected) continue;
    return Fail("the diff of " + v->name + " from " + (from == nullptr ? "nothing" : from->name) +
                " says " + std::to_string(said[lba]) + " of block " + std::to_string(lba));
  }
  return true;
}

bool Driver::CompareMap(Volume* v) {
  std::vector<MapRun> runs;
  const uint64_t lba = Below(v->size);
  const Status status =
      Do([&](DoneFn done, void* c) { pool_->MapStatus(v->handle, lba, 50, &runs, done, c); });
  if (status != Status::kOk || runs.empty()) return Fail("map status failed");
  uint64_t at = lba;
  for (const MapRun& run : runs) {
    if (run.lba != at) return Fail("map status leaves a gap");
    for (; at < run.lba + run.blocks; ++at) {
      if (at >= v->size || (v->blocks[at].kind == BlockKind::kData) != run.mapped) {
        return Fail("map status of block " + std::to_string(at));
      }
    }
  }
  return true;
}

// Nothing under way, deletions done: every block in use is somebody's.
bool Driver::CompareSpace() {
  if (!Wait(0)) return false;
  auto deleting = [this] {
    for (const VolumeInfo& info : pool_->Volumes()) {
      if (info.deleting) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000000 && (deleting() || pool_->WantsPoll()); ++i) Step();
  if (deleting()) return Fail("a deletion that never ends");
  uint64_t data = 0, held = 0, blobs = 0;
  // A block is on the medium once, whoever has it: no two that differ have one value at one place.
  std::vector<std::pair<uint64_t, uint64_t>> all;
  auto add = [&all](const std::vector<Block>& blocks) {
    for (uint64_t lba = 0; lba < blocks.size(); ++lba) {
      if (blocks[lba].kind == BlockKind::kData) all.emplace_back(blocks[lba].value, lba);
    }
  };
  for (const auto& v : volumes_) {
    data += v->Mapped();
    add(v->blocks);
    for (const auto& s : v->snapshots) add(s->blocks);
    for (const auto& [key, value] : v->blobs) blobs += (value.size() + 4095) / 4096;
  }
  for (const auto& [key, value] : blobs_) blobs += (value.size() + 4095) / 4096;
  std::sort(all.begin(), all.end());
  held = static_cast<uint64_t>(std::unique(all.begin(), all.end()) - all.begin());
  auto counted = [this] {
    SnapshotInfo info;
    for (const auto& v : volumes_) {
      for (const auto& s : v->snapshots) {
        if (!pool_->Snapshot(s->handle, &info) || !info.settled) return false;
      }
    }
    return true;
  };
  for (int round = 0; round < 40; ++round) {
    PoolStats s = pool_->Stats();
    if (s.data_blocks != data) return Fail("data blocks " + std::to_string(s.data_blocks));
    const auto owns = [&] { return held + blobs + s.metadata_blocks + s.pending_free_blocks; };
    // Where a rebalance is moving blocks to is nobody's until it has.
    const bool moving = pool_->WalkInfo(WalkKind::kRebalance).state == WalkState::kRunning;
    for (int i = 0; moving && i < 1000 && s.allocated_blocks != owns(); ++i) {
      Step();
      s = pool_->Stats();
    }
    const uint64_t owned = owns();
    // Snapshots go over a few checkpoints. After those, only what one checkpoint itself frees
    // waits.
    if (s.allocated_blocks == owned && s.pending_free_blocks <= 400 && round >= 3 && counted()) {
      break;
    }
    if (round == 39 && (s.allocated_blocks != owned || s.pending_free_blocks > 400)) {
      return Fail("allocated blocks " + std::to_string(s.allocated_blocks) + ", owned " +
                  std::to_string(owned) + " of which " + std::to_string(s.pending_free_blocks) +
                  " wait to be freed");
    }
    for (int i = 0; i < 100000 && pool_->WantsPoll(); ++i) Step();
    if (Do([this](DoneFn done, void* c) { pool_->Checkpoint(done, c); }) != Status::kOk) {
      return Fail("a checkpoint failed");
    }
  }
  for (const auto& v : volumes_) {
    VolumeInfo info;
    if (!pool_->Volume(v->handle, &info)) return Fail(v->name + " is unknown");
    if (info.written_blocks != v->Written(v->snapshots.size())) {
      return Fail(v->name + " has written " + std::to_string(info.written_blocks) + ", expected " +
                  std::to_string(v->Written(v->snapshots.size())));
    }
    for (size_t at = 0; at < v->snapshots.size(); ++at) {
      SnapshotInfo snapshot;
      if (!pool_->Snapshot(v->snapshots[at]->handle, &snapshot) || !snapshot.settled) {
        return Fail(v->snapshots[at]->name + " is never counted");
      }
      if (snapshot.written_blocks != v->Written(at)) {
        return Fail(v->snapshots[at]->name + " has written " +
                    std::to_string(snapshot.written_blocks) + ", expected " +
                    std::to_string(v->Written(at)));
      }
    }
  }
  return true;
}

}  // namespace ashlar::model
