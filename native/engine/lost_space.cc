// Damage of the space map: both copies of one of its pages cannot be read (H6).
//
// Met while the pool is open: the page's groups are lost. Their free blocks count for nothing, what
// is freed in them stays on the pending list, nothing is taken there; the superblock says that it
// is so. Met or said at an opening: the page is made anew, before the log is replayed. A block is
// in use if anything that the superblock reaches owns it, which is what a walk over all trees finds
// out (the offline check does the same, S15). Until the checkpoint that ends the opening nothing
// has been written: a crash leaves the work to the next opening.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {

bool PoolImpl::IsLost(uint64_t group) const {

  if (lost_.empty()) return false;
  const auto after = lost_.upper_bound(group);
  return after != lost_.begin() && group < std::prev(after)->second.end;
}

// The group, and all others below the page that cannot be read.
void PoolImpl::LoseSpace(uint64_t group) {
  if (opening_now_) {
    rebuild_wanted_ = true;
    return;
  }
  if (IsLost(group)) return;
  const uint64_t span = BadSpan(&space_, group);
  uint32_t level = 0;
  while (LeafSpan(level) < span) ++level;
  const Page* bad = cache_.Find(&space_, level, group / span);
  assert(bad != nullptr);
  const uint64_t start = group / span * span;
  LostGroups groups;
  groups.end = std::min(start + span, PhysRange{regions_, active_regions_}.Groups());
  for (uint64_t g = start; g < groups.end; ++g) groups.blocks += range_.Capacity(g);
  groups.free = groups.blocks - bad->load_ptr.aux;
  // Those below it that were lost before it was.
  for (auto it = lost_.lower_bound(start); it != lost_.end() && it->first < groups.end;) {
    lost_free_ -= it->second.free;
    it = lost_.erase(it);
  }
  lost_[start] = groups;
  lost_free_ += groups.free;
  const bool cut = stage_ != CheckpointStage::kIdle && stage_ != CheckpointStage::kPrepare;
  lost_pending_ = 0;
  for (const std::vector<Run>* runs : {cut ? &pending_next_ : &pending_old_, &freed_now_}) {
    for (const Run& run : *runs) lost_pending_ += IsLost(GroupOf(run.phys)) ? run.blocks : 0;
  }
  want_checkpoint_ = true;  // The superblock is to say so.
}

// --- At an opening ---

struct PoolImpl::SpaceRebuild {
  struct Place {
    uint32_t level;
    uint64_t index;
  };

  PoolImpl& pool;
  std::vector<Place> lost;
  std::map<uint64_t, std::vector<uint64_t>> bits;  // Of the lost groups.
  std::vector<uint64_t> used;                      // By region.
  uint64_t pages = 0;                              // Copies, as Superblock::metadata_blocks.
  bool whole = true;  // Nothing else is damaged that would say what is owned.

  explicit SpaceRebuild(PoolImpl& p) : pool(p), used(p.range_.count) {}

  // A walk is bound by its reads: those of a page's children go together.
  template <typename Wanted>
  void Prefetch(Tree* tree, const Page* page, Wanted wanted) {
    for (uint64_t i = 0; i < kFanOut; ++i) {
      if (!wanted(page->inner()->slots[i])) continue;
      Page* unused = nullptr;
      static_cast<void>(
          pool.GetPage(tree, page->level - 1u, page->index * kFanOut + i, nullptr, &unused));
    }
  }

  Page* Load(Tree* tree, uint32_t level, uint64_t index) {
    for (;;) {
      Page* page = nullptr;
      const Got got = pool.GetPage(tree, level, index, nullptr, &page);
      if (got == Got::kHere) return page;
      if (got != Got::kLoading) return nullptr;
      pool.WaitIo();
    }
  }

  void Count(uint64_t group, const uint64_t* words) {
    uint64_t in_region = 0;
    uint64_t& sum = used[pool.range_.RegionOfGroup(group, &in_region)];
    for (uint32_t w = 0; w < kGroupWords; ++w) {
      sum += static_cast<uint64_t>(__builtin_popcountll(words[w]));
    }
  }

