// Calls to a pool that do not wait for each other, with all that may go on beside, and what must
// hold when they have ended: each has ended once, the pool is what the model says, now, after a
// close and after a crash.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "native/test/call_model.h"
#include "native/test/single_disk_host.h"

namespace ashlar::calls {

using test::Buffer;
using test::kMiB;

enum class End { kSettle, kClose, kCrash, kPowerCut, kFault, kEnds };

struct Call {
  std::string name;
  std::function<void(Model*)> apply;  // Null: changes nothing.
  int ended = 0;
  Status status = Status::kBusy;
  std::function<void()> then = nullptr;  // From inside its end.
  bool op = false;
  bool rollback = false;
  std::function<void()> check = nullptr;  // Of what a read brought, when all is over.
};
struct FlyingOp {
  explicit FlyingOp(uint64_t blocks) : buffer(blocks) {}
  Op op;
  Buffer buffer;
  Call* call = nullptr;
};

class Bench {
 public:
  MemFile disk, extra;
  bool immediate;
  std::unique_ptr<Pool> pool;
  PoolOptions options;
  Model start;
  std::deque<Call> calls;
  std::deque<FlyingOp> ops;
  std::deque<std::vector<MapRun>> map_runs;
  std::deque<std::vector<ChangedRun>> changed_runs;
  std::deque<uint64_t> nexts;
  std::deque<uint32_t> handles;
  std::vector<uint32_t> volumes, snaps;  // Every handle there was.
  uint64_t version = 1000000, value = 1000000;
  uint8_t opens = 100;
  int names = 0;

  Bench(const MemFile& image, bool now) : disk(kBytes, now), extra(kBytes, now), immediate(now) {
    image.EachBlock(
        [this](uint64_t at, const uint8_t* data) { std::memcpy(disk.Block(at), data, 4096); });
  }

  bool Open(bool older = false) {
    options.open_id.bytes[0] = ++opens;
    options.cache_bytes = 8 * kMiB;
    options.prefer_older_superblock = older;
    std::string why;
    const Status s = Pool::Open(Files(), options, &pool, &why);
    EXPECT_EQ(s, Status::kOk) << why;
    return s == Status::kOk;
  }
  std::vector<DeviceFile> Files() {
    std::vector<DeviceFile> files{{&disk, "disk", {}}};
    Uuid id;
    std::string name;
    if (Pool::Probe(extra, &id, &name) == Status::kOk) files.push_back({&extra, "extra", {}});
    return files;
  }
  void Step() {
    pool->Kick();
    if (pool->Poll() == 0 && !pool->WantsPoll() && disk.Wait() == 0) extra.Wait();
  }
  bool Settle() {
    for (int i = 0; i < 30000; ++i) {
      const bool wants = pool->WantsPoll();
      pool->Kick();
      const int told = pool->Poll();
      if (!wants && told == 0 && !pool->WantsPoll() && disk.Wait() + extra.Wait() == 0) return true;
    }
    return false;
  }
  static void Done(void* c, Status s) {
    auto* call = static_cast<Call*>(c);
    ++call->ended;
    call->status = s;
    if (call->then) std::exchange(call->then, nullptr)();
  }
  Call* Add(std::string name, std::function<void(Model*)> apply = nullptr) {
    calls.push_back({.name = std::move(name), .apply = std::move(apply)});
    return &calls.back();
  }
  static Uuid Id(uint64_t n) {
    Uuid id{};
    std::memcpy(id.bytes, &n, 8);
    return id;
  }
  std::string Name(const std::string& kind) { return kind + std::to_string(++names); }

