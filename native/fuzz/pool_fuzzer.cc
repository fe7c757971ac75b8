// Whole pools on damaged media. A small pool with volumes, snapshots, a clone, settings and a log
// that is still to be replayed is changed here and there, its checksums made right again or not;
// then it is opened, and read, written, snapshotted, rolled back, scrubbed and checked. Whatever
// the media say, the engine answers: an opening that is refused, an operation that fails, a pool
// that has faulted with its reason. It does not crash, loop, or read outside of anything.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "native/fuzz/pool_image.h"

using namespace ashlar;
using namespace ashlar::fuzz;

namespace {

constexpr uint64_t kDeviceBytes = 6 << 20;
constexpr uint64_t kVolumeBlocks = 700;
// Turns of Poll that any one call may take.
constexpr int kTurns = 20000;

[[noreturn]] void Hang(const char* what) {
  std::fprintf(stderr, "%s never ends\n", what);
  std::abort();
}

struct Buffer {
  explicit Buffer(uint64_t blocks)
      : data(static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes))) {
    if (data == nullptr) std::abort();
    std::memset(data, 0x5A, blocks * kBlockBytes);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  uint8_t* data;
};

class Host {
 public:
  explicit Host(Pool* pool) : pool_(pool), buffer_(kMaxAtomicBlocks) {}

  template <typename F>
  Status Control(const char* what, F call) {
    struct End {
      bool ended = false;
      Status status = Status::kOk;
    } end;
    call(
        [](void* context, Status status) {
          auto* e = static_cast<End*>(context);
          e->ended = true;
          e->status = status;
        },
        static_cast<void*>(&end));
    for (int turn = 0; !end.ended; ++turn) {
      // A fault may leave a call to its checkpoint; nothing more will come of it.
      if (turn == kTurns) Hang(what);
      Turn();
    }
    return end.status;
  }

  Status Run(OpKind kind, uint32_t volume, uint64_t lba, uint64_t blocks, uint8_t flags = 0,
             BlockTag* tags = nullptr, Guard guard = Guard::kNewer) {
    Op op;
    op.kind = kind;
    op.flags = flags;
    op.volume = volume;
    op.lba = lba;
    op.blocks = blocks;
    op.data = buffer_.data;
    op.tags = tags;
    op.guard = guard;
    op.version = version_ += 2;
    bool ended = false;
    op.context = &ended;
    op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    pool_->Submit(&op);
    for (int turn = 0; !*&ended; ++turn) {
      if (turn == kTurns) Hang("an operation");
      Turn();
    }
    return op.status;
  }

  void Turn() {
    pool_->Kick();
    pool_->Poll();
  }
  void Drain() {
    for (int turn = 0; pool_->WantsPoll() && turn < kTurns; ++turn) Turn();
  }
  void Fill(uint8_t value) { std::memset(buffer_.data, value, kMaxAtomicBlocks * kBlockBytes); }
  void SetVersion(uint64_t version) { version_ = version; }
  Pool* pool() { return pool_; }

 private:
  Pool* pool_;
  Buffer buffer_;
  uint64_t version_ = uint64_t{1} << 40;
};

// --- The pools that are damaged ---

struct Base {
  std::vector<std::vector<size_t>> vdevs;
  std::vector<std::vector<uint8_t>> before;
  Media media;  // To be changed, and restored.
  struct Place {
    size_t medium;
    uint64_t block;
  };
  std::vector<Place> places;        // What is worth a mutation: everything but data.
  std::vector<uint64_t> addresses;  // Of pages.
};

