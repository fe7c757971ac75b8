// The page cache: every page of every tree that is in memory, bounded by a number of frames. A page
// in the cache has its parent in the cache (Page::children), so one hash probe finds a leaf and a
// walk upward never loads. Clean pages nobody holds are evicted by CLOCK; dirty ones stay until a
// checkpoint has written them.
//
// A volume may have a part of the cache for its map (CacheShare): its pages push each other out of
// it and nobody else's, and nobody else's push them out.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "native/engine/format.h"

namespace ashlar {

struct Page;

// Something that waits for a page. `wake` is called once, with kOk, kDamaged or kIoError.
struct Waiter {
  Waiter* next_waiter = nullptr;
  void (*wake)(Waiter*, Status) = nullptr;
};

// Pages that CLOCK goes round, and where it is.
struct Clock {
  std::vector<Page*> pages;
  size_t hand = 0;
};

// What a volume's map has of the cache.
struct CacheShare {
  uint64_t wanted = 0;  // Frames of its own that were asked for. 0: it shares with all the others.
  uint64_t frames = 0;  // Of these, what it has got: see PageCache::SetShare.
  uint64_t pages = 0;   // Of its map, in memory.
  uint64_t hits = 0;    // Map leaves looked for and found.
  uint64_t misses = 0;  // Pages read from the medium.
  Clock clock;          // With frames of its own.
};

struct Tree {
  Role role = Role::kMap;
  CacheShare* share = nullptr;  // Of a volume's map. Null: nobody counts.
  uint64_t id = 0;
  TreeRoot
      root;  // root.ptr is live: at a cut it gets the new addresses, when written the new checksum.
  Page* root_page = nullptr;
  struct VolumeState* owner = nullptr;  // Null: the pool's own.
  // The newest snapshot that no checkpoint has cut yet: what was dirty before it belongs to it
  // (versions.cc). 0: none.
  uint64_t barrier = 0;
};

struct Page {
  uint8_t* data = nullptr;
  uint8_t* frozen =
      nullptr;  // The image a checkpoint is writing, once `data` has moved on from it.
  Tree* tree = nullptr;
  uint64_t index = 0;
  Page* parent = nullptr;
  uint32_t pins = 0;
  uint32_t children = 0;  // Pages in the cache that have this one as parent.
  uint32_t used = 0;      // Leaves: entries with data; bits set.
  uint32_t holes = 0;     // Map leaves: versioned holes.
  uint8_t level = 0;
  bool loading = false;
  bool bad = false;  // Neither copy could be read. Kept, without content, until someone may wait
                     // for another try.
  bool unread = false;  // Bad, and the medium would not give all of its copies: another try may.
  bool dirty = false;
  bool assigned = false;  // Inside a cut: it has its new addresses.
  bool in_checkpoint = false;
  bool orphan = false;  // Dropped from its tree while a checkpoint still writes it.
  bool referenced = false;
  bool grows = false;  // Dirty: its new place will not be paid for by its old one.
  uint64_t birth = 0;  // Dirty: when its content last began to differ from a snapshot's.
  uint64_t since = 0;  // Dirty: when it stopped being what the last checkpoint wrote.
  uint64_t until = 0;  // A snapshot's own: the last snapshot that shares it.
  uint32_t clock_slot = 0;
  PagePtr load_ptr;
  Waiter* waiters = nullptr;
  Waiter* waiters_tail = nullptr;
  Page* dirty_prev = nullptr;
  Page* dirty_next = nullptr;

  InnerPage* inner() const { return reinterpret_cast<InnerPage*>(data); }
  MapLeaf* map_leaf() const { return reinterpret_cast<MapLeaf*>(data); }
  SpaceLeaf* space_leaf() const { return reinterpret_cast<SpaceLeaf*>(data); }
  uint8_t* image() const { return frozen != nullptr ? frozen : data; }
  uint32_t slot() const { return static_cast<uint32_t>(index & (kFanOut - 1)); }
};

class PageCache {
 public:
  explicit PageCache(uint64_t bytes);
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  Page* Find(const Tree* tree, uint32_t level, uint64_t index) {
    uint64_t i = Hash(tree, level, index) & mask_;
    for (;; i = (i + 1) & mask_) {
      Page* page = table_[i];
      if (page == nullptr) return nullptr;
      if (page->index == index && page->tree == tree && page->level == level) return page;
    }
  }
  // A zeroed page, linked to its parent (null: it becomes the tree's root page).
  Page* Create(Tree* tree, uint32_t level, uint64_t index, Page* parent);
  // Takes it out of the index and from its parent. The frames are released unless a checkpoint
  // holds the page (then: orphan).
  void Remove(Page* page);
  // For an orphan, once its checkpoint is done with it.
  void Free(Page* page);
  // Puts `above` between the root page and the tree: the tree has grown a level.
  void Raise(Page* old_root, Page* above);

  // Gives a tree so many frames of its own; 0: none any more. Parts are promised up to half of the
  // cache; together more, each gets its proportion of that. What is too many of a part goes at
  // once, save what is dirty or in use.
  void SetShare(CacheShare* share, uint64_t frames);

  uint8_t* TakeFrame();
  void ReleaseFrame(uint8_t* frame);

  void AddDirty(Page* page);
  void RemoveDirty(Page* page);
  Page* dirty_head() const { return dirty_head_; }

  uint64_t capacity() const { return capacity_; }
  uint64_t frames_used() const { return frames_used_; }
  uint64_t dirty_pages() const { return dirty_pages_; }
  uint64_t pages() const { return pages_; }

 private:
  static uint64_t Hash(const Tree* tree, uint32_t level, uint64_t index) {
    uint64_t h = (reinterpret_cast<uintptr_t>(tree) >> 4) * 0x9E3779B97F4A7C15ull;
    h ^= (index * 8 + level) * 0xD6E8FEB86659FD93ull;
    return h ^ (h >> 29);
  }
  void Insert(Page* page);
  void Erase(Page* page);
  void Grow();
  void MakeRoom(CacheShare* share);
  Clock* ClockOf(const Tree* tree) {
    return tree->share != nullptr && tree->share->wanted > 0 ? &tree->share->clock : &common_;
  }
  static void Join(Clock* clock, Page* page);
  static void LeaveClock(Clock* clock, Page* page);
  // Takes a step of CLOCK: evicts at most one page.
  void Step(Clock* clock);
  void Shrink(CacheShare* share, size_t steps);

  struct FreeDeleter {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  uint64_t capacity_;
  uint64_t frames_used_ = 0;
  uint64_t pages_ = 0;
  uint64_t dirty_pages_ = 0;
  std::vector<Page*> table_;
  uint64_t mask_;
  Clock common_;                      // Of pages that belong to no part.
  std::vector<CacheShare*> parts_;    // With frames of their own.
  size_t next_part_ = 0;              // To be looked at for what is too many of it.
  Page* dirty_head_ = nullptr;
  std::vector<uint8_t*> free_frames_;
  std::vector<std::unique_ptr<uint8_t, FreeDeleter>> chunks_;
  std::vector<Page*> free_pages_;
  std::vector<std::unique_ptr<Page[]>> page_chunks_;
};

}  // namespace ashlar
