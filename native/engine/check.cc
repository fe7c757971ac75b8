// The offline check (S15). It shares the format with the engine and nothing else: it walks both
// generations' trees with reads of its own, and compares what they own with the newest space map.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <unordered_map>

#include "native/engine/crc32c.h"
#include "native/engine/device_set.h"

namespace ashlar {
namespace {

class Checker {
 public:
  Checker(bool with_data, CheckReport* report) : with_data_(with_data), report_(report) {
    buffer_ = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, 2 * kBlockBytes));
    if (buffer_ == nullptr) std::abort();
    spare_ = buffer_ + kBlockBytes;
  }
  ~Checker() { std::free(buffer_); }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  Status Run(const std::vector<DeviceFile>& files, std::string* why) {
    if (const Status status = set_.Assemble(files, nullptr, why); status != Status::kOk) return status;
    Superblock found[2];
    bool valid[2] = {false, false};
    for (const auto& device : set_.devices()) {
      if (!device->Readable()) continue;
      for (const bool back : {false, true}) {
        for (uint32_t slot = 0; slot < 2; ++slot) {
          Superblock sb;
          const uint64_t place = SuperPlace(slot, back, device->record.size_blocks);
          if (!TransferBlocks(*device->file, IoKind::kRead, place, 1, buffer_)) continue;
          if (ParseSuperblock(buffer_, &sb) != Status::kOk) continue;
          if ((sb.generation & 1) != slot || !(sb.store_id == set_.pool_id())) continue;
          if (valid[slot] && found[slot].generation >= sb.generation) continue;
          found[slot] = sb;
          valid[slot] = true;
        }
      }
    }
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

  // Reads every side that should have the block and tests it. How many are good; the last good one
  // is left in buffer_. `bad` is told of the others.
  template <typename Test, typename Bad>
  int Read(uint64_t phys, Test test, Bad bad) {
    const uint32_t vdev = VdevOf(phys);
    if (vdev >= set_.vdevs().size()) return 0;
    int good = 0;
    for (uint16_t index : set_.vdevs()[vdev].sides) {
      const DeviceSet::Device& device = *set_.devices()[index];
      if (!device.Readable()) continue;
      uint8_t* const into = good == 0 ? buffer_ : spare_;
      if (TransferBlocks(*device.file, IoKind::kRead, BlockOf(phys), 1, into) && test(into)) {
        ++good;
      } else {
        bad(std::to_string(BlockOf(phys)) +
            (set_.devices().size() > 1 ? " of " + set_.Describe(device) : ""));
      }
    }
    return good;
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
    range_ = {sb_.regions, sb_.region_count};
    for (uint32_t i = 0; i < sb.region_count; ++i) {
      const Region& r = sb.regions[i];
      const uint32_t vdev = VdevOf(r.start);
      if (vdev >= set_.vdevs().size() || set_.vdevs()[vdev].sides.empty() ||
          BlockOf(r.start) + r.blocks + kEndBlocks > set_.VdevBlocks(vdev)) {
        ++wrong_sums_;
        return Find("a region lies outside of its vdev");
      }
    }
    owned_.clear();
    marked_.clear();
    unknown_.clear();
    metadata_ = pending_runs_ = pending_blocks_ = 0;
    uint64_t used = Walk(Role::kSpace, 0, sb.space);
    Walk(Role::kPending, 0, sb.pending);
    Walk(Role::kBlob, 0, sb.blobs);
    records_.clear();
    Walk(Role::kCatalog, 0, sb.catalog);
    const std::vector<CatalogLeaf> records = records_;
    for (const CatalogLeaf& r : records) {
      if (r.kind == RecordKind::kVolume) Line(r, records);
    }
    Expect("the space map's sum", sb.space.ptr.aux, used);
    std::vector<uint64_t> by_region(sb.region_count);
    for (const auto& [group, words] : marked_) {
      if (group >= range_.Groups()) continue;
      uint64_t in_region = 0;
      uint64_t& sum = by_region[range_.RegionOfGroup(group, &in_region)];
      for (uint64_t word : words) sum += static_cast<uint64_t>(__builtin_popcountll(word));
    }
    for (uint32_t i = 0; i < sb.region_count && unknown_.empty(); ++i) {
      Expect("a region's count", sb.regions[i].used, by_region[i]);
    }
    // Pages below one that cannot be read are of the count, and not found.
    if (unknown_.empty()) Expect("the count of metadata blocks", sb.metadata_blocks, metadata_);
    Expect("the count of pending runs", sb.pending_runs, pending_runs_);
    Expect("the count of pending blocks", sb.pending_blocks, pending_blocks_);
    for (const auto& [group, words] : owned_) {
      if (IsUnknown(group)) continue;
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

  // Below a page of the space map that cannot be read: nothing says what is in use there.
  bool IsUnknown(uint64_t group) const {
    return std::any_of(unknown_.begin(), unknown_.end(), [group](const auto& groups) {
      return group >= groups.first && group < groups.second;
    });
  }
  void LoseGroups(uint8_t level, uint64_t index) {
    const uint64_t span = 1ull << (kFanOutBits * level);
    const uint64_t end = std::min((index + 1) * span, range_.Groups());
    unknown_.emplace_back(index * span, end);
    uint64_t blocks = 0;
    for (uint64_t g = index * span; g < end; ++g) blocks += range_.Capacity(g);
    Find("which of " + std::to_string(blocks) +
         " blocks are free is not known: the next opening makes that part of the space map anew");
  }

  std::string Place(uint64_t group, uint32_t word) const {
    if (group >= range_.Groups()) return "leaf " + std::to_string(group) + " of no region";
    return Name(range_.AddressOf(group, word * 64));
  }

  // The block, and its vdev where there is more than one.
  std::string Name(uint64_t phys) const {
    const std::string block = std::to_string(BlockOf(phys));
    return set_.vdevs().size() > 1 ? block + " of vdev " + std::to_string(VdevOf(phys)) : block;
  }

  void Own(uint64_t phys) {
    auto& words = owned_[range_.GroupOf(phys)];
    if (words.empty()) words.resize(kGroupWords);
    const uint64_t bit = range_.BitOf(phys);
    uint64_t& word = words[bit / 64];
    if ((word >> (bit % 64)) & 1) {
      ++report_->doubly_owned_blocks;
      Find("block " + Name(phys) + " is owned twice");
    }
    word |= 1ull << (bit % 64);
  }

  void Data(uint64_t phys, uint32_t crc, const char* what) {
    Own(phys);
    if (!with_data_) return;
    ++report_->blocks_checked;
    Read(
        phys, [crc](const uint8_t* block) { return Crc32c(block, kBlockBytes) == crc; },
        [&](const std::string& place) {
          ++report_->bad_data_blocks;
          Find(std::string(what) + " at " + place + " does not match its checksum");
        });
  }

  // --- Lines (S12) ---

  static bool Kept(const CatalogLeaf& r) {
    return r.kind == RecordKind::kSnapshot && r.state != RecordState::kCondemned;
  }

  // A volume and its snapshots, each against the one before it: what is not shared is owned; what
  // is missing is on the deadlists between the two, and nothing else is.
  void Line(const CatalogLeaf& head, const std::vector<CatalogLeaf>& records) {
    Walk(Role::kBlob, head.tree, head.blobs);
    const CatalogLeaf* origin = nullptr;
    std::vector<const CatalogLeaf*> line;
    for (const CatalogLeaf& r : records) {
      if (head.origin_tree != 0 && r.tree == head.origin_tree) origin = &r;
      if (r.kind != RecordKind::kVolume && r.line.head_tree == head.tree) line.push_back(&r);
    }
    std::sort(line.begin(), line.end(), [](const CatalogLeaf* a, const CatalogLeaf* b) {
      return a->line.birth < b->line.birth;
    });
    line.push_back(&head);
    const bool going = head.state == RecordState::kDeleting;
    const CatalogLeaf* before = origin;
    const CatalogLeaf* snapshot = nullptr;  // The one before in this line, and what it alone has.
    uint64_t snapshot_pred = head.line.origin_birth;
    uint64_t before_birth = head.line.origin_birth;
    listed_.clear();
    bool condemned = false;
    for (const CatalogLeaf* r : line) {
      list_sum_ = 0;
      Walk(Role::kDead, r->line.dead_tree, r->line.dead);
      Expect("the sum of a deadlist", r->line.dead_blocks, list_sum_);
      condemned |= r->state == RecordState::kCondemned;
      if (r != &head && (going || !Kept(*r))) continue;
      dead_.clear();
      written_ = 0;
      const uint64_t bad = bad_pages_seen_;
      const uint64_t mapped =
          Compare(*r, static_cast<uint8_t>(r->map.height), 0, r->map.ptr, before, PagePtr{});
      if (bad == bad_pages_seen_) {
        Expect("the mapped count of a volume or snapshot", r->mapped_blocks, mapped);
        if (!going) Expect("the count of what was written since", r->line.written, written_);
      }
      uint64_t unique = 0;
      for (const auto& [phys, run] : listed_) {
        // What only deleted snapshots had waits here to be freed; else it is what left in between.
        if (run.first > before_birth) {
          Own(phys);
          if (run.second) ++metadata_;
          continue;
        }
        if (going) continue;
        if (snapshot != nullptr && run.first > snapshot_pred) ++unique;
        // A rollback takes what the head names again off the lists at its end.
        if (r == &head && head.state == RecordState::kRollingBack) continue;
        auto it = dead_.find(phys);
        if (it == dead_.end() || it->second != run) {
          ++wrong_sums_;
          Find("block " + std::to_string(phys) + " is on a deadlist that it does not belong to");
        } else {
          dead_.erase(it);
        }
      }
      if (r == &head && head.state == RecordState::kRollingBack) dead_.clear();
      if (!going && bad == bad_pages_seen_) {
        for (const auto& [phys, run] : dead_) {
          ++wrong_sums_;
          Find("block " + std::to_string(phys) + " is on no deadlist");
        }
        if (snapshot != nullptr && (snapshot->flags & kRecordRecount) == 0 && !condemned &&
            !(r == &head && head.state == RecordState::kRollingBack)) {
          Expect("the unique blocks of a snapshot", snapshot->line.unique, unique);
        }
      }
      listed_.clear();
      condemned = false;
      snapshot_pred = before_birth;
      before_birth = r->line.birth;
      before = snapshot = r;
    }
  }

  // Reads a page of a map; both copies are looked at where it is `owned` here first.
  bool MapPage(uint64_t tree, uint8_t level, uint64_t index, const PagePtr& ptr, bool owned,
               uint8_t* page) {
    const PageIdentity identity{sb_.store_id, Role::kMap, level, tree, index};
    int good = 0;
    for (uint64_t addr : ptr.addr) {
      if (!owned && good > 0) break;
      if (owned) {
        Own(addr);
        ++metadata_;
        ++report_->pages_checked;
      }
      const int sides = Read(
          addr,
          [&](const uint8_t* block) {
            return PageMatches(block, identity, ptr) &&
                   PageIsSound(block, Role::kMap, level, range_);
          },
          [&](const std::string& where) {
            if (!owned) return;
            ++report_->bad_metadata_pages;
            Find("page at " + where + " is damaged");
          });
      if (sides > 0) std::copy(buffer_, buffer_ + kBlockBytes, page);
      good += sides;
    }
    if (good == 0) ++bad_pages_seen_;
    return good > 0;
  }

  // One place of two maps. `old` is the earlier one's page here; above its root it comes from
  // `before` when its level is reached. The sum below, as the page itself says it.
  uint64_t Compare(const CatalogLeaf& record, uint8_t level, uint64_t index, const PagePtr& ptr,
                   const CatalogLeaf* before, PagePtr old) {
    if (before != nullptr && level == before->map.height && index == 0) old = before->map.ptr;
    // Above the earlier root nothing is known of it yet: a map that grew and was emptied is null up
    // there, like its past, and yet lacks what lies below.
    const bool above = before != nullptr && level > before->map.height && index == 0;
    if (!above && ptr.addr[0] == old.addr[0] && ptr.addr[1] == old.addr[1]) {
      return ptr.aux;
    }
    std::vector<uint8_t> now(kBlockBytes, 0), then(kBlockBytes, 0);
    if (!old.null()) {
      for (uint64_t addr : old.addr) dead_[addr] = {old.born, true};
      if (!MapPage(before->line.map_tree, level, index, old, false, then.data())) return ptr.aux;
    }
    if (!ptr.null() && !MapPage(record.line.map_tree, level, index, ptr, true, now.data())) {
      return ptr.aux;
    }
    uint64_t sum = 0;
    if (level > 0) {
      const auto& inner = *reinterpret_cast<const InnerPage*>(now.data());
      const auto& earlier = *reinterpret_cast<const InnerPage*>(then.data());
      for (uint32_t i = 0; i < kFanOut; ++i) {
        sum += Compare(record, static_cast<uint8_t>(level - 1), index * kFanOut + i, inner.slots[i],
                       before, earlier.slots[i]);
      }
    } else {
      const auto& leaf = *reinterpret_cast<const MapLeaf*>(now.data());
      const auto& earlier = *reinterpret_cast<const MapLeaf*>(then.data());
      for (uint32_t i = 0; i < kLeafEntries; ++i) {
        const bool data = leaf.kind[i] == kEntryData;
        const bool was = earlier.kind[i] == kEntryData;
        const bool same = data && was && leaf.phys[i] == earlier.phys[i];
        if (same && (leaf.crc[i] != earlier.crc[i] || leaf.born[i] != earlier.born[i])) {
          ++wrong_sums_;
          Find("block " + std::to_string(leaf.phys[i]) + " is shared, but not alike");
        }
        if (was && !same) dead_[earlier.phys[i]] = {earlier.born[i], false};
        sum += data;
        if (!data || same) continue;
        ++written_;
        Data(leaf.phys[i], leaf.crc[i], "data");
      }
    }
    if (!ptr.null() && sum != ptr.aux) Expect("a page's sum", ptr.aux, sum);
    return sum;
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
      const int sides = Read(
          addr,
          [&](const uint8_t* block) {
            return PageMatches(block, identity, ptr) && PageIsSound(block, role, level, range_);
          },
          [&](const std::string& place) {
            ++report_->bad_metadata_pages;
            Find("page at " + place + " is damaged");
          });
      if (sides > 0) std::copy(buffer_, buffer_ + kBlockBytes, page.begin());
      good += sides;
    }
    if (good == 0) {
      ++bad_pages_seen_;
      if (role == Role::kSpace) LoseGroups(level, index);
      return ptr.aux;
    }
    uint64_t sum = 0;
    if (role == Role::kMap && HighestVersion(level, page.data()) > ptr.max_version) {
      ++wrong_sums_;
      Find("a page's highest version is above what its pointer says");
    }
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

  static uint64_t HighestVersion(uint8_t level, const uint8_t* page) {
    uint64_t highest = 0;
    if (level > 0) {
      InnerPage inner;
      std::memcpy(&inner, page, sizeof inner);
      for (const PagePtr& slot : inner.slots) highest = std::max(highest, slot.max_version);
    } else {
      MapLeaf leaf;
      std::memcpy(&leaf, page, sizeof leaf);
      for (uint32_t i = 0; i < kLeafEntries; ++i) {
        if (leaf.kind[i] != kEntryEmpty) highest = std::max(highest, leaf.version[i]);
      }
    }
    return highest;
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
      case Role::kDead: {
        const auto leaf = std::make_unique<DeadLeaf>();
        std::memcpy(leaf.get(), page, sizeof *leaf);
        for (uint32_t i = 0; i < leaf->count; ++i) {
          const uint32_t blocks = leaf->blocks[i] & ~kDeadPages;
          for (uint32_t k = 0; k < blocks; ++k) {
            listed_.emplace(leaf->phys[i] + k,
                            std::pair{leaf->born[i], (leaf->blocks[i] & kDeadPages) != 0});
          }
          sum += blocks;
        }
        list_sum_ += sum;
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

  DeviceSet set_;
  bool with_data_;
  CheckReport* report_;
  uint8_t* buffer_;
  uint8_t* spare_;
  Superblock sb_{};
  PhysRange range_;
  Bits owned_, marked_;
  std::vector<std::pair<uint64_t, uint64_t>> unknown_;  // From, to (exclusive).
  std::vector<CatalogLeaf> records_;
  // By address: when it was born, and whether it holds a page.
  using Runs = std::unordered_map<uint64_t, std::pair<uint64_t, bool>>;
  Runs listed_, dead_;
  uint64_t list_sum_ = 0, written_ = 0;
  uint64_t metadata_ = 0, pending_runs_ = 0, pending_blocks_ = 0;
  uint64_t wrong_sums_ = 0, bad_pages_seen_ = 0;
};

}  // namespace

Status Pool::Check(const std::vector<DeviceFile>& files, bool with_data, CheckReport* report,
                   std::string* why) {
  *report = CheckReport{};
  std::string unused;
  return Checker(with_data, report).Run(files, why == nullptr ? &unused : why);
}

Status Pool::Check(BlockFile& file, bool with_data, CheckReport* report) {
  return Check({{&file, "", {}}}, with_data, report, nullptr);
}

}  // namespace ashlar