  // Which pages of the space map cannot be read, and what the others say.
  void FindLost(uint32_t level, uint64_t index, const PagePtr& ptr) {
    if (ptr.null()) return;
    Page* page = Load(&pool.space_, level, index);
    if (page == nullptr) {
      lost.push_back({level, index});
      const uint64_t end = std::min((index + 1) * pool.LeafSpan(level), pool.GroupCount());
      for (uint64_t g = index * pool.LeafSpan(level); g < end; ++g) bits[g].resize(kGroupWords);
      return;
    }
    if (level == 0) return Count(index, page->space_leaf()->words);
    ++page->pins;
    Prefetch(&pool.space_, page, [](const PagePtr& p) { return !p.null(); });
    for (uint64_t i = 0; i < kFanOut; ++i) {
      FindLost(level - 1, index * kFanOut + i, page->inner()->slots[i]);
    }
    --page->pins;
  }

  // --- Owners ---

  void Own(uint64_t phys) {
    if (!pool.range_.Holds(phys)) return;
    const auto it = bits.find(pool.GroupOf(phys));
    if (it == bits.end()) return;
    const uint32_t bit = pool.BitOf(phys);
    it->second[bit >> 6] |= 1ull << (bit & 63);
  }
  void OwnPage(const PagePtr& ptr) {
    for (const uint64_t phys : ptr.addr) Own(phys);
    pages += 2;
  }

  // The pages born after `bound`: those before are somebody else's (S12), who is asked too.
  template <typename Leaf>
  void Walk(Tree* tree, uint32_t level, uint64_t index, const PagePtr& ptr, uint64_t bound,
            Leaf leaf) {
    if (ptr.null() || ptr.born <= bound) return;
    OwnPage(ptr);
    Page* page = Load(tree, level, index);
    if (page == nullptr) {
      // Of the space map only what is below is not known, which is about to be made anew.
      whole &= tree == &pool.space_;
      return;
    }
    if (level == 0) return leaf(page);
    ++page->pins;
    Prefetch(tree, page, [bound](const PagePtr& p) { return !p.null() && p.born > bound; });
    for (uint64_t i = 0; i < kFanOut; ++i) {
      Walk(tree, level - 1, index * kFanOut + i, page->inner()->slots[i], bound, leaf);
    }
    --page->pins;
  }
  template <typename Leaf>
  void Walk(Tree* tree, uint64_t bound, Leaf leaf) {
    Walk(tree, tree->root.height, 0, tree->root.ptr, bound, leaf);
  }

  void Blobs(Tree* tree) {
    Walk(tree, 0, [this](const Page* page) {
      const auto* blob = reinterpret_cast<const BlobLeaf*>(page->data);
      for (uint32_t i = 0; i * kBlockBytes < blob->bytes; ++i) Own(blob->phys[i]);
    });
  }
  void Map(Tree* tree, uint64_t bound) {
    Walk(tree, bound, [this](const Page* page) {
      const MapLeaf* leaf = page->map_leaf();
      for (uint32_t e = 0; e < kLeafEntries; ++e) {
        if (leaf->kind[e] == kEntryData) Own(leaf->phys[e]);
      }
    });
  }

  // A volume, and the snapshots in its line. What is on a list a snapshot has, or it waits there to
  // be freed: it is in use in any case.
  void Line(VolumeState* head) {
    Blobs(&head->blobs.tree);
    const bool going = head->state == RecordState::kDeleting;
    uint64_t before = head->origin_birth;
    std::vector<VolumeState*> line = head->line;
    line.push_back(head);
    for (VolumeState* r : line) {
      Walk(&r->dead->tree, 0, [this, before](const Page* page) {
        const auto* list = reinterpret_cast<const DeadLeaf*>(page->data);
        for (uint32_t i = 0; i < list->count; ++i) {
          const uint32_t blocks = list->blocks[i] & ~kDeadPages;
          for (uint32_t k = 0; k < blocks; ++k) Own(list->phys[i] + k);
          // A page that no map has any more.
          if ((list->blocks[i] & kDeadPages) != 0 && list->born[i] > before) pages += blocks;
        }
      });
      if (r == head) break;
      if (going || r->kind != RecordKind::kSnapshot || r->state == RecordState::kCondemned) continue;
      Map(&r->map, before);
      before = r->birth;
    }
    Map(&head->map, before);
  }

