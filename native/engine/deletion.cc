// Deletion in the background (S13): a deleted volume's leaves are emptied and its pages dropped,
// some at each Poll. The tree that a checkpoint writes is what is left, so after a crash the work
// goes on from there; the record goes last.
#include "native/engine/pool_impl.h"

namespace ashlar {
namespace {
constexpr int kLeavesAStep = 32;
constexpr size_t kMaxFreedRuns = 1 << 16;
}  // namespace

void PoolImpl::StepDeletion() {
  for (auto& slot : volumes_) {
    VolumeState* v = slot.get();
    if (v == nullptr || v->state != RecordState::kDeleting || v->in_flight > 0) continue;
    if (freed_now_.size() > kMaxFreedRuns || cache_.dirty_pages() > hard_dirty_) {
      want_checkpoint_ = true;
      return;
    }
    if (!DeleteTree(v, &v->map) || !DeleteTree(v, &v->blobs.tree)) return;
    // A checkpoint under way may still write pages of its trees.
    if (stage_ != CheckpointStage::kIdle) return;
    if (v->record != nullptr) {
      --v->record->pins;
      DropPage(v->record);
    }
    by_tree_.erase(v->map.id);
    slot.reset();
    want_checkpoint_ = true;
    return;
  }
}

// True once the tree is gone.
bool PoolImpl::DeleteTree(VolumeState* volume, Tree* tree) {
  int budget = kLeavesAStep;
  uint64_t at = volume->delete_cursor;
  const uint64_t leaves = LeafSpan(tree->root.height);
  while (at < leaves && (tree->root_page != nullptr || !tree->root.ptr.null())) {
    if (const uint64_t span = NullSpan(tree, at)) {
      at = (at / span + 1) * span;
      volume->delete_cursor = at;
      continue;
    }
    if (--budget < 0) return false;
    Page* page = nullptr;
    Got got = GetPage(tree, 0, at, nullptr, &page);
    if (got == Got::kLoading) {
      // Ask for its neighbours too: the medium has a queue.
      for (uint64_t i = at + 1;
           i < at + kLeavesAStep && i < leaves && (i >> kFanOutBits) == (at >> kFanOutBits); ++i) {
        Page* other = nullptr;
        static_cast<void>(GetPage(tree, 0, i, nullptr, &other));
      }
      return false;
    }
    uint64_t next = at + 1;
    if (got == Got::kBad) {
      // What it named can't be known: the offline check counts it as leaked. The rest is freed.
      for (uint32_t level = 0; level <= tree->root.height; ++level) {
        page = cache_.Find(tree, level, at >> (kFanOutBits * level));
        if (page == nullptr || !page->bad) continue;
        next = (at / LeafSpan(level) + 1) * LeafSpan(level);
        break;
      }
    } else if (tree->role == Role::kMap) {
      for (uint32_t e = 0; e < kLeafEntries; ++e) {
        if (page->map_leaf()->kind[e] == kEntryData) FreeRun(page->map_leaf()->phys[e], 1);
      }
      volume->mapped -= page->used;
      data_mapped_ -= page->used;
    } else {
      const auto* leaf = reinterpret_cast<const BlobLeaf*>(page->data);
      for (uint32_t i = 0; i * kBlockBytes < leaf->bytes; ++i) FreeRun(leaf->phys[i], 1);
      if (leaf->bytes > 0) --page->pins;
    }
    // With the last child of a page, the page goes.
    while (page != nullptr && page->children == 0) {
      if (page->level > 0 && !page->bad) {
        bool empty = true;
        for (const PagePtr& slot : page->inner()->slots) empty &= slot.null();
        if (!empty) break;
      }
      Page* parent = page->parent;
      DropPage(page);
      page = parent;
    }
    volume->delete_cursor = at = next;
  }
  volume->delete_cursor = 0;
  return true;
}

}  // namespace ashlar
