// The engine against the medium it stands on, in turns and in one process: the
// same kind of file, the same ring, O_DIRECT, the same depth; once as plain
// reads and writes of a file (what fio's io_uring engine does), once through a
// pool with checksums, log and map. Slices of each follow each other, so that
// what else the machine does meets both; a figure is the median of the slices,
// a ratio the median of the ratios of neighbours.
//
// Reads have a third slice: the medium alone, with what it read looked at once. Whoever compares
// checksums has the data in his processor's cache, and a medium that another processor writes to
// memory for (a virtual disk) may have to take it from there: that much is the machine's, not the
// engine's.
//
// CPU is this process's; requests and bytes are what the engine asks of its medium, its log and map
// included: neither depends on what else the machine does.
//
//   engine_bench [--dir DIR] [--size MIB] [--slice SECONDS] [--rounds N] [--only PART OF A NAME]
//   engine_bench --serve 1 …: slices on demand, for a comparison with others; see Serve
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "native/engine/pool.h"
#include "native/io/medium.h"

namespace ashlar::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kMaxDepth = 32;
constexpr uint32_t kMaxBlocks = 32;
constexpr size_t kHugePageBytes = 2 << 20;
constexpr uint32_t kCacheLineBytes = 64;

[[noreturn]] void Fail(const std::string &why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// CPU time of this process, all threads, in µs.
double CpuUs() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Passes everything on and counts it.
class CountingFile final : public BlockFile {
 public:
  explicit CountingFile(MediumFile *under) : under_(under) {}
  uint64_t size_bytes() const override { return under_->size_bytes(); }
  uint32_t block_bytes() const override { return under_->block_bytes(); }
  void Submit(IoRequest *request) override {
    ++requests;
    bytes += request->bytes;
    under_->Submit(request);
  }
  void Kick() override { under_->Kick(); }
  int Poll() override { return under_->Poll(); }
  int Wait() override { return under_->Wait(); }

  uint64_t requests = 0;
  uint64_t bytes = 0;

 private:
  MediumFile *under_;
};

struct Work {
  const char *name;
  bool write;
  bool random;
  uint32_t blocks;  // Of 4 KiB, a request.
  uint32_t depth;
};

struct Slice {
  double rate = 0;    // Requests a second.
  double p50_us = 0;  // Latencies.
  double p99_us = 0;
  double max_us = 0;
  double cpu_us = 0;  // An I/O, as the rest.
  double requests = 0;
  double bytes = 0;
};

// Requests in flight, and how long each took.
class Target {
 public:
  Target(CountingFile *file, uint64_t blocks) : file_(file), blocks_(blocks), random_(blocks) {
    const size_t bytes = kMaxDepth * kMaxBlocks * kBlockBytes;
    // As the daemon's arena: in small pages a request has as many pieces as they happen to be
    // scattered over memory, which differs from run to run.
    data_ = static_cast<uint8_t *>(std::aligned_alloc(kHugePageBytes, bytes));
    if (data_ == nullptr) std::abort();
    madvise(data_, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 8) {
      const uint64_t word = random_();
      std::memcpy(data_ + i, &word, 8);
    }
  }
  virtual ~Target() { std::free(data_); }
  Target(const Target &) = delete;
  Target &operator=(const Target &) = delete;

  // With `flush` the slice ends with one, timed with the rest.
  Slice Run(const Work &work, double seconds, double every = 0, bool flush = false) {
    latencies_.clear();
    const double cpu = CpuUs();
    const uint64_t requests = file_->requests, bytes = file_->bytes;
    const auto begun = Clock::now();
    const auto until =
        begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    auto next = begun + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(every / 2));
    ended_.clear();
    for (uint32_t i = 0; i < work.depth; ++i) ended_.push_back(i);
    uint32_t in_flight = 0;
    for (;;) {
      const bool more = Clock::now() < until;
      if (more && every > 0 && Clock::now() >= next) {
        next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(every));
        Event();
      }
      std::vector<uint32_t> ready;
      ready.swap(ended_);
      for (uint32_t slot : ready) {
        if (started_[slot] != Clock::time_point{}) {
          latencies_.push_back(
              std::chrono::duration<double, std::micro>(Clock::now() - started_[slot]).count());
          started_[slot] = {};
          --in_flight;
        }
        if (!more) continue;
        const uint64_t places = blocks_ / work.blocks;
        const uint64_t place = work.random ? random_() % places : cursor_++ % places;
        started_[slot] = Clock::now();
        ++in_flight;
        Start(slot, work.write, place * work.blocks, work.blocks,
              data_ + slot * kMaxBlocks * kBlockBytes);
      }
      if (!more && in_flight == 0) break;
      if (ended_.empty()) Step();
    }
    if (flush) Flush();
    Slice slice;
    const double took = std::chrono::duration<double>(Clock::now() - begun).count();
    slice.rate = static_cast<double>(latencies_.size()) / took;
    std::sort(latencies_.begin(), latencies_.end());
    if (latencies_.empty()) return slice;
    const auto ios = static_cast<double>(latencies_.size());
    slice.cpu_us = (CpuUs() - cpu) / ios;
    slice.requests = static_cast<double>(file_->requests - requests) / ios;
    slice.bytes = static_cast<double>(file_->bytes - bytes) / ios;
    slice.p50_us = latencies_[latencies_.size() / 2];
    slice.p99_us = latencies_[latencies_.size() * 99 / 100];
    slice.max_us = latencies_.back();
    return slice;
  }

 protected:
  virtual void Start(uint32_t slot, bool write, uint64_t block, uint32_t blocks, uint8_t *data) = 0;
  virtual void Step() = 0;
  virtual void Event() {}
  virtual void Flush() {}
  void Ended(uint32_t slot) { ended_.push_back(slot); }

  CountingFile *file_;

 private:
  uint64_t blocks_;
  std::mt19937_64 random_;
  uint8_t *data_;
  uint64_t cursor_ = 0;
  Clock::time_point started_[kMaxDepth] = {};
  std::vector<uint32_t> ended_;
  std::vector<double> latencies_;
};