  // --- Calls ---
  void Create() {
    const std::string name = Name("n");
    auto* h = &handles.emplace_back(0);
    Call* c = Add("create", [=](Model* m) { m->volumes[*h].name = name; });
    pool->CreateVolume(Id(++version), name, kBlocks, h, Done, c);
    if (*h != 0) volumes.push_back(*h);
  }
  void Resize(uint32_t v, uint64_t size) {
    Call* c = Add("resize", [=](Model* m) { m->Volume(v)->size = size; });
    pool->ResizeVolume(v, size, Done, c);
  }
  void Delete(uint32_t v, bool with) {
    Call* c = Add("delete", [=](Model* m) { m->Delete(v, with); });
    pool->DeleteVolume(v, Done, c, with);
  }
  void Blob(uint32_t v, const std::string& key, size_t bytes) {
    Call* c = Add("blob " + key, [=](Model* m) {
      bytes == 0 ? void(m->Volume(v)->blobs.erase(key)) : void(m->Volume(v)->blobs[key] = bytes);
    });
    const std::vector<uint8_t> data(bytes, 7);
    pool->PutBlob(v, key, data, Done, c);
  }
  void Marks(uint32_t v) {
    VolumeMarks marks;
    marks.set_contig = true;
    marks.contig = ++version;
    pool->SetMarks(v, marks, Done, Add("marks"));
  }
  void Snapshot(const std::vector<uint32_t>& of) {
    const std::string name = Name("s");
    std::vector<SnapshotRequest> requests;
    std::vector<uint32_t*> made;
    for (uint32_t v : of) {
      made.push_back(&handles.emplace_back(0));
      requests.push_back({v, Id(++version), name, ++version, made.back()});
    }
    Call* c = Add("snapshot", [=](Model* m) {
      for (size_t i = 0; i < of.size(); ++i) m->Snapshot(of[i], *made[i], name);
    });
    pool->CreateSnapshots(requests, 7, Done, c);
    for (uint32_t* h : made) {
      if (*h != 0) snaps.push_back(*h);
    }
  }
  void DeleteSnap(uint32_t s) {
    pool->DeleteSnapshot(s, Done, Add("delete snapshot", [=](Model* m) { m->DeleteSnap(s); }));
  }
  void Clone(uint32_t s) {
    const std::string name = Name("c");
    auto* h = &handles.emplace_back(0);
    Call* c = Add("clone", [=](Model* m) { m->Clone(s, *h, name); });
    pool->CloneSnapshot(s, Id(++version), name, h, Done, c);
    if (*h != 0) volumes.push_back(*h);
  }
  void Promote(uint32_t v) {
    pool->PromoteVolume(v, Done, Add("promote", [=](Model* m) { m->Promote(v); }));
  }
  void Rollback(uint32_t v, uint32_t s, bool later) {
    Call* c = Add("rollback", [=](Model* m) { m->Rollback(v, s, later); });
    c->rollback = true;
    pool->RollbackVolume(v, s, ++version, later, Done, c);
  }
  void Changed(uint32_t a, uint32_t b) {
    pool->Changed(a, b, 0, 9, &map_runs.emplace_back(), &nexts.emplace_back(), Done,
                  Add("changed"));
  }
  void ChangedSince(uint32_t v) {
    pool->ChangedSince(v, 0, 0, 9, &changed_runs.emplace_back(), &nexts.emplace_back(), Done,
                       Add("changed since"));
  }
  void Map(uint32_t v) { pool->MapStatus(v, 0, 9, &map_runs.emplace_back(), Done, Add("map")); }
  void AddVdev() {
    DeviceFile file{&extra, "extra", {}};
    file.id.bytes[0] = 77;
    pool->AddVdev({file}, Done, Add("add vdev"));
  }

  // --- Operations, each in one leaf or atomic ---
  void Start(FlyingOp* f, const std::string& name, std::function<void(Model*)> apply) {
    f->call = Add(name, std::move(apply));
    f->call->op = true;
    f->op.data = f->buffer.data;
    f->op.context = f->call;
    f->op.done = [](Op* o) { Done(o->context, o->status); };
    pool->Submit(&f->op);
  }
  void Write(uint32_t v, uint64_t lba, uint64_t blocks, uint8_t flags) {
    FlyingOp* f = &ops.emplace_back(blocks);
    value += 1000;
    const uint64_t first = value;
    for (uint64_t i = 0; i < blocks; ++i) test::Stamp(f->buffer.data + i * 4096, first + i);
    f->op.kind = OpKind::kWrite;
    f->op.flags = flags;
    f->op.volume = v;
    f->op.lba = lba;
    f->op.blocks = blocks;
    f->op.version = ++version;
    Start(f, "write", [=](Model* m) {
      for (uint64_t i = 0; i < blocks; ++i) m->Volume(v)->data[lba + i] = first + i;
    });
  }
  void Unmap(uint32_t v, uint64_t lba, uint64_t blocks) {
    FlyingOp* f = &ops.emplace_back(1);
    f->op.kind = OpKind::kUnmap;
    f->op.volume = v;
    f->op.lba = lba;
    f->op.blocks = blocks;
    f->op.version = ++version;
    Start(f, "unmap", [=](Model* m) {
      std::fill_n(m->Volume(v)->data.begin() + static_cast<std::ptrdiff_t>(lba), blocks, 0);
    });
  }
  // Of a snapshot it brings what that held.
  void Read(uint32_t v, uint64_t lba, uint64_t blocks) {
    FlyingOp* f = &ops.emplace_back(blocks);
    f->op.volume = v;
    f->op.lba = lba;
    f->op.blocks = blocks;
    Start(f, "read", nullptr);
    f->call->check = [this, f, v, lba, blocks] {
      if (f->op.status != Status::kOk) return;
      auto it = start.snaps.find(v);
      for (uint64_t i = 0; i < blocks; ++i) {
        const uint64_t got = test::ValueOf(f->buffer.data + i * 4096);
        EXPECT_NE(got, ~0ull);
        if (it != start.snaps.end()) {
          EXPECT_EQ(got, it->second.data[lba + i]) << lba + i;
        }
      }
    };
  }

