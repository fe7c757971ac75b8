// Small pools to be damaged: media in memory, and a repair that makes right again what a mutation
// made wrong in checksums alone. Shared by fuzzers of whole pools.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "native/engine/crc32c.h"
#include "native/engine/format.h"
#include "native/engine/label.h"
#include "native/engine/log_format.h"
#include "native/engine/pool.h"

namespace ashlar::fuzz {

// Answers inside Submit; so a call of the engine that does not end is a loop in it.
class FlatFile : public BlockFile {
 public:
  explicit FlatFile(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  uint32_t block_bytes() const override { return 4096; }
  void Submit(IoRequest* request) override {
    request->result = 0;
    if (request->kind != IoKind::kFlush) {
      if (request->offset > bytes_.size() || request->bytes > bytes_.size() - request->offset) {
        // The engine has no business outside of the device.
        std::abort();
      }
      const uint64_t first = request->offset / kBlockBytes;
      for (uint32_t i = 0; i < request->bytes / kBlockBytes; ++i) {
        uint8_t* data = request->data + i * kBlockBytes;
        if (request->kind == IoKind::kRead) {
          std::memcpy(data, bytes_.data() + (first + i) * kBlockBytes, kBlockBytes);
        } else {
          std::memcpy(Block(first + i), data, kBlockBytes);
        }
      }
    }
    request->done(request);
  }
  void Kick() override {}
  int Poll() override { return 0; }
  int Wait() override { return 0; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  const uint8_t* Look(uint64_t block) const { return bytes_.data() + block * kBlockBytes; }
  // To be written to, up to the end of a label.
  uint8_t* Block(uint64_t block) {
    changed_.insert(block);
    return bytes_.data() + block * kBlockBytes;
  }
  // As `before`, which it was once.
  void Restore(const std::vector<uint8_t>& before) {
    for (uint64_t block : changed_) {
      const size_t at = block * kBlockBytes;
      const size_t bytes = std::min<size_t>(kLabelBytes, before.size() - at);
      std::memcpy(bytes_.data() + at, before.data() + at, bytes);
    }
    changed_.clear();
  }

 private:
  std::vector<uint8_t> bytes_;
  std::unordered_set<uint64_t> changed_;
};

using Media = std::vector<std::unique_ptr<FlatFile>>;

inline std::vector<DeviceFile> Files(const Media& media) {
  std::vector<DeviceFile> files;
  for (size_t i = 0; i < media.size(); ++i) {
    files.push_back({media[i].get(), "disk" + std::to_string(i), {}});
  }
  return files;
}

// Goes over what the superblocks reach, as the mutation left it, and makes checksums right from the
// leaves up, second copies like the first, log blocks chained. Where addresses lead in circles or
// nowhere it stops: nothing is made sensible but checksums.
class Repairer {
 public:
  // `vdevs`: of each vdev, the media that are its sides.
  Repairer(Media* media, const std::vector<std::vector<size_t>>& vdevs, bool headers)
      : media_(media), vdevs_(vdevs), headers_(headers) {}

  void Run() {
    for (size_t m = 0; m < media_->size(); ++m) Labels(m);
    // Both generations: the older one is what a fallback opens.
    for (uint64_t slot = 0; slot < kSuperSlots; ++slot) {
      Superblock sb;
      std::memcpy(&sb, (*media_)[0]->Look(slot), sizeof sb);
      sb_ = &sb;
      budget_ = 512;
      Tree(Role::kSpace, 0, &sb.space);
      Tree(Role::kPending, 0, &sb.pending);
      Tree(Role::kBlob, 0, &sb.blobs);
      Tree(Role::kCatalog, 0, &sb.catalog);
      Log();
      SealSuperblock(&sb);
      for (auto& file : *media_) {
        std::memcpy(file->Block(slot), &sb, sizeof sb);
        std::memcpy(file->Block(SuperPlace(slot, true, file->size_bytes() / kBlockBytes)), &sb,
                    sizeof sb);
      }
    }
  }

 private:
  const uint8_t* At(uint64_t phys) {
    if (VdevOf(phys) >= vdevs_.size()) return nullptr;
    const FlatFile& file = *(*media_)[vdevs_[VdevOf(phys)][0]];
    if (BlockOf(phys) >= file.size_bytes() / kBlockBytes) return nullptr;
    return file.Look(BlockOf(phys));
  }
  void Put(uint64_t phys, const uint8_t* block) {
    if (VdevOf(phys) >= vdevs_.size()) return;
    for (size_t side : vdevs_[VdevOf(phys)]) {
      FlatFile& file = *(*media_)[side];
      if (BlockOf(phys) >= file.size_bytes() / kBlockBytes) continue;
      std::memcpy(file.Block(BlockOf(phys)), block, kBlockBytes);
    }
  }

  void Labels(size_t m) {
    FlatFile& file = *(*media_)[m];
    for (uint64_t slot = 0; slot < 2; ++slot) {
      auto label = std::make_unique<Label>();
      std::memcpy(label.get(), file.Look(LabelPlace(slot, false, 0)), sizeof *label);
      SealLabel(label.get());
      for (const bool back : {false, true}) {
        const uint64_t place = LabelPlace(slot, back, file.size_bytes() / kBlockBytes);
        std::memcpy(file.Block(place), label.get(), sizeof *label);
      }
    }
  }

  void Tree(Role role, uint64_t tree, TreeRoot* root) {
    if (root->height <= kMaxHeight) {
      Page(role, tree, static_cast<uint8_t>(root->height), 0, &root->ptr);
    }
  }

  void Page(Role role, uint64_t tree, uint8_t level, uint64_t index, PagePtr* ptr) {
    if (ptr->null() || budget_ == 0) return;
    --budget_;
    const uint8_t* at = At(ptr->addr[0]);
    if (at == nullptr || (headers_ && BlockOf(ptr->addr[0]) < kEndBlocks)) return;
    alignas(8) uint8_t page[kBlockBytes];
    std::memcpy(page, at, sizeof page);
    if (level > 0) {
      auto* inner = reinterpret_cast<InnerPage*>(page);
      for (uint64_t i = 0; i < kFanOut; ++i) {
        Page(role, tree, static_cast<uint8_t>(level - 1), index * kFanOut + i, &inner->slots[i]);
      }
    } else if (role == Role::kCatalog) {
      auto* record = reinterpret_cast<CatalogLeaf*>(page);
      Tree(Role::kMap, record->line.map_tree, &record->map);
      Tree(Role::kBlob, record->tree, &record->blobs);
      Tree(Role::kDead, record->line.dead_tree, &record->line.dead);
    }
    if (headers_) {
      WriteHeader(page, {sb_->store_id, role, level, tree, index}, ptr->born);
    }
    ptr->crc = Crc32c(page, kBlockBytes);
    for (uint64_t addr : ptr->addr) Put(addr, page);
  }

  void Log() {
    if (sb_->log_blocks == 0 || sb_->log_blocks > kMaxLogBlocks) return;
    uint32_t crc = sb_->log_predecessor_crc;
    for (uint64_t i = 0; i < sb_->log_blocks; ++i) {
      const uint64_t sequence = sb_->log_sequence + i;
      const uint8_t* at = At(sb_->log_start + sequence % sb_->log_blocks);
      if (at == nullptr) return;
      uint8_t block[kBlockBytes];
      std::memcpy(block, at, sizeof block);
      LogBlockHeader header;
      std::memcpy(&header, block, sizeof header);
      if (header.sequence != sequence || !(header.store_id == sb_->store_id)) return;
      header.predecessor_crc = crc;
      std::memcpy(block, &header, sizeof header);
      SealLogBlock(block);
      std::memcpy(&crc, block + offsetof(LogBlockHeader, crc), sizeof crc);
      Put(sb_->log_start + sequence % sb_->log_blocks, block);
    }
  }

  Media* media_;
  std::vector<std::vector<size_t>> vdevs_;
  bool headers_;
  Superblock* sb_ = nullptr;
  uint32_t budget_ = 0;
};

}  // namespace ashlar::fuzz
