#include "native/test/crash/judge.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

namespace ashlar::crash {
namespace {

struct AlignedBuffer {
  explicit AlignedBuffer(uint64_t bytes)
      : data(static_cast<uint8_t*>(std::aligned_alloc(kPage, bytes))) {
    if (data == nullptr) std::abort();
  }
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  uint8_t* data;
};

// To its end, or until hosts can read: a volume that is being rolled back cannot be.
void DrainBackground(Pool& pool, bool settled) {
  auto rolling = [&pool] {
    const std::vector<VolumeInfo> all = pool.Volumes();
    return std::any_of(all.begin(), all.end(), [](const auto& v) { return v.rolling_back; });
  };
  for (int turn = 0; pool.WantsPoll() && turn < 200000; turn += 1) {
    if (!settled && !rolling()) return;
    pool.Kick();
    pool.Poll();
  }
}

std::string ReadBlocks(Pool& pool, uint32_t handle, uint64_t lba, uint64_t blocks, uint8_t* data) {
  Op op;
  op.kind = OpKind::kRead;
  op.volume = handle;
  op.lba = lba;
  op.blocks = blocks;
  op.data = data;
  bool done = false;
  op.context = &done;
  op.done = [](Op* ended) { *static_cast<bool*>(ended->context) = true; };
  pool.Submit(&op);
  for (int turn = 0; !done && turn < 1000; turn += 1) {
    pool.Kick();
    pool.Poll();
  }
  if (!done) return "a read never ends";
  if (op.status != Status::kOk) return "block " + std::to_string(op.failed_lba) + " cannot be read";
  return "";
}

// An atomic write that shows anywhere shows everywhere, but where something later has come over it.
std::string JudgeAtomicWrites(const VolumeHistory& volume, const std::vector<uint64_t>& values,
                              uint64_t cut) {
  for (const AtomicWrite& write : volume.atomic_writes) {
    if (write.issued > cut) break;
    size_t shown = 0;
    size_t missing = 0;
    for (size_t at = 0; at < write.changes.size(); at += 1) {
      const uint64_t lba = write.lba + at;
      const uint64_t value = lba < values.size() ? values[lba] : 0;
      if (value == write.value)
        shown += 1;
      else if (!volume.blocks[lba].HasLater(write.changes[at], value))
        missing += 1;
    }
    if (shown > 0 && missing > 0) {
      return "the atomic write of value " + std::to_string(write.value) + " at block " +
             std::to_string(write.lba) + " is torn: " + std::to_string(shown) + " blocks of it, " +
             std::to_string(missing) + " from before";
    }
  }
  return "";
}

// All values of a volume or snapshot; what is read there is `number`'s bytes.
std::string ReadValues(Pool& pool, uint32_t handle, uint64_t number, uint64_t size,
                       std::vector<uint64_t>* values) {
  static AlignedBuffer buffer(64 * kBlockBytes);
  for (uint64_t lba = 0; lba < size; lba += 64) {
    const uint64_t blocks = std::min<uint64_t>(64, size - lba);
    const std::string why = ReadBlocks(pool, handle, lba, blocks, buffer.data);
    if (!why.empty()) return why;
    for (uint64_t at = 0; at < blocks; at += 1) {
      uint64_t value = 0;
      if (!ReadBlock(number, lba + at, buffer.data + at * kBlockBytes, &value))
        return "block " + std::to_string(lba + at) + " holds foreign bytes";
      values->push_back(value);
    }
  }
  return "";
}

// What the pool says changed between two, against what they hold.
std::string JudgeChanges(Pool& pool, uint32_t from, const std::vector<uint64_t>& before,
                         uint32_t to, const std::vector<uint64_t>& after) {
  std::vector<int> said(after.size(), 0);
  for (uint64_t lba = 0; lba < after.size();) {
    std::vector<MapRun> runs;
    uint64_t next = 0;
    Status status = Status::kBusy;
    pool.Changed(
        from, to, lba, 5, &runs, &next,
        [](void* context, Status ended) { *static_cast<Status*>(context) = ended; }, &status);
    for (int turn = 0; status == Status::kBusy && turn < 1000; turn += 1) {
      pool.Kick();
      pool.Poll();
    }
    if (status != Status::kOk || next <= lba)
      return "a list of changes does not come: status " + std::to_string(static_cast<int>(status)) +
             " at " + std::to_string(lba);
    for (const MapRun& run : runs) {
      for (uint64_t at = run.lba; at < run.lba + run.blocks && at < said.size(); at += 1) {
        said[at] = run.mapped ? 1 : 2;
      }
    }
    lba = next;
  }
  for (uint64_t lba = 0; lba < after.size(); lba += 1) {
    const uint64_t was = lba < before.size() ? before[lba] : 0;
    const int expected = was == after[lba] ? 0 : after[lba] != 0 ? 1 : 2;
    if (said[lba] != expected) {
      return "the change of block " + std::to_string(lba) + " from value " + std::to_string(was) +
             " to " + std::to_string(after[lba]) + " is told as " + std::to_string(said[lba]);
    }
  }
  return "";
}

std::string JudgeSnapshots(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                           Contents* contents, bool settled) {
  std::map<uint64_t, int> groups;  // 1: some are there, 2: some are not.
  size_t known = 0;
  size_t there = 0;
  std::vector<SnapshotInfo> found;
  for (const VolumeInfo& volume : pool.Volumes()) {
    if (volume.deleting) continue;
    for (SnapshotInfo& s : pool.Snapshots(volume.handle)) {
      if (!s.deleting) found.push_back(std::move(s));
    }
  }
  there = found.size();
  std::map<uint32_t, std::vector<uint64_t>> values;
  std::map<uint32_t, uint64_t> numbers;
  for (const auto& history : workload.snapshots()) {
    const SnapshotInfo* info = nullptr;
    for (const SnapshotInfo& each : found) {
      if (each.id == history->id) info = &each;
    }
    if (!history->existence.Allows(info == nullptr ? 0 : 1, cut, kind, 0))
      return history->name + (info == nullptr ? " is gone" : " is back");
    if (history->existence.size() == 1) groups[history->group] |= info != nullptr ? 1 : 2;
    // Not unique_blocks: how many pages are its alone depends on where checkpoints fell. The
    // offline check counts them.
    contents->values.push_back(info == nullptr ? kNever : info->mapped_blocks);
    if (info == nullptr) continue;
    known += 1;
    if (info->name != history->name) return history->name + " has another name";
    if (info->size_blocks != history->size) return history->name + " has another size";
    std::vector<uint64_t>& held = values[info->handle];
    numbers[info->volume] = history->volume->number;
    std::string why = ReadValues(pool, info->handle, history->volume->number, history->size, &held);
    if (!why.empty()) return history->name + ": " + why;
    // Reported, it is exactly what came before it (P1). Not reported, no more than that.
    const bool promised = history->existence.change(0).durable <= cut;
    uint64_t mapped = 0;
    for (uint64_t lba = 0; lba < history->size; lba += 1) {
      const SnapshotHistory::Block& block = history->blocks[lba];
      mapped += held[lba] == 0 ? 0 : 1;
      const bool right =
          promised ? held[lba] == block.value
                   : block.reg->Allows(held[lba], cut, kind, block.initial, 0, block.changes);
      if (!right) {
        return history->name + " block " + std::to_string(lba) + " holds value " +
               std::to_string(held[lba]) + ", not " + std::to_string(block.value);
      }
      contents->values.push_back(held[lba]);
    }
    if (mapped != info->mapped_blocks) return history->name + " miscounts its mapped blocks";
  }
  if (known != there) return "there are snapshots that nobody made";
  for (const auto& [group, seen] : groups) {
    if (seen == 3) return "a group of snapshots is there in part";
  }
  // Neighbours, and the last one with its volume.
  for (const VolumeInfo& volume : pool.Volumes()) {
    if (volume.deleting) continue;
    uint32_t before = 0;
    for (const SnapshotInfo& s : pool.Snapshots(volume.handle)) {
      if (s.deleting) continue;
      if (settled && !s.settled) return s.name + " is never counted";
      if (before != 0) {
        const std::string why =
            JudgeChanges(pool, before, values[before], s.handle, values[s.handle]);
        if (!why.empty()) return s.name + ": " + why;
      }
      before = s.handle;
    }
    if (before == 0) continue;
    std::vector<uint64_t> now;
    std::string why =
        ReadValues(pool, volume.handle, numbers[volume.handle], volume.size_blocks, &now);
    if (why.empty()) why = JudgeChanges(pool, before, values[before], volume.handle, now);
    if (!why.empty()) return volume.name + ": " + why;
  }
  return "";
}

}  // namespace

std::string Judge(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                  Contents* contents, bool settled) {
  static AlignedBuffer buffer(64 * kBlockBytes);
  DrainBackground(pool, settled);
  uint64_t mapped_total = 0;
  size_t known = 0;
  const std::vector<VolumeInfo> found = pool.Volumes();
  for (const auto& volume : workload.volumes()) {
    const VolumeInfo* info = nullptr;
    for (const VolumeInfo& each : found) {
      if (each.name == volume->name && !each.deleting) info = &each;
    }
    if (!volume->existence.Allows(info == nullptr ? 0 : 1, cut, kind, 0)) {
      return volume->name + (info == nullptr ? " is gone" : " is back");
    }
    contents->values.push_back(info == nullptr ? kNever : info->size_blocks);
    if (info == nullptr) continue;
    known += 1;
    if (!(info->id == volume->id)) return volume->name + " has another id";
    if (!volume->size.Allows(info->size_blocks, cut, kind, 0))
      return volume->name + " has size " + std::to_string(info->size_blocks);
    // T7: contig is at least what the last flush covered; and what it says is true, below.
    uint64_t least = 0;
    for (const ContigMark& mark : volume->contig_marks) {
      if (mark.at <= cut) least = kind == CutKind::kKill ? mark.applied : mark.durable;
    }
    if (info->contig < least) {
      return volume->name + " has contig " + std::to_string(info->contig) + ", had " +
             std::to_string(least);
    }
    contents->values.push_back(info->contig);
    uint64_t mapped = 0;
    std::vector<uint64_t> values;
    for (uint64_t lba = 0; lba < info->size_blocks; lba += 64) {
      const uint64_t blocks = std::min<uint64_t>(64, info->size_blocks - lba);
      const std::string why = ReadBlocks(pool, info->handle, lba, blocks, buffer.data);
      if (!why.empty()) return volume->name + ": " + why;
      for (uint64_t at = 0; at < blocks; at += 1) {
        uint64_t value = 0;
        const std::string place = volume->name + " block " + std::to_string(lba + at);
        if (!ReadBlock(volume->number, lba + at, buffer.data + at * kBlockBytes, &value))
          return place + " holds foreign bytes";
        const uint64_t initial = volume->Initial(lba + at);
        if (!volume->blocks[lba + at].Allows(value, cut, kind, initial, info->contig))
          return place + " holds value " + std::to_string(value);
        mapped += value == 0 ? 0 : 1;
        contents->values.push_back(value);
        values.push_back(value);
      }
    }
    const std::string torn = JudgeAtomicWrites(*volume, values, cut);
    if (!torn.empty()) return volume->name + ": " + torn;
    if (mapped != info->mapped_blocks) {
      return volume->name + " counts " + std::to_string(info->mapped_blocks) +
             " mapped blocks, has " + std::to_string(mapped);
    }
    mapped_total += mapped;
    for (const auto& [key, reg] : volume->blobs) {
      std::vector<uint8_t> bytes;
      uint64_t value = 0;
      if (pool.GetBlob(info->handle, key, &bytes) && bytes.size() >= 8)
        std::memcpy(&value, bytes.data(), 8);
      if (!reg.Allows(value, cut, kind, 0))
        return volume->name + " " + key + " holds value " + std::to_string(value);
      for (size_t at = 8; at < bytes.size(); at += 1) {
        if (bytes[at] != static_cast<uint8_t>(value)) return volume->name + " " + key + " is torn";
      }
      contents->values.push_back(value);
    }
  }
  const std::string why = JudgeSnapshots(pool, workload, cut, kind, contents, settled);
  if (!why.empty()) return why;
  size_t alive = 0;
  for (const VolumeInfo& each : found) alive += each.deleting ? 0 : 1;
  if (alive != known) return "there are volumes that nobody made";
  const PoolStats stats = pool.Stats();
  // What is being deleted still counts.
  if (settled && stats.data_blocks != mapped_total) {
    return "the pool counts " + std::to_string(stats.data_blocks) +
           " data blocks, its volumes have " + std::to_string(mapped_total);
  }
  if (stats.state != PoolState::kOpen) return "the pool is faulted: " + stats.fault;
  return "";
}

}  // namespace ashlar::crash