  std::vector<uint64_t> Data(uint32_t v, uint64_t size) {
    std::vector<uint64_t> all(kMost);
    Buffer b(size);
    for (uint64_t lba = 0; lba < size; lba += kMaxOpBlocks) {
      bool ended = false;
      Op op;
      op.volume = v;
      op.lba = lba;
      op.blocks = std::min<uint64_t>(kMaxOpBlocks, size - lba);
      op.data = b.data + lba * 4096;
      op.context = &ended;
      op.done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
      pool->Submit(&op);
      for (int i = 0; i < 10000 && !ended; ++i) Step();
      EXPECT_TRUE(ended) << "a read hangs";
      EXPECT_EQ(op.status, Status::kOk);
      if (!ended) std::abort();
    }
    for (uint64_t i = 0; i < size; ++i) all[i] = test::ValueOf(b.data + i * 4096);
    return all;
  }
  Model Held() {
    Model m;
    for (const VolumeInfo& info : pool->Volumes()) {
      EXPECT_FALSE(info.deleting) << info.name << " is deleted for ever";
      EXPECT_FALSE(info.rolling_back) << info.name << " is rolled back for ever";
      ModelVolume& v = m.volumes[info.handle];
      v.name = info.name;
      v.size = info.size_blocks;
      v.origin = info.origin;
      v.data = Data(info.handle, info.size_blocks);
      for (const std::string& key : pool->BlobKeys(info.handle)) {
        std::vector<uint8_t> bytes;
        pool->GetBlob(info.handle, key, &bytes);
        v.blobs[key] = bytes.size();
      }
      for (const SnapshotInfo& s : pool->Snapshots(info.handle)) {
        EXPECT_FALSE(s.deleting) << s.name << " is deleted for ever";
        EXPECT_TRUE(s.settled) << s.name << " is counted for ever";
        v.line.push_back(s.handle);
        m.snaps[s.handle] = {s.name, info.handle, s.size_blocks, Data(s.handle, s.size_blocks)};
      }
    }
    return m;
  }
  void ExpectClean() {
    CheckReport report;
    std::string why;
    EXPECT_EQ(Pool::Check(Files(), true, &report, &why), Status::kOk) << why;
    for (const auto& f : report.findings) ADD_FAILURE() << f;
    EXPECT_TRUE(report.clean);
  }
  // What is not known to be durable may be there or not.
  void Compare(const Model& held, bool crashed, bool power) {
    std::vector<const Call*> sure;
    std::vector<const Call*> open;
    for (const Call& c : calls) {
      if (!c.apply) continue;
      const bool maybe = (crashed && (c.ended == 0 || c.status == Status::kIoError)) ||
                         (power && c.op && c.status == Status::kOk) ||
                         (c.rollback && c.status == Status::kOffline);
      if (maybe) open.push_back(&c);
    }
    // Too many to try all; that it opens, settles and is clean is judged all the same.
    if (open.size() > 9) return;
    std::string first;
    const std::string got = held.Text();
    for (uint32_t mask = 1u << open.size(); mask-- > 0;) {
      Model m = start;
      size_t at = 0;
      for (const Call& c : calls) {
        if (!c.apply) continue;
        bool takes = c.ended > 0 && c.status == Status::kOk;
        if (at < open.size() && open[at] == &c) takes = (mask >> at++ & 1) != 0;
        // An operation whose volume went meanwhile.
        if (takes && !m.bad) c.apply(&m);
      }
      if (m.bad) continue;
      const std::string want = m.Text();
      if (want == got) return;
      if (first.empty()) first = want;
    }
    ADD_FAILURE() << "wanted " << (first.empty() ? "what cannot be" : first) << "\nhas " << got;
  }
  std::string Said() const {
    std::string text;
    for (const Call& c : calls) {
      text += c.name +
              (c.ended == 1 ? "=" + std::to_string(static_cast<int>(c.status))
                            : " ended " + std::to_string(c.ended) + " times") +
              "; ";
    }
    return text;
  }
};

// --- Set-ups ---

// v with two snapshots, a clone of each, and w; all of it in both superblocks.
inline MemFile MakeImage() {
  MemFile disk(kBytes, true);
  test::Host host(disk);
  FormatOptions format;
  format.name = "test";
  format.store_id.bytes[0] = 1;
  format.log_bytes = kMiB;
  EXPECT_EQ(Pool::Format(disk, format), Status::kOk);
  EXPECT_EQ(host.Open(), Status::kOk);
  const uint32_t v = host.Create("v", kBlocks);
  EXPECT_EQ(host.Write(v, 0, 1000, 200), Status::kOk);
  const uint32_t one = host.Snapshot(v, "one");
  EXPECT_EQ(host.Write(v, 0, 2000, 60), Status::kOk);
  const uint32_t two = host.Snapshot(v, "two");
  EXPECT_EQ(host.Write(v, 40, 3000, 50), Status::kOk);
  EXPECT_EQ(host.Simple(OpKind::kUnmap, v, 120, 30), Status::kOk);
  const uint32_t c1 = host.Clone(one, "c1"), c2 = host.Clone(two, "c2");
  EXPECT_EQ(host.Write(c1, 10, 4000, 20), Status::kOk);
  EXPECT_EQ(host.Write(c2, 20, 5000, 150), Status::kOk);
  const uint32_t w = host.Create("w", kBlocks);
  EXPECT_EQ(host.Write(w, 100, 6000, 60), Status::kOk);
  host.Settle();
  EXPECT_EQ(host.Close(), Status::kOk);
  return disk;
}

struct Mode {
  bool immediate = false;
  bool fresh = false;     // Snapshots that no superblock reaches yet.
  bool held = false;      // No flush ends while the calls are made.
  bool shuffled = false;  // The medium answers in any order.
  bool flying = false;    // Operations go on beside.
  bool wide = false;      // A rebalance is under way.
  End end = End::kSettle;
  uint64_t seed = 0;
};

class Scene {
 public:
  Scene(const MemFile& image, const Mode& mode)
      : b(image, mode.immediate), m(mode), rng(mode.seed) {
    if (!b.Open()) std::abort();
    b.start = b.Held();
    for (const auto& [handle, v] : b.start.volumes) {
      (v.name == "v" ? this->v : v.name == "w" ? w : v.name == "c1" ? c1 : c2) = handle;
    }
    s1 = b.start.volumes[v].line.at(0);
    s2 = s3 = b.start.volumes[v].line.at(1);
    b.volumes = {v, w, c1, c2};
    b.snaps = {s1, s2};
    if (mode.wide) {
      b.AddVdev();
      Wait();
      b.pool->StartRebalance(Bench::Done, b.Add("rebalance"));
      Steps(rng() % 4);
    }
    if (mode.fresh) {
      b.Snapshot({v, w});
      b.Snapshot({c1});
      Wait();
      s3 = b.snaps[2];
    }
    if (mode.shuffled) b.disk.pick = [this](size_t n) { return rng() % n; };
    if (mode.held) b.disk.hold = [](const IoRequest& r) { return r.kind == IoKind::kFlush; };
  }