  void FindOwners() {
    const auto nothing = [](const Page*) {};
    Walk(&pool.catalog_, 0, nothing);
    Walk(&pool.space_, 0, nothing);
    Blobs(&pool.pool_blobs_.tree);
    for (const uint64_t phys : pool.pending_pages_) Own(phys);
    pages += pool.pending_pages_.size();
    for (const Run& run : pool.pending_old_) {
      for (uint64_t k = 0; k < run.blocks; ++k) Own(run.phys + k);
    }
    for (const auto& v : pool.volumes_) {
      if (v != nullptr && v->kind == RecordKind::kVolume) Line(v.get());
    }
  }

  // --- The new pages ---

  bool AnyBelow(uint32_t level, uint64_t index) const {
    const uint64_t end = (index + 1) * pool.LeafSpan(level);
    for (auto it = bits.lower_bound(index * pool.LeafSpan(level));
         it != bits.end() && it->first < end; ++it) {
      if (std::any_of(it->second.begin(), it->second.end(), [](uint64_t w) { return w != 0; })) {
        return true;
      }
    }
    return false;
  }

  void Make(uint32_t level, uint64_t index, Page* parent) {
    Page* page = pool.cache_.Create(&pool.space_, level, index, parent);
    pool.MarkDirty(page);
    ++pool.rebuilt_pages_;
    if (level == 0) {
      std::copy_n(bits[index].data(), kGroupWords, page->space_leaf()->words);
      pool.CountPage(page);
      return;
    }
    ++page->pins;
    for (uint64_t i = index * kFanOut; i < (index + 1) * kFanOut; ++i) {
      if (AnyBelow(level - 1, i)) Make(level - 1, i, page);
    }
    --page->pins;
  }

  void Replace(const Place& place) {
    Page* bad = pool.cache_.Find(&pool.space_, place.level, place.index);
    if (bad != nullptr) pool.cache_.Remove(bad);
    Page* parent = nullptr;
    if (place.level < pool.space_.root.height) {
      parent = Load(&pool.space_, place.level + 1, place.index >> kFanOutBits);
      // It was read a moment ago, and is no more.
      if (parent == nullptr) {
        pool.rebuild_wanted_ = true;
        return;
      }
    }
    Make(place.level, place.index, parent);
  }
};

void PoolImpl::RebuildSpace() {

  SpaceRebuild rebuild(*this);
  rebuild.FindLost(space_.root.height, 0, space_.root.ptr);
  if (rebuild.lost.empty()) return;
  rebuild.FindOwners();
  bool inner = false;
  if (!rebuild.whole) known_owned_ = rebuild.bits;
  for (auto& [group, words] : rebuild.bits) {
    // Below what cannot be read elsewhere may lie any block that nobody seems to own.
    for (uint32_t bit = 0; !rebuild.whole && bit < range_.Capacity(group); ++bit) {
      words[bit >> 6] |= 1ull << (bit & 63);
    }
    rebuild.Count(group, words.data());
  }
  for (const SpaceRebuild::Place& place : rebuild.lost) {
    rebuild.Replace(place);
    inner |= place.level > 0;
  }
  bits_used_ = 0;
  for (uint32_t r = 0; r < range_.count; ++r) bits_used_ += regions_[r].used = rebuild.used[r];
  // The pages below an inner one are gone with it.
  if (inner && rebuild.whole) metadata_blocks_ = rebuild.pages;
}

}  // namespace ashlar
