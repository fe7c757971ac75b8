// The offline check (S15). It shares the format with the engine and nothing else: it walks both
// generations' trees with reads of its own, and compares what they own with the newest space map.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <unordered_map>

#include "native/engine/crc32c.h"
#include "native/engine/format.h"

namespace ashlar {
namespace {

class Checker {
 public:
  Checker(BlockFile& file, bool with_data, CheckReport* report)
      : file_(file), with_data_(with_data), report_(report) {
    buffer_ = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
    if (buffer_ == nullptr) std::abort();
  }
  ~Checker() { std::free(buffer_); }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  Status Run() {
    Superblock found[2];
    bool valid[2] = {false, false};
    const uint64_t blocks = file_.size_bytes() / kBlockBytes;
    auto look = [&](uint64_t place, uint32_t slot) {
      Superblock sb;
      if (place >= blocks || !Read(place) || ParseSuperblock(buffer_, &sb) != Status::kOk) return;
      if ((sb.generation & 1) != slot || sb.size_blocks > blocks) return;
      if (valid[slot] && found[slot].generation >= sb.generation) return;
      found[slot] = sb;
      valid[slot] = true;
    };
    for (uint32_t slot = 0; slot < 2; ++slot) look(slot, slot);
    for (uint32_t slot = 0; slot < 2 && blocks > 4; ++slot) look(blocks - 2 + slot, slot);
    if (!valid[0] && !valid[1]) return Status::kNotAPool;
    const uint32_t newest = !valid[0]   ? 1
                            : !valid[1] ? 0
                                        : found[1].generation > found[0].generation;
    Generation(found[newest]);
    const uint32_t older = 1 - newest;
    if (valid[older] && found[older].store_id == found[newest].store_id) {
      Generation(found[older]);
    }
    report_->clean = report_->bad_metadata_pages == 0 && report_->bad_data_blocks == 0 &&
                     report_->leaked_blocks == 0 && report_->doubly_owned_blocks == 0 &&
                     report_->unmarked_blocks == 0 && wrong_sums_ == 0;
    return Status::kOk;
  }

 private:
  using Bits = std::unordered_map<uint64_t, std::vector<uint64_t>>;  // By group.

  bool Read(uint64_t block) {
    bool ended = false;
    IoRequest request;
    request.kind = IoKind::kRead;
    request.offset = block * kBlockBytes;
    request.bytes = kBlockBytes;
    request.data = buffer_;
    request.context = &ended;
    request.done = [](IoRequest* r) { *static_cast<bool*>(r->context) = true; };
    file_.Submit(&request);
    file_.Kick();
    while (!ended) file_.Wait();
    return request.result == 0;
  }

  void Find(std::string text) {
    if (report_->findings.size() < 100) {
      report_->findings.push_back("generation " + std::to_string(sb_.generation) + ": " +
                                  std::move(text));
    }
  }
  void Expect(const char* what, uint64_t is, uint64_t should) {
    if (is == should) return;
    ++wrong_sums_;
    Find(std::string(what) + " is " + std::to_string(is) + ", counted " + std::to_string(should));
  }

  void Generation(const Superblock& sb) {
    sb_ = sb;
    range_ = {sb.alloc_start, sb.alloc_start + sb.alloc_blocks};
    owned_.clear();
    marked_.clear();
    metadata_ = pending_runs_ = pending_blocks_ = 0;
    uint64_t used = Walk(Role::kSpace, 0, sb.space);
    Walk(Role::kPending, 0, sb.pending);
    Walk(Role::kBlob, 0, sb.blobs);
    records_.clear();
    Walk(Role::kCatalog, 0, sb.catalog);
    const std::vector<CatalogLeaf> records = records_;
    for (const CatalogLeaf& r : records) {
      const uint64_t before = bad_pages_seen_;
      uint64_t mapped = Walk(Role::kMap, r.tree, r.map);
      Walk(Role::kBlob, r.tree, r.blobs);
      if (before == bad_pages_seen_) Expect("a volume's mapped count", r.mapped_blocks, mapped);
    }
    Expect("the space map's sum", sb.space.ptr.aux, used);
    Expect("the count of metadata blocks", sb.metadata_blocks, metadata_);
    Expect("the count of pending runs", sb.pending_runs, pending_runs_);
    Expect("the count of pending blocks", sb.pending_blocks, pending_blocks_);
    for (const auto& [group, words] : owned_) {
      auto it = marked_.find(group);
      for (uint32_t w = 0; w < kGroupWords; ++w) {
        uint64_t mark = it == marked_.end() ? 0 : it->second[w];
        uint64_t wrong = words[w] & ~mark;
        report_->unmarked_blocks += static_cast<uint64_t>(__builtin_popcountll(wrong));
        if (wrong != 0) Find("block in use but free in the space map, near " + Place(group, w));
      }
    }
    for (const auto& [group, words] : marked_) {
      auto it = owned_.find(group);
      for (uint32_t w = 0; w < kGroupWords; ++w) {
        uint64_t own = it == owned_.end() ? 0 : it->second[w];
        uint64_t wrong = words[w] & ~own;
        report_->leaked_blocks += static_cast<uint64_t>(__builtin_popcountll(wrong));
        if (wrong != 0) Find("block marked but owned by nothing, near " + Place(group, w));
      }
    }
  }