Base Make(const std::vector<std::vector<size_t>>& vdevs) {
  Base base;
  base.vdevs = vdevs;
  size_t devices = 0;
  for (const auto& vdev : vdevs) devices += vdev.size();
  Media media;
  for (size_t i = 0; i < devices; ++i) {
    media.push_back(std::make_unique<FlatFile>(std::vector<uint8_t>(kDeviceBytes)));
  }
  PoolLayout layout;
  for (const auto& vdev : vdevs) {
    layout.data.emplace_back();
    for (size_t i : vdev) layout.data.back().push_back({media[i].get(), "disk", {}});
  }
  FormatOptions format;
  format.name = "fuzzed";
  format.log_bytes = kMinLogBlocks * kBlockBytes;
  for (uint8_t i = 0; i < 16; ++i) format.store_id.bytes[i] = static_cast<uint8_t>(i + 1);
  if (Pool::Format(layout, format) != Status::kOk) std::abort();
  PoolOptions options;
  options.cache_bytes = 2 << 20;
  options.open_id.bytes[0] = 1;
  std::unique_ptr<Pool> pool;
  if (Pool::Open(Files(media), options, &pool, nullptr) != Status::kOk) std::abort();
  Host host(pool.get());
  auto must = [](Status status) {
    if (status != Status::kOk) std::abort();
  };
  auto create = [&](const char* name, uint64_t floor) {
    uint32_t handle = 0;
    Uuid id{};
    id.bytes[0] = static_cast<uint8_t>(name[0]);
    must(host.Control("create", [&](DoneFn done, void* c) {
      pool->CreateVolume(id, name, kVolumeBlocks, &handle, done, c, floor);
    }));
    return handle;
  };
  auto snapshot = [&](uint32_t volume, const char* name, uint64_t version) {
    uint32_t handle = 0;
    SnapshotRequest request{volume, {}, name, version, &handle};
    must(host.Control("snapshot", [&](DoneFn done, void* c) {
      pool->CreateSnapshots({&request, 1}, 1, done, c);
    }));
    return handle;
  };
  auto checkpoint = [&] {
    must(host.Control("checkpoint", [&](DoneFn done, void* c) { pool->Checkpoint(done, c); }));
  };
  auto put = [&](uint32_t volume, const char* key, size_t bytes) {
    const std::vector<uint8_t> value(bytes, 7);
    must(host.Control("blob",
                      [&](DoneFn done, void* c) { pool->PutBlob(volume, key, value, done, c); }));
  };
  const uint32_t a = create("a", ~0ull);
  const uint32_t b = create("b", 0);
  put(0, "pool", 100);
  put(a, "settings", 5000);
  for (uint8_t round = 0; round < 4; ++round) {
    host.Fill(static_cast<uint8_t>(round + 1));
    must(host.Run(OpKind::kWrite, a, 100 * round, 60));
    must(host.Run(OpKind::kWrite, a, 600, 20, kOpAtomic));
    must(host.Run(OpKind::kWrite, b, 50 * round, 100, kOpAtomic));
    must(host.Run(OpKind::kUnmap, b, 40 * round, 30));
    if (round == 3) break;
    snapshot(a, round == 0 ? "s0" : round == 1 ? "s1" : "s2", (uint64_t{1} << 41) + round);
    if (round == 1) snapshot(b, "t", uint64_t{1} << 41);
    host.SetVersion((uint64_t{1} << 41) + 1000 * round + 100);
    checkpoint();
    checkpoint();
  }
  uint32_t clone = 0;
  const std::vector<SnapshotInfo> snapshots = pool->Snapshots(a);
  must(host.Control("clone", [&](DoneFn done, void* c) {
    pool->CloneSnapshot(snapshots[1].handle, Uuid{}, "c", &clone, done, c);
  }));
  must(host.Run(OpKind::kWrite, clone, 10, 20));
  checkpoint();
  // And a log to be replayed, with an entry of every kind that a host can cause.
  host.Fill(9);
  must(host.Run(OpKind::kWrite, a, 20, 30));
  must(host.Run(OpKind::kWrite, a, 120, 40, kOpAtomic));
  must(host.Run(OpKind::kUnmap, b, 10, 200));
  BlockTag tags[4];
  for (BlockTag& tag : tags) {
    tag.kind = BlockKind::kData;
    tag.version = 5;
    const std::vector<uint8_t> block(kBlockBytes, 9);
    tag.crc = Crc32c(block.data(), kBlockBytes);
  }
  tags[2].kind = BlockKind::kHole;
  must(host.Run(OpKind::kWrite, b, 300, 4, 0, tags, Guard::kJoin));
  VolumeMarks marks;
  marks.set_contig = true;
  marks.contig = 3;
  must(host.Control("marks", [&](DoneFn done, void* c) { pool->SetMarks(b, marks, done, c); }));
  put(b, "late", 300);
  snapshot(a, "s3", uint64_t{1} << 43);
  must(host.Control(
      "resize", [&](DoneFn done, void* c) { pool->ResizeVolume(b, 2 * kVolumeBlocks, done, c); }));
  must(host.Control(
      "delete", [&](DoneFn done, void* c) { pool->DeleteSnapshot(snapshots[0].handle, done, c); }));
  create("late", ~0ull);
  pool.reset();  // As a kill.
  for (const auto& file : media) {
    base.before.push_back(file->bytes());
    base.media.push_back(std::make_unique<FlatFile>(file->bytes()));
  }
  for (size_t m = 0; m < media.size(); ++m) {
    // Of a mirror the first side; a repair makes the others like it.
    bool first = false;
    for (const auto& vdev : vdevs) first |= vdev[0] == m;
    for (uint64_t block = 0; block < kDeviceBytes / kBlockBytes; ++block) {
      const uint8_t* at = media[m]->Look(block);
      uint32_t magic = 0;
      std::memcpy(&magic, at, sizeof magic);
      const bool log = magic == 0x4C485341;
      if (block < kEndBlocks || (first && (magic == kPageMagic || log))) {
        base.places.push_back({m, block});
      }
      for (uint64_t v = 0; v < vdevs.size(); ++v) {
        if (vdevs[v][0] == m && magic == kPageMagic) base.addresses.push_back(PhysAt(v, block));
      }
    }
  }
  return base;
}