  // One of kCalls.
  void Do(size_t call) {
    switch (call) {
      case 0:
        return b.Create();
      case 1:
        return b.Resize(v, kMost);
      case 2:
        return b.Resize(c1, kMost - 1);
      case 3:
        return b.Delete(v, false);
      case 4:
        return b.Delete(v, true);
      case 5:
        return b.Delete(c1, true);
      case 6:
        return b.Delete(c2, false);
      case 7:
        return b.Delete(w, true);
      case 8:
        return b.Blob(v, "k", 5000);
      case 9:
        return b.Blob(v, "k", 0);
      case 10:
        return b.Blob(v, "l", 100);
      case 11:
        return b.Marks(v);
      case 12:
        return b.Snapshot({v});
      case 13:
        return b.Snapshot({v, w, c1});
      case 14:
        return b.Snapshot({c1});
      case 15:
        return b.DeleteSnap(s1);
      case 16:
        return b.DeleteSnap(s2);
      case 17:
        return b.DeleteSnap(s3);
      case 18:
        return b.Clone(s1);
      case 19:
        return b.Clone(s3);
      case 20:
        return b.Promote(c1);
      case 21:
        return b.Promote(c2);
      case 22:
        return b.Promote(v);
      case 23:
        return b.Rollback(v, s1, true);
      case 24:
        return b.Rollback(v, s2, false);
      case 25:
        return b.Rollback(v, s3, true);
      case 26:
        return b.Rollback(c1, s1, true);
      case 27:
        return b.Rollback(v, s2, true);
      case 28:
        return b.Changed(s1, s3);
      case 29:
        return b.Changed(s2, v);
      case 30:
        return b.ChangedSince(s3);
      case 31:
        return b.Map(v);
      case 32:
        return b.Map(s3);
      case 33:
        return b.pool->StartScrub(Bench::Done, b.Add("scrub"));
      case 34:
        return b.pool->StopScrub(true, Bench::Done, b.Add("stop scrub"));
      case 35:
        return b.pool->StartRebalance(Bench::Done, b.Add("rebalance"));
      case 36:
        return b.pool->StopRebalance(false, Bench::Done, b.Add("stop rebalance"));
      case 37:
        return b.AddVdev();
      case 38:
        return b.pool->Checkpoint(Bench::Done, b.Add("checkpoint"));
      default:
        return b.Changed(s1, c2);
    }
  }
  static constexpr size_t kCalls = 40;

