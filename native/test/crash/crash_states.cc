// Crash states of the engine (T7). For each seeded workload, the medium is frozen at many instants;
// what had been flushed is there, of the rest a chosen subset, torn by sectors. Each state is
// opened and judged: it opens, every value is one that the history allows, the counters are exact,
// an offline check is clean, opening again changes nothing, the older superblock leads to the same,
// and a second crash inside recovery is survived too.
//
//   crash_states --mutants [--states N]: the test of this test; see native/engine/mutants.h
//   crash_states [--states N] [--seed S] [--operations N] [--jobs N] [--replay SEED:CUT:VARIANT]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "native/engine/mutants.h"
#include "native/test/crash/recording_file.h"
#include "native/test/crash/workload.h"

namespace ashlar::crash {
namespace {

constexpr uint64_t kMediumBytes = 32 << 20;
constexpr uint64_t kLogBytes = 256
                               << 10;  // 64 blocks, the least: the ring wraps within a workload.

struct Options {
  uint64_t states = 20000;
  uint64_t seed = 1;
  uint32_t operations = 300;
  uint32_t jobs = 2;
  uint64_t only_cut = kNever;
  uint64_t only_variant = kNever;
  bool lose_flushes = false;
};

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

// What a reopened pool holds, for comparing one opening with another.
struct Contents {
  std::vector<uint64_t> values;
  friend bool operator==(const Contents&, const Contents&) = default;
};

void DrainBackground(Pool& pool) {
  for (int turn = 0; pool.WantsPoll() && turn < 100000; turn += 1) {
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
    if (said[lba] != expected) return "the change of block " + std::to_string(lba) + " is wrong";
  }
  return "";
}

std::string JudgeSnapshots(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                           Contents* contents) {
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
      if (!s.settled) return s.name + " is never counted";
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

// Reads everything and judges it by the history. `contents` gets what was found.
std::string Judge(Pool& pool, const Workload& workload, uint64_t cut, CutKind kind,
                  Contents* contents) {
  static AlignedBuffer buffer(64 * kBlockBytes);
  DrainBackground(pool);
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
  const std::string why = JudgeSnapshots(pool, workload, cut, kind, contents);
  if (!why.empty()) return why;
  size_t alive = 0;
  for (const VolumeInfo& each : found) alive += each.deleting ? 0 : 1;
  if (alive != known) return "there are volumes that nobody made";
  const PoolStats stats = pool.Stats();
  if (stats.data_blocks != mapped_total) {
    return "the pool counts " + std::to_string(stats.data_blocks) +
           " data blocks, its volumes have " + std::to_string(mapped_total);
  }
  if (stats.state != PoolState::kOpen) return "the pool is faulted: " + stats.fault;
  return "";
}

std::string OpenAndJudge(BlockFile& medium, Rng& rng, bool older, const Workload& workload,
                         uint64_t cut, CutKind kind, Contents* contents) {
  PoolOptions options;
  options.cache_bytes = 4 << 20;
  options.prefer_older_superblock = older;
  for (uint8_t& byte : options.open_id.bytes) byte = static_cast<uint8_t>(rng());
  std::unique_ptr<Pool> pool;
  std::string why;
  const Status status = Pool::Open(medium, options, &pool, &why);
  if (status != Status::kOk)
    return "does not open: status " + std::to_string(static_cast<int>(status)) + " " + why;
  if (pool->Stats().log_damaged) return "an honest crash is taken for a damaged log";
  return Judge(*pool, workload, cut, kind, contents);
}

std::string CheckClean(OverlayFile& medium) {
  CheckReport report;
  const Status status = Pool::Check(medium, true, &report);
  if (status == Status::kOk && report.clean) return "";
  return "the check finds: " + (report.findings.empty()
                                    ? "status " + std::to_string(static_cast<int>(status))
                                    : report.findings[0]);
}

// Everything that is asked of one crash state.
std::string JudgeState(const OverlayFile& state, Rng& rng, const Workload& workload, uint64_t cut,
                       CutKind kind) {
  OverlayFile medium(&state);
  Contents contents;
  std::string why = OpenAndJudge(medium, rng, false, workload, cut, kind, &contents);
  if (!why.empty()) return why;
  why = CheckClean(medium);
  if (!why.empty()) return why;
  const uint64_t dice = Below(rng, 8);
  if (dice < 4) {  // Opening again changes nothing.
    Contents again;
    why = OpenAndJudge(medium, rng, false, workload, cut, kind, &again);
    if (!why.empty()) return "opened again: " + why;
    if (!(again == contents)) return "opened again it holds something else";
  }
  if (dice < 6) {  // The older superblock leads to the same (S3).
    OverlayFile other(&state);
    Contents older;
    why = OpenAndJudge(other, rng, true, workload, cut, kind, &older);
    if (!why.empty()) return "from the older superblock: " + why;
    if (!(older == contents)) return "from the older superblock it holds something else";
    why = CheckClean(other);
    if (!why.empty()) return "from the older superblock: " + why;
  }
  if (dice >= 6) {  // A second crash, inside recovery.
    RecordingFile recording(&state, rng());
    PoolOptions options;
    options.cache_bytes = 4 << 20;
    std::unique_ptr<Pool> pool;
    std::string text;
    if (Pool::Open(recording, options, &pool, &text) != Status::kOk)
      return "does not open when writes complete late: " + text;
    pool.reset();
    const auto& events = recording.events();
    const uint64_t stop = Below(rng, events.size() + 1);
    OverlayFile second(&state);
    std::vector<char> completed(recording.writes().size(), 0);
    std::vector<char> submitted(recording.writes().size(), 0);
    std::vector<char> flushed(recording.writes().size(), 0);
    std::vector<char> covered;
    for (uint64_t at = 0; at < stop; at += 1) {
      const Event& event = events[at];
      if (event.kind == EventKind::kWriteSubmitted) submitted[event.index] = 1;
      if (event.kind == EventKind::kWriteCompleted) completed[event.index] = 1;
      if (event.kind == EventKind::kFlushSubmitted) covered = completed;
      if (event.kind == EventKind::kFlushCompleted) flushed = covered;
    }
    for (size_t write = 0; write < submitted.size(); write += 1) {
      const bool there = flushed[write] || (kind == CutKind::kKill && completed[write]);
      if (submitted[write] && (there || Chance(rng, 50))) {
        const RecordedWrite& recorded = recording.writes()[write];
        second.Put(recorded.offset, recorded.data.data(), recorded.data.size());
      }
    }
    Contents after;
    why = OpenAndJudge(second, rng, false, workload, cut, kind, &after);
    if (!why.empty()) return "after a crash inside recovery: " + why;
    why = CheckClean(second);
    if (!why.empty()) return "after a crash inside recovery: " + why;
  }
  return "";
}

class Explorer {
 public:
  explicit Explorer(const Options& options) : options_(options) {}

  // Explores `states` crash states of the workload `seed`. Returns how many it judged; kNever after
  // a finding, which is printed.
  uint64_t Explore(uint64_t seed, uint64_t states);

 private:
  std::string JudgeVariant(uint64_t cut, uint64_t variant, const Workload& workload);
  void Advance(uint64_t cut);

  Options options_;
  uint64_t seed_ = 0;
  std::vector<uint8_t> durable_;  // The medium as of position_, flushed writes only.
  uint64_t position_ = 0;
  const std::vector<Event>* events_ = nullptr;
  const std::vector<RecordedWrite>* writes_ = nullptr;
  std::vector<uint32_t> completed_;  // Not flushed, in order of submission.
  std::vector<uint32_t> in_flight_;
  std::vector<uint32_t> covered_;  // Completed when the flush under way was submitted.
};

void Explorer::Advance(uint64_t cut) {
  for (; position_ < cut; position_ += 1) {
    const Event& event = (*events_)[position_];
    switch (event.kind) {
      case EventKind::kWriteSubmitted:
        in_flight_.push_back(event.index);
        break;
      case EventKind::kWriteCompleted:
        std::erase(in_flight_, event.index);
        completed_.insert(std::upper_bound(completed_.begin(), completed_.end(), event.index),
                          event.index);
        break;
      case EventKind::kFlushSubmitted:
        covered_ = completed_;
        break;
      case EventKind::kFlushCompleted:
        for (const uint32_t index : covered_) {
          const RecordedWrite& write = (*writes_)[index];
          std::memcpy(durable_.data() + write.offset, write.data.data(), write.data.size());
          std::erase(completed_, index);
        }
        covered_.clear();
        break;
    }
  }
}

// Variants: 0 nothing of the rest, 1 all of it, 2 only the completed (a kill), then seeded subsets.
std::string Explorer::JudgeVariant(uint64_t cut, uint64_t variant, const Workload& workload) {
  Rng rng(seed_ * 1000003 + cut * 8191 + variant);
  OverlayFile state(durable_.data(), durable_.size());
  const CutKind kind = variant % 3 == 2 ? CutKind::kKill : CutKind::kPower;
  std::vector<uint32_t> rest = completed_;
  rest.insert(rest.end(), in_flight_.begin(), in_flight_.end());
  std::sort(rest.begin(), rest.end());
  const uint64_t shape = Below(rng, 4);
  const size_t single = rest.empty() ? 0 : Below(rng, rest.size());
  const uint32_t percent = static_cast<uint32_t>(5 + Below(rng, 90));
  for (size_t at = 0; at < rest.size(); at += 1) {
    const RecordedWrite& write = (*writes_)[rest[at]];
    const bool done = std::binary_search(completed_.begin(), completed_.end(), rest[at]);
    bool there = false;
    bool torn = false;
    if (kind == CutKind::kKill && done) {
      there = true;
    } else if (variant == 1) {
      there = true;
    } else if (variant > 1) {
      if (shape == 0)
        there = at != single;  // A single loss.
      else if (shape == 1)
        there = at == single;  // A single survivor.
      else
        there = Chance(rng, percent);
      torn = !(shape < 2) && Chance(rng, 25);
    }
    if (torn) {
      for (size_t sector = 0; sector < write.data.size(); sector += kSector) {
        if (Chance(rng, 50)) state.Put(write.offset + sector, write.data.data() + sector, kSector);
      }
    } else if (there) {
      state.Put(write.offset, write.data.data(), write.data.size());
    }
  }
  return JudgeState(state, rng, workload, cut, kind);
}

uint64_t Explorer::Explore(uint64_t seed, uint64_t states) {
  seed_ = seed;
  const std::vector<uint8_t> zeros(kMediumBytes, 0);
  OverlayFile blank(zeros.data(), zeros.size());
  FormatOptions format;
  format.name = "crash";
  format.log_bytes = kLogBytes;
  Rng rng(seed);
  for (uint8_t& byte : format.store_id.bytes) byte = static_cast<uint8_t>(rng());
  if (Pool::Format(blank, format) != Status::kOk) {
    std::printf("seed %llu: format failed\n", static_cast<unsigned long long>(seed));
    return kNever;
  }
  RecordingFile file(&blank, seed);
  file.set_lose_flushes(options_.lose_flushes);
  WorkloadOptions workload_options;
  workload_options.seed = seed;
  workload_options.operations = options_.operations;
  Workload workload(&file, workload_options);
  const std::string wrong = workload.Run();
  if (!wrong.empty()) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
    return kNever;
  }
  durable_.resize(kMediumBytes);
  blank.Get(0, durable_.data(), durable_.size());
  position_ = 0;
  events_ = &file.events();
  writes_ = &file.writes();
  completed_.clear();
  in_flight_.clear();
  covered_.clear();

  // Every flush boundary gets its share, and as many cuts anywhere.
  std::vector<uint64_t> cuts;
  for (uint64_t at = 0; at < events_->size(); at += 1) {
    const EventKind kind = (*events_)[at].kind;
    if (kind == EventKind::kFlushSubmitted || kind == EventKind::kFlushCompleted) {
      cuts.push_back(at);
      cuts.push_back(at + 1);
    }
  }
  const size_t boundaries = cuts.size();
  for (size_t count = 0; count < boundaries + 50; count += 1)
    cuts.push_back(Below(rng, events_->size() + 1));
  std::sort(cuts.begin(), cuts.end());
  const uint64_t variants = std::max<uint64_t>(1, (states + cuts.size() - 1) / cuts.size());
  uint64_t judged = 0;
  for (const uint64_t cut : cuts) {
    if (options_.only_cut != kNever && cut != options_.only_cut) continue;
    Advance(cut);
    for (uint64_t variant = 0; variant < variants; variant += 1) {
      const uint64_t chosen = variants < 4 ? Below(rng, 12) : variant;
      if (options_.only_variant != kNever && options_.only_variant != chosen) continue;
      const std::string why = JudgeVariant(cut, chosen, workload);
      judged += 1;
      if (!why.empty()) {
        std::printf("seed %llu, cut %llu of %zu, variant %llu: %s\n",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cut),
                    events_->size(), static_cast<unsigned long long>(chosen), why.c_str());
        std::printf("replay: crash_states --replay %llu:%llu:%llu --operations %u\n",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cut),
                    static_cast<unsigned long long>(chosen), options_.operations);
        return kNever;
      }
    }
  }
  return judged;
}