class RawTarget final : public Target {
 public:
  // With `looks`, at one word of each cache line of what was read.
  RawTarget(CountingFile *file, uint64_t blocks, bool looks = false)
      : Target(file, blocks), looks_(looks) {
    for (uint32_t i = 0; i < kMaxDepth; ++i) {
      slots_[i].target = this;
      slots_[i].index = i;
    }
  }

 private:
  struct Slot : IoRequest {
    RawTarget *target = nullptr;
    uint32_t index = 0;
  };
  void Start(uint32_t slot, bool write, uint64_t block, uint32_t blocks, uint8_t *data) override {
    Slot &s = slots_[slot];
    s.kind = write ? IoKind::kWrite : IoKind::kRead;
    s.offset = block * kBlockBytes;
    s.bytes = blocks * kBlockBytes;
    s.data = data;
    s.result = 0;
    s.done = [](IoRequest *request) {
      if (request->result != 0) Fail("the file failed a request");
      auto *ended = static_cast<Slot *>(request);
      if (ended->target->looks_ && request->kind == IoKind::kRead) Look(*request);
      ended->target->Ended(ended->index);
    };
    file_->Submit(&s);
  }
  void Step() override {
    file_->Kick();
    if (file_->Poll() == 0) file_->Wait();
  }

  static void Look(const IoRequest &request) {
    for (uint32_t at = 0; at < request.bytes; at += kCacheLineBytes) {
      static_cast<void>(*static_cast<const volatile uint8_t *>(request.data + at));
    }
  }

  Slot slots_[kMaxDepth];
  bool looks_;
};

class PoolTarget final : public Target {
 public:
  PoolTarget(CountingFile *file, Pool *pool, uint32_t volume, uint64_t blocks)
      : Target(file, blocks), pool_(pool), volume_(volume) {}

