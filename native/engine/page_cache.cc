#include "native/engine/page_cache.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

namespace ashlar {
namespace {
constexpr size_t kChunkFrames = 64;
constexpr size_t kMinFrames = 256;
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
  MakeRoom();
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
  page->clock_slot = static_cast<uint32_t>(clock_.size());
  clock_.push_back(page);
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
  Page* last = clock_.back();
  clock_[page->clock_slot] = last;
  last->clock_slot = page->clock_slot;
  clock_.pop_back();
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

// The scan is bounded: where everything is held (dirty limits see to it that this is rare), the
// cache overshoots by what operations in flight pin.
void PageCache::MakeRoom() {
  for (int steps = 0; frames_used_ >= capacity_ && steps < 256 && !clock_.empty(); ++steps) {
    if (hand_ >= clock_.size()) hand_ = 0;
    Page* page = clock_[hand_];
    if (page->pins > 0 || page->children > 0 || page->dirty || page->assigned ||
        page->in_checkpoint || page->loading) {
      ++hand_;
    } else if (page->referenced) {
      page->referenced = false;
      ++hand_;
    } else {
      Remove(page);
    }
  }
}

}  // namespace ashlar