  // Of any kind, to anything there is or was.
  void DoAny() {
    if (rng() % 5 == 0) return Do(rng() % kCalls);
    const uint32_t any = b.volumes[rng() % b.volumes.size()];
    const uint32_t other = b.volumes[rng() % b.volumes.size()];
    const uint32_t s = b.snaps[rng() % b.snaps.size()];
    const std::string key(1, static_cast<char>('k' + rng() % 3));
    switch (rng() % 16) {
      case 0:
        return b.Delete(any, rng() % 3 != 0);
      case 1:
        return b.Snapshot({any});
      case 2:
        return any == other ? b.Snapshot({any}) : b.Snapshot({any, other});
      case 3:
      case 4:
        return b.DeleteSnap(s);
      case 5:
      case 6:
        return b.Clone(s);
      case 7:
      case 8:
      case 9:
        return b.Promote(any);
      case 10:
      case 11:
        return b.Rollback(any, s, rng() % 2 == 0);
      case 12:
        return b.Blob(any, key, rng() % 2 * 3000);
      case 13:
        return b.Changed(s, rng() % 2 == 0 ? any : b.snaps[rng() % b.snaps.size()]);
      case 14:
        return Fly(any);
      default:
        return b.pool->Checkpoint(Bench::Done, b.Add("checkpoint"));
    }
  }
  void Fly(uint32_t on) {
    const uint64_t lba = rng() % 2 * 128 + rng() % 100;
    switch (rng() % 4) {
      case 0:
        return b.Unmap(on, lba, 20);
      case 1:
        return b.Write(on, lba, 60, kOpAtomic);
      case 2:
        return b.Write(on, lba, 1 + rng() % 20, rng() % 2 != 0 ? kOpFua : 0);
      default:
        return b.Read(rng() % 2 != 0 ? on : s1, lba, 30);
    }
  }
  void Wait() {
    for (int i = 0; i < 1000 && b.calls.back().ended == 0; ++i) b.Step();
  }
  void Steps(uint64_t n) {
    for (uint64_t i = 0; i < n; ++i) b.Step();
  }
  void Finish() {
    b.disk.hold = nullptr;
    const bool crash = m.end == End::kCrash || m.end == End::kPowerCut;
    if (crash) {
      Steps(rng() % 30);
    } else if (m.end == End::kFault) {
      Steps(rng() % 10);
      const bool any = rng() % 2 == 0;
      b.disk.fail = [any](const IoRequest& r) {
        return r.kind == IoKind::kFlush || (any && r.kind == IoKind::kWrite) ? -EIO : 0;
      };
      b.pool->Checkpoint(Bench::Done, b.Add("checkpoint"));
      EXPECT_TRUE(b.Settle()) << "something does not end";
      for (const Call& c : b.calls) EXPECT_EQ(c.ended, 1) << c.name;
      b.disk.fail = nullptr;
    } else {
      if (m.end == End::kSettle) Settle();
      Call close{.name = "close", .apply = nullptr};
      b.pool->Close(Bench::Done, &close);
      for (int i = 0; i < 30000 && close.ended == 0; ++i) b.Step();
      EXPECT_EQ(close.ended, 1) << "a close hangs";
      EXPECT_EQ(close.status, Status::kOk);
      Ended();
    }
    for (MemFile* file : {&b.disk, &b.extra}) {
      m.end == End::kPowerCut ? file->PowerCut() : file->DropQueue();
    }
    b.pool.reset();
    b.disk.pick = nullptr;
    if (testing::Test::HasFailure()) return;
    if (m.end >= End::kCrash) {
      const MemFile disk = b.disk, extra = b.extra;
      Again(true);
      b.disk = disk;
      b.extra = extra;
    }
    Again(false);
  }
  void Settle() {
    EXPECT_TRUE(b.Settle()) << "something does not end";
    EXPECT_EQ(b.pool->Stats().fault, "");
    if (testing::Test::HasFailure()) return;
    Ended();
    b.Compare(b.Held(), false, false);
  }
  void Ended() {
    for (const Call& c : b.calls) {
      EXPECT_EQ(c.ended, 1) << c.name;
      EXPECT_NE(c.status, Status::kIoError) << c.name;
      EXPECT_NE(c.status, Status::kNoSpace) << c.name;
      EXPECT_NE(c.status, Status::kDamaged) << c.name;
      if (c.check) c.check();
    }
  }
  void Again(bool older) {
    if (m.end < End::kCrash) b.ExpectClean();
    if (testing::Test::HasFailure() || !b.Open(older)) return;
    EXPECT_TRUE(b.Settle()) << "something does not end";
    EXPECT_EQ(b.pool->Stats().fault, "");
    if (testing::Test::HasFailure()) return;
    b.Compare(b.Held(), m.end >= End::kCrash, m.end == End::kPowerCut);
    Call close{.name = "close", .apply = nullptr};
    b.pool->Close(Bench::Done, &close);
    for (int i = 0; i < 30000 && close.ended == 0; ++i) b.Step();
    EXPECT_EQ(close.ended, 1) << "a close hangs";
    b.pool.reset();
    b.ExpectClean();
  }

  Bench b;
  Mode m;
  std::mt19937_64 rng;
  uint32_t v = 0, w = 0, c1 = 0, c2 = 0, s1 = 0, s2 = 0, s3 = 0;
};

inline Mode ModeOf(uint64_t seed) {
  std::mt19937_64 rng(seed);
  Mode m;
  m.seed = seed;
  m.immediate = rng() % 3 == 0;
  m.fresh = rng() % 2 == 0;
  m.held = rng() % 3 == 0;
  m.shuffled = rng() % 2 == 0;
  m.flying = rng() % 2 == 0;
  m.wide = rng() % 4 == 0;
  m.end = static_cast<End>(rng() % static_cast<uint64_t>(End::kEnds));
  return m;
}
inline std::string Text(const Mode& m) {
  return "seed " + std::to_string(m.seed) + (m.immediate ? " immediate" : "") +
         (m.fresh ? " fresh" : "") + (m.held ? " held" : "") + (m.shuffled ? " shuffled" : "") +
         (m.flying ? " flying" : "") + (m.wide ? " wide" : "") + " end " +
         std::to_string(static_cast<int>(m.end));
}

}  // namespace ashlar::calls
