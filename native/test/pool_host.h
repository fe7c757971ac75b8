// A pool on media in memory, driven to the end of each call: what tests of several devices share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "native/engine/pool.h"
#include "native/io/mem_file.h"

namespace ashlar {

inline constexpr uint64_t kMiB = 1 << 20;

struct BlockBuffer {
  explicit BlockBuffer(uint64_t blocks)
      : data(static_cast<uint8_t*>(std::aligned_alloc(4096, blocks * 4096))) {
    std::memset(data, 0, blocks * 4096);
  }
  ~BlockBuffer() { std::free(data); }
  BlockBuffer(const BlockBuffer&) = delete;
  BlockBuffer& operator=(const BlockBuffer&) = delete;
  uint8_t* data;
};

inline void StampBlock(uint8_t* block, uint64_t value) {
  for (int i = 0; i < 512; ++i) reinterpret_cast<uint64_t*>(block)[i] = value * 1000003 + i;
}
// 0 for a hole, ~0 for garbage.
inline uint64_t StampOf(const uint8_t* block) {
  const auto* words = reinterpret_cast<const uint64_t*>(block);
  bool zero = true;
  for (int i = 0; i < 512; ++i) zero &= words[i] == 0;
  if (zero) return 0;
  for (int i = 1; i < 512; ++i) {
    if (words[i] != words[0] + static_cast<uint64_t>(i)) return ~0ull;
  }
  return words[0] / 1000003;
}

struct PoolHost {
  std::vector<std::unique_ptr<MemFile>> media;
  PoolOptions options;
  std::unique_ptr<Pool> pool;
  std::string why;
  uint64_t version = 1;
  uint8_t next_open = 1;

