#include "native/engine/page_cache.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

namespace ashlar {
namespace {
constexpr size_t kChunkFrames = 64;
constexpr size_t kMinFrames = 256;
// Of CLOCK for one new page: where everything is held (dirty limits see to it that this is rare),
// the cache overshoots by what operations in flight pin.
constexpr size_t kMaxSteps = 256;
// Of a part that is cut because others want more than there is: what one write or read pins, and some.
constexpr uint64_t kLeastFrames = 16;
}  // namespace

PageCache::PageCache(uint64_t bytes)
    : capacity_(std::max<uint64_t>(kMinFrames, bytes / kBlockBytes)), table_(1024), mask_(1023) {}

uint8_t* PageCache::TakeFrame() {
  if (free_frames_.empty()) {
    auto* chunk =
        static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, kChunkFrames * kBlockBytes));
    // Out of memory in the one place that holds most of it: nothing sensible can follow.
    if (chunk == nullptr) std::abort();
    chunks_.emplace_back(chunk);
    for (size_t i = kChunkFrames; i > 0; --i) free_frames_.push_back(chunk + (i - 1) * kBlockBytes);
  }
  uint8_t* frame = free_frames_.back();
  free_frames_.pop_back();
  ++frames_used_;
  return frame;
}

void PageCache::ReleaseFrame(uint8_t* frame) {
  assert(frames_used_ > 0);
  --frames_used_;
  free_frames_.push_back(frame);
}

Page* PageCache::Create(Tree* tree, uint32_t level, uint64_t index, Page* parent) {
  if (parent != nullptr) ++parent->pins;  // Not to be evicted in favour of its own child.
  MakeRoom(tree->share);
  if (parent != nullptr) --parent->pins;
  if (free_pages_.empty()) {
    page_chunks_.push_back(std::make_unique<Page[]>(kChunkFrames));
    for (size_t i = 0; i < kChunkFrames; ++i) free_pages_.push_back(&page_chunks_.back()[i]);
  }
  Page* page = free_pages_.back();
  free_pages_.pop_back();
  *page = Page{};
  page->data = TakeFrame();
  std::memset(page->data, 0, kBlockBytes);
  page->tree = tree;
  page->level = static_cast<uint8_t>(level);
  page->index = index;
  page->parent = parent;
  page->referenced = true;
  if (parent != nullptr) {
    ++parent->children;
  } else {
    tree->root_page = page;
  }
  Insert(page);
  ++pages_;
  if (tree->share != nullptr) ++tree->share->pages;
  Join(ClockOf(tree), page);
  return page;
}

void PageCache::Remove(Page* page) {
  assert(page->children == 0 && page->waiters == nullptr);
  Erase(page);
  if (page->dirty) RemoveDirty(page);
  if (page->parent != nullptr) {
    --page->parent->children;
  } else if (page->tree->root_page == page) {
    page->tree->root_page = nullptr;
  }
  page->parent = nullptr;
  LeaveClock(ClockOf(page->tree), page);
  if (page->tree->share != nullptr) --page->tree->share->pages;
  --pages_;
  if (page->in_checkpoint) {
    page->orphan = true;
  } else {
    Free(page);
  }
}

void PageCache::Free(Page* page) {
  if (page->frozen != nullptr) ReleaseFrame(page->frozen);
  ReleaseFrame(page->data);
  free_pages_.push_back(page);
}

void PageCache::Raise(Page* old_root, Page* above) {
  old_root->parent = above;
  ++above->children;
}

void PageCache::AddDirty(Page* page) {
  page->dirty = true;
  page->dirty_prev = nullptr;
  page->dirty_next = dirty_head_;
  if (dirty_head_ != nullptr) dirty_head_->dirty_prev = page;
  dirty_head_ = page;
  ++dirty_pages_;
}

void PageCache::RemoveDirty(Page* page) {
  page->dirty = false;
  if (page->dirty_prev != nullptr) {
    page->dirty_prev->dirty_next = page->dirty_next;
  } else {
    dirty_head_ = page->dirty_next;
  }
  if (page->dirty_next != nullptr) page->dirty_next->dirty_prev = page->dirty_prev;
  --dirty_pages_;
}

void PageCache::Insert(Page* page) {
  if ((pages_ + 1) * 2 > table_.size()) Grow();
  uint64_t i = Hash(page->tree, page->level, page->index) & mask_;
  while (table_[i] != nullptr) i = (i + 1) & mask_;
  table_[i] = page;
}