  std::string Place(uint64_t group, uint32_t word) const {
    return std::to_string(sb_.alloc_start + group * kGroupBlocks + word * 64);
  }

  void Own(uint64_t phys) {
    const uint64_t at = phys - sb_.alloc_start;
    auto& words = owned_[at / kGroupBlocks];
    if (words.empty()) words.resize(kGroupWords);
    const uint64_t bit = at % kGroupBlocks;
    uint64_t& word = words[bit / 64];
    if ((word >> (bit % 64)) & 1) {
      ++report_->doubly_owned_blocks;
      Find("block " + std::to_string(phys) + " is owned twice");
    }
    word |= 1ull << (bit % 64);
  }

  void Data(uint64_t phys, uint32_t crc, const char* what) {
    Own(phys);
    if (!with_data_) return;
    ++report_->blocks_checked;
    if (Read(phys) && Crc32c(buffer_, kBlockBytes) == crc) return;
    ++report_->bad_data_blocks;
    Find(std::string(what) + " at " + std::to_string(phys) + " does not match its checksum");
  }

  uint64_t Walk(Role role, uint64_t tree, const TreeRoot& root) {
    return Page(role, tree, static_cast<uint8_t>(root.height), 0, root.ptr);
  }

  // The sum below, as the page itself says it.
  uint64_t Page(Role role, uint64_t tree, uint8_t level, uint64_t index, const PagePtr& ptr) {
    if (ptr.null()) return 0;
    std::vector<uint8_t> page(kBlockBytes);
    int good = 0;
    const PageIdentity identity{sb_.store_id, role, level, tree, index};
    for (uint64_t addr : ptr.addr) {
      Own(addr);
      ++metadata_;
      ++report_->pages_checked;
      if (Read(addr) && PageMatches(buffer_, identity, ptr) &&
          PageIsSound(buffer_, role, level, range_)) {
        std::copy(buffer_, buffer_ + kBlockBytes, page.begin());
        ++good;
      } else {
        ++report_->bad_metadata_pages;
        Find("page at " + std::to_string(addr) + " is damaged");
      }
    }
    if (good == 0) {
      ++bad_pages_seen_;
      return ptr.aux;
    }
    uint64_t sum = 0;
    if (level > 0) {
      InnerPage inner;
      std::memcpy(&inner, page.data(), sizeof inner);
      for (uint32_t i = 0; i < kFanOut; ++i) {
        sum +=
            Page(role, tree, static_cast<uint8_t>(level - 1), index * kFanOut + i, inner.slots[i]);
      }
    } else {
      sum = Leaf(role, index, page.data());
    }
    if (sum != ptr.aux) Expect("a page's sum", ptr.aux, sum);
    return sum;
  }

  uint64_t Leaf(Role role, uint64_t index, const uint8_t* page) {
    uint64_t sum = 0;
    switch (role) {
      case Role::kMap: {
        const auto leaf = std::make_unique<MapLeaf>();
        std::memcpy(leaf.get(), page, sizeof *leaf);
        for (uint32_t i = 0; i < kLeafEntries; ++i) {
          if (leaf->kind[i] != kEntryData) continue;
          ++sum;
          Data(leaf->phys[i], leaf->crc[i], "data");
        }
        break;
      }
      case Role::kSpace: {
        const auto leaf = std::make_unique<SpaceLeaf>();
        std::memcpy(leaf.get(), page, sizeof *leaf);
        marked_[index].assign(leaf->words, leaf->words + kGroupWords);
        for (uint64_t word : leaf->words) sum += static_cast<uint64_t>(__builtin_popcountll(word));
        break;
      }
      case Role::kPending: {
        const auto leaf = std::make_unique<PendingLeaf>();
        std::memcpy(leaf.get(), page, sizeof *leaf);
        for (uint32_t i = 0; i < leaf->count; ++i) {
          ++pending_runs_;
          pending_blocks_ += leaf->blocks[i];
          for (uint32_t k = 0; k < leaf->blocks[i]; ++k) Own(leaf->phys[i] + k);
        }
        break;
      }
      case Role::kCatalog: {
        CatalogLeaf leaf;
        std::memcpy(&leaf, page, sizeof leaf);
        if (leaf.state != RecordState::kFree) records_.push_back(leaf);
        break;
      }
      case Role::kBlob: {
        BlobLeaf leaf;
        std::memcpy(&leaf, page, sizeof leaf);
        for (uint32_t i = 0; i * kBlockBytes < leaf.bytes; ++i) {
          Data(leaf.phys[i], leaf.crc[i], "a setting");
        }
        break;
      }
    }
    return sum;
  }

  BlockFile& file_;
  bool with_data_;
  CheckReport* report_;
  uint8_t* buffer_;
  Superblock sb_{};
  PhysRange range_;
  Bits owned_, marked_;
  std::vector<CatalogLeaf> records_;
  uint64_t metadata_ = 0, pending_runs_ = 0, pending_blocks_ = 0;
  uint64_t wrong_sums_ = 0, bad_pages_seen_ = 0;
};

}  // namespace

Status Pool::Check(BlockFile& file, bool with_data, CheckReport* report) {
  *report = CheckReport{};
  return Checker(file, with_data, report).Run();
}

}  // namespace ashlar
