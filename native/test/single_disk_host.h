// A pool on a medium in memory, driven one call at a time: what engine tests have in common.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "native/engine/pool.h"
#include "native/io/mem_file.h"

namespace ashlar::test {

inline constexpr uint64_t kMiB = 1 << 20;

struct Buffer {
  explicit Buffer(uint64_t blocks)
      : data(static_cast<uint8_t*>(std::aligned_alloc(4096, blocks * 4096))) {
    std::memset(data, 0, blocks * 4096);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  uint8_t* data;
};

inline void Stamp(uint8_t* block, uint64_t value) {
  for (uint64_t i = 0; i < 512; ++i) {
    const uint64_t word = value * 1000003 + i;
    std::memcpy(block + i * 8, &word, 8);
  }
}
// 0 for a hole, ~0 for garbage.
inline uint64_t ValueOf(const uint8_t* block) {
  uint64_t words[512];
  std::memcpy(words, block, sizeof words);
  bool zero = true;
  for (uint64_t word : words) zero &= word == 0;
  if (zero) return 0;
  for (uint64_t i = 1; i < 512; ++i) {
    if (words[i] != words[0] + i) return ~0ull;
  }
  return words[0] / 1000003;
}

struct Host {
  MemFile& file;
  PoolOptions options;
  std::unique_ptr<Pool> pool;
  uint64_t version = 1;
  uint8_t next_open = 1;
  uint64_t next_id = 1;

  explicit Host(MemFile& f) : file(f) {}