  template <typename F>
  void Control(F call) {
    Status status = Status::kBusy;
    call([](void *context, Status s) { *static_cast<Status *>(context) = s; },
         static_cast<void *>(&status));
    while (status == Status::kBusy) Step();
    if (status != Status::kOk) Fail("a call failed: " + pool_->Stats().fault);
  }
  double slowest_snapshot_ms() const { return slowest_ms_; }

  // A snapshot, waited for; the ones before it are deleted.
  double SnapshotMs() {
    const std::vector<SnapshotInfo> before = pool_->Snapshots(volume_);
    const auto begun = Clock::now();
    Event();
    while (snapshot_running_) Step();
    const double took = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
    for (const SnapshotInfo &s : before) {
      if (s.deleting) continue;
      Control([&](DoneFn done, void *context) { pool_->DeleteSnapshot(s.handle, done, context); });
    }
    return took;
  }
  void Flush() override {
    Op op;
    op.kind = OpKind::kFlush;
    op.volume = volume_;
    bool ended = false;
    op.context = &ended;
    op.done = [](Op *o) {
      if (o->status != Status::kOk) Fail("a flush failed");
      *static_cast<bool *>(o->context) = true;
    };
    pool_->Submit(&op);
    while (!ended) Step();
  }

 private:
  void Start(uint32_t slot, bool write, uint64_t block, uint32_t blocks, uint8_t *data) override {
    Op &op = ops_[slot];
    op = Op{};
    op.kind = write ? OpKind::kWrite : OpKind::kRead;
    op.volume = volume_;
    op.lba = block;
    op.blocks = blocks;
    op.data = data;
    op.version = ++version_;
    op.context = this;
    op.done = [](Op *ended) {
      auto *self = static_cast<PoolTarget *>(ended->context);
      if (ended->status != Status::kOk) {
        Fail("an operation failed: status " + std::to_string(static_cast<int>(ended->status)) +
             " " + self->pool_->Stats().fault);
      }
      self->Ended(static_cast<uint32_t>(ended - self->ops_));
    };
    pool_->Submit(&op);
  }
  void Step() override {
    pool_->Kick();
    if (pool_->Poll() == 0 && !pool_->WantsPoll()) file_->Wait();
  }
  // A snapshot, and the one before the last is deleted.
  void Event() override {
    if (snapshot_running_) return;
    name_ = "s" + std::to_string(++snapshots_);
    const SnapshotRequest request{volume_, {}, name_, ++version_, nullptr};
    snapshot_running_ = true;
    snapshot_begun_ = Clock::now();
    pool_->CreateSnapshots(
        {&request, 1}, 1,
        [](void *context, Status status) {
          auto *self = static_cast<PoolTarget *>(context);
          if (status != Status::kOk) Fail("a snapshot failed");
          self->snapshot_running_ = false;
          const auto took = Clock::now() - self->snapshot_begun_;
          self->slowest_ms_ =
              std::max(self->slowest_ms_, std::chrono::duration<double, std::milli>(took).count());
        },
        this);
    const std::vector<SnapshotInfo> all = pool_->Snapshots(volume_);
    if (all.size() > 2 && !all[0].deleting) {
      pool_->DeleteSnapshot(
          all[0].handle, [](void *, Status) {}, nullptr);
    }
  }

  Pool *pool_;
  uint32_t volume_;
  Op ops_[kMaxDepth];
  uint64_t version_ = 1;
  uint64_t snapshots_ = 0;
  std::string name_;
  bool snapshot_running_ = false;
  Clock::time_point snapshot_begun_;
  double slowest_ms_ = 0;
};

// Once, or for five minutes.
void WriteAll(Target *target, uint64_t blocks) {
  const Work fill{"fill", true, false, 32, 8};
  const auto begun = Clock::now();
  uint64_t written = 0;
  while (written < blocks) {
    const Slice s = target->Run(fill, 0.5);
    written += static_cast<uint64_t>(s.rate * 0.5 * 32);
    if (std::chrono::duration<double>(Clock::now() - begun).count() > 300) break;
  }
}