std::vector<Base>& Bases() {
  static std::vector<Base> bases = [] {
    std::vector<Base> all(3);
    all[0] = Make({{0}});
    all[1] = Make({{0}, {1}});
    all[2] = Make({{0, 1}});
    return all;
  }();
  return bases;
}

// --- The input ---

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  template <typename T>
  T Take() {
    T value{};
    const size_t bytes = size_ < sizeof value ? size_ : sizeof value;
    std::memcpy(&value, data_, bytes);
    data_ += bytes;
    size_ -= bytes;
    return value;
  }
  bool empty() const { return size_ == 0; }

 private:
  const uint8_t* data_;
  size_t size_;
};

void Mutate(const Base& base, Media* media, Input* in) {
  const uint32_t count = in->Take<uint8_t>() % 12;
  for (uint32_t i = 0; i < count && !in->empty(); ++i) {
    const Base::Place place = base.places[in->Take<uint16_t>() % base.places.size()];
    uint8_t* block = (*media)[place.medium]->Block(place.block);
    const uint32_t offset = in->Take<uint16_t>() % kBlockBytes;
    const uint8_t kind = in->Take<uint8_t>() % 8;
    uint8_t* word = block + (offset & ~7u);
    uint64_t value = 0;
    std::memcpy(&value, word, sizeof value);
    switch (kind) {
      case 0:
        block[offset] ^= static_cast<uint8_t>(in->Take<uint8_t>() | 1);
        continue;
      case 1:
        block[offset] = in->Take<uint8_t>();
        continue;
      case 2:
        value = in->Take<uint64_t>();
        break;
      case 3:
        value += static_cast<uint64_t>(static_cast<int8_t>(in->Take<uint8_t>()));
        break;
      case 4:
        value = base.addresses[in->Take<uint16_t>() % base.addresses.size()];
        break;
      case 5: {
        static constexpr uint64_t kOdd[] = {0,
                                            1,
                                            ~0ull,
                                            1ull << 63,
                                            0xFFFFFFFF,
                                            1ull << 48,
                                            kPhysBlockMask,
                                            1ull << 32,
                                            0x7FFFFFFFFFFFFFFF,
                                            64,
                                            4096,
                                            7};
        value = kOdd[in->Take<uint8_t>() % (sizeof kOdd / sizeof kOdd[0])];
        break;
      }
      case 6: {
        // Another of its kind, in its place.
        const Base::Place other = base.places[in->Take<uint16_t>() % base.places.size()];
        if (other.medium == place.medium && other.block == place.block) continue;
        std::memcpy(block, (*media)[other.medium]->Look(other.block), kBlockBytes);
        continue;
      }
      default: {
        // A stretch of the page over another.
        const uint32_t from = in->Take<uint16_t>() % (kBlockBytes - 64);
        std::memmove(block + (offset < kBlockBytes - 64 ? offset : 0), block + from, 64);
        continue;
      }
    }
    std::memcpy(word, &value, sizeof value);
  }
}