constexpr uint64_t kStatesPerSeed = 500;

// One process' share: seeds first, first + step, … until `states` are judged.
int RunShare(const Options& options, uint64_t first, uint64_t step, uint64_t states, int report) {
  Explorer explorer(options);
  uint64_t judged = 0;
  for (uint64_t seed = first; judged < states; seed += step) {
    const uint64_t count = explorer.Explore(seed, std::min(kStatesPerSeed, states - judged));
    if (count == kNever) return 1;
    judged += count;
    if (write(report, &count, sizeof(count)) != sizeof(count)) return 1;
  }
  return 0;
}

#ifdef ASHLAR_MUTANTS
// The test of the test: with each fault of the engine switched on, some state must be bad. A broken
// assertion counts, as does a workload that reads what was not there.
int RunMutants(const Options& options) {
  bool missed = false;
  // The eighth, kSnapshotOvertakes, shows only where writes wait for pages of the map, which are
  // all in memory here: engine_snapshot_test asks for that order by itself.
  std::vector<Mutant> here;
  for (uint8_t mutant = 1; mutant < kMutants; mutant += 1) here.push_back(Mutant{mutant});
  here.push_back(Mutant::kCutInsideBlock);
  for (const Mutant mutant : here) {
    const auto begin = std::chrono::steady_clock::now();
    std::fflush(stdout);
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      g_mutant = mutant;
      if (freopen("/dev/null", "w", stdout) == nullptr ||
          freopen("/dev/null", "w", stderr) == nullptr)
        _exit(2);
      int pipe_ends[2];
      if (pipe(pipe_ends) != 0) _exit(2);
      _exit(RunShare(options, options.seed, 1, options.states, pipe_ends[1]) == 0 ? 0 : 1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0) return 1;
    const bool survived = WIFEXITED(status) && WEXITSTATUS(status) != 1;
    missed |= survived;
    std::printf("mutant %u %s after %.1f s\n", static_cast<uint32_t>(mutant),
                survived ? "NOT CAUGHT" : "caught",
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return missed ? 1 : 0;
}
#endif

int Main(int argc, char** argv) {
  Options options;
  bool mutants = false;
  for (int at = 1; at < argc; at += 1) {
    const std::string flag = argv[at];
    if (flag == "--mutants") {
      mutants = true;
      continue;
    }
    if (flag == "--lose-flushes") {
      options.lose_flushes = true;
      continue;
    }
    const char* value = at + 1 < argc ? argv[++at] : "";
    if (flag == "--states")
      options.states = std::strtoull(value, nullptr, 10);
    else if (flag == "--seed")
      options.seed = std::strtoull(value, nullptr, 10);
    else if (flag == "--operations")
      options.operations = static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
    else if (flag == "--jobs")
      options.jobs = std::max(1u, static_cast<uint32_t>(std::strtoul(value, nullptr, 10)));
    else if (flag == "--replay") {
      unsigned long long seed = 0, cut = 0, variant = 0;
      if (std::sscanf(value, "%llu:%llu:%llu", &seed, &cut, &variant) != 3) return 2;
      options.seed = seed;
      options.only_cut = cut;
      options.only_variant = variant;
      options.jobs = 1;
      options.states = 1;
      Explorer explorer(options);
      const uint64_t judged = explorer.Explore(seed, 10000);
      std::printf("%s\n", judged == kNever ? "found again"
                          : judged == 0    ? "no such state"
                                           : "clean");
      return judged == 0 || judged == kNever ? 1 : 0;
    } else {
      std::fprintf(stderr, "unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  if (mutants) {
#ifdef ASHLAR_MUTANTS
    return RunMutants(options);
#else
    std::fprintf(stderr, "built without mutants: cmake -DASHLAR_MUTANTS=ON\n");
    return 2;
#endif
  }
  const auto begin = std::chrono::steady_clock::now();
  int ends[2];
  if (pipe(ends) != 0) return 1;
  for (uint32_t job = 0; job < options.jobs; job += 1) {
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      close(ends[0]);
      const uint64_t share = (options.states + options.jobs - 1) / options.jobs;
      const int code = RunShare(options, options.seed + job, options.jobs, share, ends[1]);
      std::fflush(stdout);
      _exit(code);
    }
  }
  close(ends[1]);
  uint64_t total = 0;
  uint64_t judged = 0;
  auto shown = begin;
  while (read(ends[0], &judged, sizeof(judged)) == sizeof(judged)) {
    total += judged;
    const auto now = std::chrono::steady_clock::now();
    if (now - shown < std::chrono::seconds(10)) continue;
    shown = now;
    std::fprintf(stderr, "%llu of %llu states, %.0f s\n", static_cast<unsigned long long>(total),
                 static_cast<unsigned long long>(options.states),
                 std::chrono::duration<double>(now - begin).count());
  }
  bool bad = false;
  for (uint32_t job = 0; job < options.jobs; job += 1) {
    int status = 0;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) bad = true;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%llu crash states judged in %.1f s, %s\n", static_cast<unsigned long long>(total),
              seconds, bad ? "some bad" : "none bad");
  return bad ? 1 : 0;
}

}  // namespace
}  // namespace ashlar::crash

int main(int argc, char** argv) { return ashlar::crash::Main(argc, argv); }