// Does what lines on stdin say, each answered with a line of JSON:
//   run seq|random read|write BLOCKS DEPTH SECONDS
//   snapshot
void Serve(PoolTarget *engine) {
  std::printf("ready\n");
  std::fflush(stdout);
  char line[256];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    char order[8] = "", kind[8] = "";
    Work work{"", false, false, 0, 0};
    double seconds = 0;
    if (std::string(line) == "snapshot\n") {
      std::printf("{\"ms\": %.3f}\n", engine->SnapshotMs());
    } else if (std::sscanf(line, "run %7s %7s %u %u %lf", order, kind, &work.blocks, &work.depth,
                           &seconds) == 5 &&
               work.blocks > 0 && work.blocks <= kMaxBlocks && work.depth > 0 &&
               work.depth <= kMaxDepth) {
      work.random = std::string(order) == "random";
      work.write = std::string(kind) == "write";
      const Slice s = engine->Run(work, seconds, 0, work.write);
      std::printf("{\"rate\": %.1f, \"p99Us\": %.1f, \"cpuUs\": %.2f, \"requests\": %.3f}\n",
                  s.rate, s.p99_us, s.cpu_us, s.requests);
    } else {
      Fail("not understood: " + std::string(line));
    }
    std::fflush(stdout);
  }
}

