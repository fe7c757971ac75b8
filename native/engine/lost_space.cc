// Damage of the space map: both copies of one of its pages cannot be read (H6).
//
// Met while the pool is open: the page's groups are lost. Their free blocks count for nothing, what
// is freed in them stays on the pending list, nothing is taken there; the superblock says that it
// is so. Met or said at an opening: the page is made anew, before the log is replayed. A block is
// in use if anything that the superblock reaches owns it, which is what a walk over all trees finds
// out (the offline check does the same, S15). Where that walk meets damage elsewhere, what nobody
// seems to own may be in use below it: it stays so, but for what the log puts there, and every
// opening tries again to find out. Until the checkpoint that ends the opening nothing has been
// written: a crash leaves the work to the next opening.
#include <algorithm>
#include <cassert>

#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
// What the medium would not give, it may give a moment later.
constexpr int kReads = 4;
}  // namespace

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
    uint64_t start, end;  // The groups below it.
  };

  PoolImpl& pool;
  std::vector<Place> lost;  // In the order of their groups.
  // Below an inner page that is lost were pages that nothing names any more: blocks in use in other
  // groups. All groups are counted then, and where an opening before had to guess.
  bool all = false;
  OwnedBlocks owned;           // In the groups that are counted.
  std::vector<uint64_t> used;  // By region.
  uint64_t pages = 0;          // Copies, as Superblock::metadata_blocks.
  bool whole = true;           // Nothing else is damaged that would say what is owned.

  explicit SpaceRebuild(PoolImpl& p) : pool(p), used(p.range_.count) {}

  // The page that is lost with a group. Null: it can be read.
  const Place* LostWith(uint64_t group) const {
    const auto after =
        std::upper_bound(lost.begin(), lost.end(), group,
                         [](uint64_t g, const Place& place) { return g < place.start; });
    if (after == lost.begin()) return nullptr;
    const Place& place = *std::prev(after);
    return group < place.end ? &place : nullptr;
  }
  // What the map is to say of a group.
  void Fill(uint64_t group, uint64_t* words) const {
    owned.Copy(group, words);
    // Below what cannot be read elsewhere may lie any block that nobody seems to own.
    for (uint32_t bit = 0; !whole && bit < pool.range_.Capacity(group); ++bit) {
      words[bit >> 6] |= 1ull << (bit & 63);
    }
  }

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
    for (int read = 1;;) {
      Page* page = nullptr;
      const Got got = pool.GetPage(tree, level, index, nullptr, &page);
      if (got == Got::kHere) return page;
      if (got == Got::kLoading) {
        pool.WaitIo();
        continue;
      }
      Page* bad = pool.cache_.Find(tree, level, index);
      if (bad == nullptr || !bad->unread || read == kReads) return nullptr;
      pool.cache_.Remove(bad);
      ++read;
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
      const uint64_t start = index * pool.LeafSpan(level);
      const uint64_t end = std::min(start + pool.LeafSpan(level), pool.GroupCount());
      lost.push_back({level, index, start, end});
      all |= level > 0;
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
    const uint64_t group = pool.GroupOf(phys);
    if (all || LostWith(group) != nullptr) owned.Add(group, pool.BitOf(phys));
  }
  void OwnPage(const PagePtr& ptr) {
    for (const uint64_t phys : ptr.addr) Own(phys);
    pages += 2;
  }

  // The pages born after `bound`: those before are somebody else's (S12), who is asked too.
  template <typename Leaf>
  void Walk(Tree* tree, uint32_t level, uint64_t index, const PagePtr& ptr, uint64_t bound,
            Leaf leaf) {
    // Nothing needs to be made, and nothing can be made better.
    if (lost.empty() && !whole) return;
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
    const uint64_t start = index * pool.LeafSpan(level);
    if (!whole) return start < pool.GroupCount();
    return owned.AnyIn(start, start + pool.LeafSpan(level));
  }

  void Make(uint32_t level, uint64_t index, Page* parent) {
    Page* page = pool.cache_.Create(&pool.space_, level, index, parent);
    pool.MarkDirty(page);
    ++pool.rebuilt_pages_;
    if (level == 0) {
      Fill(index, page->space_leaf()->words);
      pool.CountPage(page);
      Count(index, page->space_leaf()->words);
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

  // The pages that can be read, where all owners are known.
  void Correct(uint32_t level, uint64_t index, const PagePtr& ptr) {
    if (ptr.null()) return;
    const Place* gone = LostWith(index * pool.LeafSpan(level));
    if (gone != nullptr && gone->level >= level) return;
    Page* page = Load(&pool.space_, level, index);
    if (page == nullptr) {
      pool.rebuild_wanted_ = true;
      return;
    }
    if (level > 0) {
      ++page->pins;
      Prefetch(&pool.space_, page, [](const PagePtr& p) { return !p.null(); });
      for (uint64_t i = 0; i < kFanOut; ++i) {
        Correct(level - 1, index * kFanOut + i, page->inner()->slots[i]);
      }
      --page->pins;
      return;
    }
    uint64_t words[kGroupWords];
    Fill(index, words);
    Count(index, words);
    if (std::equal(words, words + kGroupWords, page->space_leaf()->words)) return;
    pool.Touch(page);
    std::copy_n(words, kGroupWords, page->space_leaf()->words);
    pool.CountPage(page);
    ++pool.rebuilt_pages_;
  }
};

// In use only because nobody knew. A log that puts something there does know: it was free.
bool PoolImpl::IsUnclaimed(uint64_t phys) const {
  if (guessed_.empty()) return false;
  const uint64_t group = GroupOf(phys);
  const auto after = guessed_.upper_bound(group);
  if (after == guessed_.begin() || group >= std::prev(after)->second) return false;
  return !known_owned_.Has(group, BitOf(phys));
}

void PoolImpl::Claim(uint64_t phys) { known_owned_.Add(GroupOf(phys), BitOf(phys)); }

void PoolImpl::RebuildSpace() {
  SpaceRebuild rebuild(*this);
  space_guessed_ = (sb_.compatible_features & kFeatureSpaceGuessed) != 0;
  rebuild.all = space_guessed_;
  rebuild.FindLost(space_.root.height, 0, space_.root.ptr);
  if (rebuild.lost.empty() && !space_guessed_) return;
  rebuild.FindOwners();
  if (rebuild.lost.empty() && !rebuild.whole) return;
  space_guessed_ = !rebuild.whole;
  if (rebuild.all && rebuild.whole) {
    std::fill(rebuild.used.begin(), rebuild.used.end(), 0);
    rebuild.Correct(space_.root.height, 0, space_.root.ptr);
  }
  for (const SpaceRebuild::Place& place : rebuild.lost) rebuild.Replace(place);
  bits_used_ = 0;
  for (uint32_t r = 0; r < range_.count; ++r) bits_used_ += regions_[r].used = rebuild.used[r];
  // The pages below an inner one are gone with it.
  if (rebuild.all && rebuild.whole) metadata_blocks_ = rebuild.pages;
  if (rebuild.whole) return;
  for (const SpaceRebuild::Place& place : rebuild.lost) guessed_[place.start] = place.end;
  known_owned_ = std::move(rebuild.owned);
}

}  // namespace ashlar