  Status Format() {
    FormatOptions format;
    format.name = "test";
    for (int i = 0; i < 16; ++i) format.store_id.bytes[i] = static_cast<uint8_t>(i + 1);
    return Pool::Format(file, format);
  }
  Status Open(bool older = false) {
    options.open_id.bytes[0] = next_open++;
    options.prefer_older_superblock = older;
    std::string why;
    Status s = Pool::Open(file, options, &pool, &why);
    if (s != Status::kOk) ADD_FAILURE() << why;
    return s;
  }
  void Step() {
    pool->Kick();
    if (pool->Poll() == 0 && !pool->WantsPoll()) file.Wait();
  }
  // Until the background has nothing left to do.
  void Settle() {
    for (int i = 0; i < 200000 && pool->WantsPoll(); ++i) Step();
    EXPECT_FALSE(pool->WantsPoll());
  }
  template <typename F>
  Status Control(F f) {
    Status status = Status::kBusy;
    bool ended = false;
    struct Ended {
      Status* status;
      bool* ended;
    } context{&status, &ended};
    f(
        [](void* c, Status s) {
          *static_cast<Ended*>(c)->status = s;
          *static_cast<Ended*>(c)->ended = true;
        },
        static_cast<void*>(&context));
    for (int i = 0; i < 200000 && !ended; ++i) Step();
    EXPECT_TRUE(ended);
    return status;
  }
  uint32_t Create(const std::string& name, uint64_t blocks) {
    uint32_t handle = 0;
    Uuid id{};
    std::memcpy(id.bytes, &++next_id, 8);
    EXPECT_EQ(
        Control([&](DoneFn d, void* c) { pool->CreateVolume(id, name, blocks, &handle, d, c); }),
        Status::kOk);
    return handle;
  }
  Status Delete(uint32_t handle, bool with_snapshots = false) {
    return Control([&](DoneFn d, void* c) { pool->DeleteVolume(handle, d, c, with_snapshots); });
  }
  Status Snapshot(std::vector<uint32_t> volumes, const std::string& name,
                  std::vector<uint32_t>* handles) {
    std::vector<SnapshotRequest> requests(volumes.size());
    handles->assign(volumes.size(), 0);
    for (size_t i = 0; i < volumes.size(); ++i) {
      requests[i].volume = volumes[i];
      requests[i].name = name;
      requests[i].version = ++version;
      requests[i].handle = &(*handles)[i];
      std::memcpy(requests[i].id.bytes, &++next_id, 8);
    }
    return Control([&](DoneFn d, void* c) { pool->CreateSnapshots(requests, 7, d, c); });
  }
  uint32_t Snapshot(uint32_t volume, const std::string& name) {
    std::vector<uint32_t> handles;
    EXPECT_EQ(Snapshot(std::vector<uint32_t>{volume}, name, &handles), Status::kOk);
    return handles[0];
  }
  Status DeleteSnapshot(uint32_t handle) {
    return Control([&](DoneFn d, void* c) { pool->DeleteSnapshot(handle, d, c); });
  }
  uint32_t Clone(uint32_t snapshot, const std::string& name) {
    uint32_t handle = 0;
    Uuid id{};
    std::memcpy(id.bytes, &++next_id, 8);
    EXPECT_EQ(
        Control([&](DoneFn d, void* c) { pool->CloneSnapshot(snapshot, id, name, &handle, d, c); }),
        Status::kOk);
    return handle;
  }
  Status Promote(uint32_t volume) {
    return Control([&](DoneFn d, void* c) { pool->PromoteVolume(volume, d, c); });
  }
  Status Rollback(uint32_t volume, uint32_t snapshot, bool delete_later = false) {
    return Control([&](DoneFn d, void* c) {
      pool->RollbackVolume(volume, snapshot, ++version, delete_later, d, c);
    });
  }
  // Every run that differs, with nothing in between left out.
  std::vector<MapRun> Changed(uint32_t from, uint32_t to, uint64_t blocks, uint32_t max_runs = 7) {
    std::vector<MapRun> all;
    for (uint64_t lba = 0; lba < blocks;) {
      std::vector<MapRun> runs;
      uint64_t next = 0;
      EXPECT_EQ(Control([&](DoneFn d, void* c) {
                  pool->Changed(from, to, lba, max_runs, &runs, &next, d, c);
                }),
                Status::kOk);
      all.insert(all.end(), runs.begin(), runs.end());
      EXPECT_GT(next, lba);
      if (next <= lba) break;
      lba = next;
    }
    return all;
  }
  Status Checkpoint() {
    return Control([&](DoneFn d, void* c) { pool->Checkpoint(d, c); });
  }
  Status Close() {
    Status s = Control([&](DoneFn d, void* c) { pool->Close(d, c); });
    pool.reset();
    return s;
  }
  Status Run(Op* op) {
    bool ended = false;
    op->context = &ended;
    op->done = [](Op* o) { *static_cast<bool*>(o->context) = true; };
    pool->Submit(op);
    for (int i = 0; i < 200000 && !ended; ++i) Step();
    EXPECT_TRUE(ended);
    return op->status;
  }
  // Blocks get value, value + 1, ….
  Status Write(uint32_t v, uint64_t lba, uint64_t value, uint64_t blocks = 1, uint8_t flags = 0) {
    Buffer b(blocks);
    for (uint64_t i = 0; i < blocks; ++i) Stamp(b.data + i * 4096, value + i);
    Op op;
    op.kind = OpKind::kWrite;
    op.flags = flags;
    op.volume = v;
    op.lba = lba;
    op.blocks = blocks;
    op.data = b.data;
    op.version = ++version;
    return Run(&op);
  }
  Status Simple(OpKind kind, uint32_t v, uint64_t lba, uint64_t blocks) {
    Op op;
    op.kind = kind;
    op.volume = v;
    op.lba = lba;
    op.blocks = blocks;
    op.version = ++version;
    return Run(&op);
  }
  std::vector<uint64_t> ReadAll(uint32_t v, uint64_t lba, uint64_t blocks) {
    std::vector<uint64_t> values;
    Buffer b(blocks);
    Op op;
    op.volume = v;
    op.lba = lba;
    op.blocks = blocks;
    op.data = b.data;
    EXPECT_EQ(Run(&op), Status::kOk);
    for (uint64_t i = 0; i < blocks; ++i) values.push_back(ValueOf(b.data + i * 4096));
    return values;
  }
  uint64_t Read(uint32_t v, uint64_t lba) { return ReadAll(v, lba, 1)[0]; }
  void ExpectClean(bool with_data = true) {
    CheckReport report;
    ASSERT_EQ(Pool::Check(file, with_data, &report), Status::kOk);
    for (const auto& f : report.findings) ADD_FAILURE() << f;
    EXPECT_TRUE(report.clean);
  }
};

}  // namespace ashlar::test