int Main(int argc, char **argv) {
  std::string dir = ".";
  uint64_t size_mib = 2048;
  double slice_s = 1;
  int rounds = 7;
  std::string only;
  bool serve = false;
  for (int at = 1; at + 1 < argc; at += 2) {
    const std::string flag = argv[at];
    const char *value = argv[at + 1];
    if (flag == "--dir") {
      dir = value;
    } else if (flag == "--size") {
      size_mib = std::strtoull(value, nullptr, 10);
    } else if (flag == "--slice") {
      slice_s = std::strtod(value, nullptr);
    } else if (flag == "--rounds") {
      rounds = std::atoi(value);
    } else if (flag == "--only") {
      only = value;
    } else if (flag == "--serve") {
      serve = true;
    } else if (flag != "--jobs") {
      std::fprintf(stderr, "unknown option %s\n", flag.c_str());
      return 2;
    }
  }
  // The pool has room for what is written anew before what was freed comes
  // back.
  const uint64_t blocks = size_mib * 256;
  CreateOptions create;
  create.force = true;
  std::unique_ptr<NewMedium> raw_medium, pool_medium;
  create.size_bytes = blocks * kBlockBytes;
  MediumFailure failure = NewMedium::Create(dir + "/bench.raw", create, &raw_medium);
  if (!failure.ok()) Fail(failure.text);
  create.size_bytes = 4 * blocks * kBlockBytes;
  failure = NewMedium::Create(dir + "/bench.pool", create, &pool_medium);
  if (!failure.ok()) Fail(failure.text);
  MediumFile &raw_file = raw_medium->file();
  CountingFile pool_file(&pool_medium->file());
  CountingFile raw_count(&raw_file);
  RawTarget raw(&raw_count, blocks);
  RawTarget looking(&raw_count, blocks, true);
  // Both files written all through: the first write to a place that fallocate has only promised
  // costs a file system as much as the data, and the pool would meet such places for as long as it
  // has not been full once.
  RawTarget pool_space(&pool_file, 4 * blocks);
  if (!serve) WriteAll(&raw, blocks);
  WriteAll(&pool_space, 4 * blocks);
  FormatOptions format;
  format.name = "bench";
  format.store_id.bytes[0] = 1;
  if (Pool::Format(pool_file, format) != Status::kOk) Fail("the pool cannot be made");
  std::unique_ptr<Pool> pool;
  std::string why;
  if (Pool::Open(pool_file, PoolOptions{}, &pool, &why) != Status::kOk) Fail(why);
  std::printf("%s: %s%s, %llu MiB each, slices of %.1f s, %d rounds\n", dir.c_str(),
              raw_file.backend(), raw_file.direct() ? ", O_DIRECT" : "",
              static_cast<unsigned long long>(size_mib), slice_s, rounds);
  uint32_t volume = 0;
  PoolTarget maker(&pool_file, pool.get(), 0, blocks);
  maker.Control([&](DoneFn done, void *context) {
    pool->CreateVolume(Uuid{}, "v", blocks, &volume, done, context, ~0ull);
  });
  PoolTarget engine(&pool_file, pool.get(), volume, blocks);
  WriteAll(&engine, blocks);  // No holes.
  if (serve) {
    Serve(&engine);
    return 0;
  }
  // What was written in sequence first: random writes leave free space in
  // pieces.
  const Work works[] = {
      {"128k sequential write, depth 8", true, false, 32, 8},
      {"128k sequential read, depth 8", false, false, 32, 8},
      {"4k random read, depth 32", false, true, 1, 32},
      {"4k random read, depth 1", false, true, 1, 1},
      {"4k random write, depth 32", true, true, 1, 32},
      {"4k random write, depth 1", true, true, 1, 1},
      {"128k sequential write, depth 8, after random writes", true, false, 32, 8},
      {"128k sequential read, depth 8, after those", false, false, 32, 8},
  };
  std::printf(
      "| work | medium /s | engine /s | ratio | ratio, read data looked at | p99 us medium / engine | CPU us an I/O medium / "
      "engine | engine: requests an I/O | KiB an I/O |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (const Work &work : works) {
    if (std::string(work.name).find(only) == std::string::npos) continue;
    std::vector<double> rates[2], ratios, looked, p99[2], cpu[2], requests, bytes;
    for (int round = 0; round < rounds; ++round) {
      Slice slices[2];
      for (const int t : {round % 2, 1 - round % 2}) {
        Target &target = t == 0 ? static_cast<Target &>(raw) : engine;
        slices[t] = target.Run(work, slice_s);
        rates[t].push_back(slices[t].rate);
        p99[t].push_back(slices[t].p99_us);
        cpu[t].push_back(slices[t].cpu_us);
      }
      requests.push_back(slices[1].requests);
      bytes.push_back(slices[1].bytes);
      ratios.push_back(slices[1].rate / slices[0].rate);
      if (!work.write) looked.push_back(slices[1].rate / looking.Run(work, slice_s).rate);
    }
    char looked_ratio[16] = "";
    if (!looked.empty()) std::snprintf(looked_ratio, sizeof looked_ratio, "%.2f", Median(looked));
    std::printf("| %s | %.0f | %.0f | %.2f | %s | %.0f / %.0f | %.1f / %.1f | %.2f | %.1f |\n",
                work.name, Median(rates[0]), Median(rates[1]), Median(ratios), looked_ratio, Median(p99[0]),
                Median(p99[1]), Median(cpu[0]), Median(cpu[1]), Median(requests),
                Median(bytes) / 1024);
    std::fflush(stdout);
  }
  if (std::string("a snapshot in the middle of each slice").find(only) == std::string::npos) {
    return 0;
  }
  // With a snapshot a second, against without.
  std::vector<double> calm, taken, rate_calm, rate_taken, worst_calm, worst_taken;
  for (int round = 0; round < rounds; ++round) {
    for (const int t : {round % 2, 1 - round % 2}) {
      const Slice s = engine.Run(works[4], 2 * slice_s, t == 1 ? 2 * slice_s : 0);
      (t == 1 ? taken : calm).push_back(s.p99_us);
      (t == 1 ? rate_taken : rate_calm).push_back(s.rate);
      (t == 1 ? worst_taken : worst_calm).push_back(s.max_us);
    }
  }
  std::printf(
      "4k random write, depth 32, a snapshot in the middle of each "
      "slice: p99 %.0f us "
      "against %.0f (%.2f), longest %.0f against %.0f, rate %.2f; "
      "slowest snapshot %.1f "
      "ms\n",
      Median(taken), Median(calm), Median(taken) / Median(calm), Median(worst_taken),
      Median(worst_calm), Median(rate_taken) / Median(rate_calm), engine.slowest_snapshot_ms());
  pool.reset();
  return 0;
}

}  // namespace
}  // namespace ashlar::bench

int main(int argc, char **argv) { return ashlar::bench::Main(argc, argv); }