void PageCache::Erase(Page* page) {
  uint64_t hole = Hash(page->tree, page->level, page->index) & mask_;
  while (table_[hole] != page) {
    assert(table_[hole] != nullptr);
    hole = (hole + 1) & mask_;
  }
  // Linear probing without tombstones: whatever follows and may move into the hole does.
  for (uint64_t i = (hole + 1) & mask_; table_[i] != nullptr; i = (i + 1) & mask_) {
    uint64_t home = Hash(table_[i]->tree, table_[i]->level, table_[i]->index) & mask_;
    if (((i - home) & mask_) >= ((i - hole) & mask_)) {
      table_[hole] = table_[i];
      hole = i;
    }
  }
  table_[hole] = nullptr;
}

void PageCache::Grow() {
  std::vector<Page*> old(table_.size() * 2);
  old.swap(table_);
  mask_ = table_.size() - 1;
  for (Page* page : old) {
    if (page == nullptr) continue;
    uint64_t i = Hash(page->tree, page->level, page->index) & mask_;
    while (table_[i] != nullptr) i = (i + 1) & mask_;
    table_[i] = page;
  }
}

void PageCache::Join(Clock* clock, Page* page) {
  page->clock_slot = static_cast<uint32_t>(clock->pages.size());
  clock->pages.push_back(page);
}

void PageCache::LeaveClock(Clock* clock, Page* page) {
  Page* last = clock->pages.back();
  clock->pages[page->clock_slot] = last;
  last->clock_slot = page->clock_slot;
  clock->pages.pop_back();
}

void PageCache::Step(Clock* clock) {
  if (clock->hand >= clock->pages.size()) clock->hand = 0;
  Page* page = clock->pages[clock->hand];
  if (page->pins > 0 || page->children > 0 || page->dirty || page->assigned ||
      page->in_checkpoint || page->loading) {
    ++clock->hand;
  } else if (page->referenced) {
    page->referenced = false;
    ++clock->hand;
  } else {
    Remove(page);
  }
}

void PageCache::Shrink(CacheShare* share, size_t steps) {
  for (; share->pages > share->frames && steps > 0 && !share->clock.pages.empty(); --steps) {
    Step(&share->clock);
  }
}

// For one page more, of `share`.
void PageCache::MakeRoom(CacheShare* share) {
  if (share != nullptr && share->wanted > 0) {
    for (size_t steps = 0;
         share->pages >= share->frames && steps < kMaxSteps && !share->clock.pages.empty();
         ++steps) {
      Step(&share->clock);
    }
  }
  if (frames_used_ < capacity_) return;
  // A part holds more than is its own while that is dirty. One of them a page, in turns.
  if (!parts_.empty()) Shrink(parts_[next_part_++ % parts_.size()], kMaxSteps);
  for (size_t steps = 0;
       frames_used_ >= capacity_ && steps < kMaxSteps && !common_.pages.empty(); ++steps) {
    Step(&common_);
  }
}

void PageCache::SetShare(CacheShare* share, uint64_t frames) {
  if (frames == share->wanted) return;
  const bool had = share->wanted > 0;
  if (had && frames == 0) {
    for (Page* page : share->clock.pages) Join(&common_, page);
    share->clock = Clock{};
    std::erase(parts_, share);
  } else if (!had) {
    // Backwards: the last page, which takes the place of one that leaves, has been looked at.
    for (size_t i = common_.pages.size(); i-- > 0;) {
      Page* page = common_.pages[i];
      if (page->tree->share != share) continue;
      LeaveClock(&common_, page);
      Join(&share->clock, page);
    }
    parts_.push_back(share);
  }
  share->wanted = frames;
  share->frames = 0;
  uint64_t sum = 0;
  for (const CacheShare* part : parts_) sum += part->wanted;
  const uint64_t most = capacity_ / 2;  // Dirty pages may be as many as the other half.
  for (CacheShare* part : parts_) {
    if (sum <= most) {
      part->frames = part->wanted;
    } else {
      const double fraction = static_cast<double>(part->wanted) / static_cast<double>(sum);
      part->frames = std::max(std::min<uint64_t>(part->wanted, kLeastFrames),
                              static_cast<uint64_t>(fraction * static_cast<double>(most)));
    }
    // Twice round: the first time what was used lately is spared.
    Shrink(part, 2 * part->clock.pages.size() + part->pages);
  }
}

}  // namespace ashlar