  MemFile* AddMedium(uint64_t mib, bool immediate = false) {
    media.push_back(std::make_unique<MemFile>(mib * kMiB, immediate));
    return media.back().get();
  }
  DeviceFile File(size_t i) {
    DeviceFile file{media[i].get(), "disk" + std::to_string(i), {}};
    return file;
  }
  // Media in the order of the numbers: {{0, 1}, {2, 3}} is two mirrors.
  Status Format(const std::vector<std::vector<size_t>>& data, const std::vector<size_t>& log = {},
                uint32_t growth_limit = 100) {
    FormatOptions format;
    format.name = "test";
    format.growth_limit_percent = growth_limit;
    for (int i = 0; i < 16; ++i) format.store_id.bytes[i] = static_cast<uint8_t>(i + 1);
    PoolLayout layout;
    for (const auto& vdev : data) {
      layout.data.emplace_back();
      for (size_t i : vdev) layout.data.back().push_back(File(i));
    }
    for (size_t i : log) layout.log.push_back(File(i));
    return Pool::Format(layout, format);
  }
  // One medium, by itself, to a pool that is open.
  Status AddVdev(size_t i) {
    DeviceFile file = File(i);
    file.id.bytes[0] = 77;
    return Control([&](DoneFn d, void* c) { pool->AddVdev({file}, d, c); });
  }
  Status StartRebalance() {
    return Control([&](DoneFn d, void* c) { pool->StartRebalance(d, c); });
  }
  Status OpenWith(const std::vector<size_t>& which) {
    pool.reset();
    options.open_id.bytes[0] = next_open++;
    std::vector<DeviceFile> files;
    for (size_t i : which) files.push_back(File(i));
    why.clear();
    return Pool::Open(files, options, &pool, &why);
  }
  void Step() {
    pool->Kick();
    if (pool->Poll() > 0 || pool->WantsPoll()) return;
    for (auto& medium : media) {
      if (medium->Wait() > 0) return;
    }
  }
  template <typename F>
  Status Control(F f) {
    Status status = Status::kBusy;
    f([](void* c, Status s) { *static_cast<Status*>(c) = s; }, &status);
    for (int i = 0; i < 2000000 && status == Status::kBusy; ++i) Step();
    return status;
  }
  uint32_t Create(const std::string& name, uint64_t blocks) {
    uint32_t handle = 0;
    Uuid id{};
    EXPECT_EQ(
        Control([&](DoneFn d, void* c) { pool->CreateVolume(id, name, blocks, &handle, d, c); }),
        Status::kOk);
    return handle;
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
  Status Write(uint32_t v, uint64_t lba, uint64_t value, uint64_t blocks = 1, uint8_t flags = 0) {
    BlockBuffer b(blocks);
    for (uint64_t i = 0; i < blocks; ++i) StampBlock(b.data + i * 4096, value + i);
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
  Status Flush(uint32_t v) { return Simple(OpKind::kFlush, v, 0, 0); }
  // The value, 0 for a hole, ~0 for garbage, ~1 for an error.
  uint64_t Read(uint32_t v, uint64_t lba) {
    BlockBuffer b(1);
    Op op;
    op.volume = v;
    op.lba = lba;
    op.blocks = 1;
    op.data = b.data;
    Status s = Run(&op);
    return s == Status::kOk ? StampOf(b.data) : ~1ull;
  }
  uint32_t Handle(const std::string& name) {
    for (const VolumeInfo& v : pool->Volumes()) {
      if (v.name == name) return v.handle;
    }
    return 0;
  }
  DeviceInfo Device(size_t i) {
    for (const DeviceInfo& d : pool->Devices()) {
      if (d.path == "disk" + std::to_string(i)) return d;
    }
    ADD_FAILURE() << "no device disk" << i;
    return {};
  }
  void Settle() {
    for (int i = 0; i < 2000000; ++i) {
      bool moved = pool->WantsPoll();
      Step();
      for (auto& medium : media) moved |= medium->Wait() > 0;
      // What has just ended may want something else.
      if (!moved && !pool->WantsPoll()) return;
    }
  }
  void ExpectClean(const std::vector<size_t>& which) {
    std::vector<DeviceFile> files;
    for (size_t i : which) files.push_back(File(i));
    CheckReport report;
    std::string text;
    ASSERT_EQ(Pool::Check(files, true, &report, &text), Status::kOk) << text;
    for (const auto& f : report.findings) ADD_FAILURE() << f;
    EXPECT_TRUE(report.clean);
  }
};

inline void Fill(PoolHost& host, uint32_t volume, uint64_t blocks, uint64_t base) {
  for (uint64_t lba = 0; lba < blocks; lba += 64) {
    ASSERT_EQ(host.Write(volume, lba, base + lba, std::min<uint64_t>(64, blocks - lba)),
              Status::kOk);
  }
}
inline void ExpectFilled(PoolHost& host, uint32_t volume, uint64_t blocks, uint64_t base) {
  for (uint64_t lba = 0; lba < blocks; ++lba) {
    ASSERT_EQ(host.Read(volume, lba), base + lba) << "block " << lba;
  }
}

// Flips a byte in every n'th block that is held, of those that `which` takes.
inline uint64_t Rot(MemFile& medium, uint64_t every, uint64_t from, uint64_t to) {
  uint64_t rotten = 0;
  for (uint64_t block = from; block < to; ++block) {
    if (block % every != 0) continue;
    bool held = false;
    uint8_t* data = medium.Block(block);
    for (int i = 0; i < 4096 && !held; ++i) held = data[i] != 0;
    if (!held) continue;
    data[(block * 37) % 4096] ^= 0x10;
    ++rotten;
  }
  return rotten;
}

// Until no walk is running.
inline void SettleWalks(PoolHost& host) {
  for (int i = 0; i < 2000000; ++i) {
    bool running = false;
    for (const WalkKind kind : {WalkKind::kScrub, WalkKind::kResilver, WalkKind::kRebalance}) {
      running |= host.pool->WalkInfo(kind).state == WalkState::kRunning;
    }
    if (!running) return host.Settle();
    host.Step();
  }
  FAIL() << "a walk that does not end";
}

inline uint64_t UsedOf(const PoolHost& host, uint32_t vdev) {
  for (const VdevInfo& v : host.pool->Vdevs()) {
    if (v.vdev == vdev) return v.used_blocks;
  }
  return 0;
}

}  // namespace ashlar