void Use(Host* host, Input* in) {
  Pool* pool = host->pool();
  host->SetVersion(uint64_t{1} << 50);
  auto handles = [&](bool snapshots) {
    std::vector<uint32_t> all;
    for (const VolumeInfo& v : pool->Volumes()) {
      if (v.deleting) continue;
      if (!snapshots) all.push_back(v.handle);
      if (!snapshots) continue;
      for (const SnapshotInfo& s : pool->Snapshots(v.handle)) all.push_back(s.handle);
    }
    return all;
  };
  auto read = [&] {
    for (const bool snapshots : {false, true}) {
      for (uint32_t handle : handles(snapshots)) {
        for (uint64_t lba = 0; lba < kVolumeBlocks; lba += 50) {
          static_cast<void>(host->Run(OpKind::kRead, handle, lba, 8));
        }
      }
    }
  };
  read();
  uint64_t number = 0;
  std::vector<uint8_t> script;
  for (int i = 0; i < 12 && !in->empty(); ++i) script.push_back(in->Take<uint8_t>());
  // In any case, some of everything.
  for (uint8_t op = 0; op < 14; ++op) script.push_back(op);
  for (uint8_t step : script) {
    const std::vector<uint32_t> volumes = handles(false);
    const std::vector<uint32_t> snapshots = handles(true);
    auto control = [&](auto call) { static_cast<void>(host->Control("a call", call)); };
    const uint32_t volume = volumes.empty() ? 0 : volumes[step / 14 % volumes.size()];
    const uint32_t snapshot = snapshots.empty() ? 0 : snapshots[step / 14 % snapshots.size()];
    switch (step % 14) {
      case 0:
        for (uint32_t v : volumes) {
          static_cast<void>(host->Run(OpKind::kWrite, v, 17 * step % 600, 70));
          static_cast<void>(host->Run(OpKind::kWrite, v, 300, 200, kOpAtomic | kOpFua));
        }
        break;
      case 1:
        for (uint32_t v : volumes) static_cast<void>(host->Run(OpKind::kUnmap, v, 90, 300));
        break;
      case 2: {
        const std::string name = "n" + std::to_string(++number);
        std::vector<SnapshotRequest> requests;
        for (uint32_t v : volumes) {
          requests.push_back({v, {}, name, (uint64_t{1} << 51) + number, nullptr});
        }
        host->SetVersion((uint64_t{1} << 51) + (number << 20));
        control([&](DoneFn d, void* c) { pool->CreateSnapshots(requests, 2, d, c); });
        break;
      }
      case 3:
        control([&](DoneFn d, void* c) { pool->Checkpoint(d, c); });
        break;
      case 4: {
        std::vector<MapRun> runs;
        for (uint32_t v : volumes) {
          control([&](DoneFn d, void* c) { pool->MapStatus(v, 0, 50, &runs, d, c); });
        }
        break;
      }
      case 5: {
        std::vector<ChangedRun> runs;
        uint64_t next = 0;
        for (uint32_t v : volumes) {
          control([&](DoneFn d, void* c) { pool->ChangedSince(v, 1, 0, 50, &runs, &next, d, c); });
        }
        break;
      }
      case 6: {
        std::vector<MapRun> runs;
        uint64_t next = 0;
        control(
            [&](DoneFn d, void* c) { pool->Changed(snapshot, volume, 0, 50, &runs, &next, d, c); });
        break;
      }
      case 7: {
        uint32_t handle = 0;
        const std::string name = "clone" + std::to_string(++number);
        control(
            [&](DoneFn d, void* c) { pool->CloneSnapshot(snapshot, Uuid{}, name, &handle, d, c); });
        break;
      }
      case 8:
        control([&](DoneFn d, void* c) { pool->DeleteSnapshot(snapshot, d, c); });
        break;
      case 9: {
        const std::vector<SnapshotInfo> of = pool->Snapshots(volume);
        if (of.empty()) break;
        control([&](DoneFn d, void* c) {
          pool->RollbackVolume(volume, of.back().handle, uint64_t{1} << 52 | ++number, true, d, c);
        });
        break;
      }
      case 10:
        control([&](DoneFn d, void* c) { pool->StartScrub(d, c); });
        host->Drain();
        break;
      case 11:
        control([&](DoneFn d, void* c) { pool->PromoteVolume(volume, d, c); });
        break;
      case 12:
        control([&](DoneFn d, void* c) { pool->DeleteVolume(volume, d, c, true); });
        break;
      default: {
        const std::vector<uint8_t> value(9000, 3);
        control([&](DoneFn d, void* c) { pool->PutBlob(volume, "key", value, d, c); });
        break;
      }
    }
  }
  host->Drain();
  read();
  static_cast<void>(host->Control("closing", [&](DoneFn d, void* c) { pool->Close(d, c); }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  Input in(data, size);
  const uint8_t flags = in.Take<uint8_t>();
  Base& base = Bases()[in.Take<uint8_t>() % Bases().size()];
  Media& media = base.media;
  for (size_t m = 0; m < media.size(); ++m) media[m]->Restore(base.before[m]);
  Mutate(base, &media, &in);
  // Mostly so that it gets past the checksums.
  if ((flags & 3) != 0) Repairer(&media, base.vdevs, (flags & 4) != 0).Run();
  PoolOptions options;
  options.cache_bytes = 1 << 20;
  options.open_id.bytes[0] = 2;
  options.prefer_older_superblock = (flags & 8) != 0;
  options.read_only = (flags & 0x30) == 0x30;
  std::unique_ptr<Pool> pool;
  std::string why;
  if (Pool::Open(Files(media), options, &pool, &why) == Status::kOk) {
    Host host(pool.get());
    Use(&host, &in);
  }
  pool.reset();
  CheckReport report;
  static_cast<void>(Pool::Check(Files(media), true, &report, &why));
  return 0;
}
