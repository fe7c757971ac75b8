// The second step of opening: what the superblock reaches comes into memory, except for the maps.
#include <algorithm>

#include "native/engine/aligned_blocks.h"
#include "native/engine/pool_impl.h"

namespace ashlar {

Status PoolImpl::LoadState(std::string* why) {
  *why = "a metadata page that the superblock reaches is damaged in both copies";
  catalog_.role = Role::kCatalog;
  catalog_.root = sb_.catalog;
  space_.role = Role::kSpace;
  space_.root = sb_.space;
  pending_.role = Role::kPending;
  pending_.root = sb_.pending;
  pool_blobs_.tree.role = Role::kBlob;
  pool_blobs_.tree.root = sb_.blobs;
  next_tree_ = std::max<uint64_t>(16, sb_.next_tree);
  metadata_blocks_ = sb_.metadata_blocks;
  bits_used_ = sb_.space.ptr.aux;
  uint64_t used = 0;
  for (uint32_t r = 0; r < range_.count; ++r) used += regions_[r].used;
  if (bits_used_ != used || space_.root.height != HeightFor(GroupCount())) return Status::kCorrupt;
  meta_[0].search = GroupCount() / 3;
  meta_[1].search = GroupCount() * 2 / 3;
  opening_ = sb_.log_opening;
  if (!options_.read_only) {
    if (sb_.open_id_count == 16) {
      std::memmove(sb_.open_ids, sb_.open_ids + 1, sizeof sb_.open_ids - sizeof(Uuid));
      --sb_.open_id_count;
    }
    sb_.open_ids[sb_.open_id_count++] = options_.open_id;
  }
  if (Status s = LoadPending(why); s != Status::kOk) return s;
  if (Status s = LoadBlobs(&pool_blobs_, why); s != Status::kOk) return s;
  for (uint64_t slot = 0; slot < LeafSpan(catalog_.root.height);) {
    Page* page = nullptr;
    Got got = WaitPage(&catalog_, slot, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) {
      uint64_t span = std::max<uint64_t>(1, NullSpan(&catalog_, slot));
      slot = (slot / span + 1) * span;
      continue;
    }
    if (Status s = LoadRecord(static_cast<uint32_t>(slot), page, why); s != Status::kOk) return s;
    ++slot;
  }
  // A deleted volume's name may have been taken again: the living one has it.
  by_name_.clear();
  for (const auto& v : volumes_) {
    if (v != nullptr && v->kind == RecordKind::kVolume && !v->delete_logged) {
      by_name_[v->name] = v.get();
    }
  }
  return LinkLines();
}

Status PoolImpl::LoadPending(std::string*) {
  if (pending_.root.ptr.null()) return Status::kOk;
  uint64_t leaves = 0;
  for (; leaves < LeafSpan(pending_.root.height); ++leaves) {
    const uint64_t i = leaves;
    Page* page = nullptr;
    Got got = WaitPage(&pending_, i, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) break;
    const auto* leaf = reinterpret_cast<const PendingLeaf*>(page->data);
    for (uint32_t k = 0; k < leaf->count; ++k) {
      // Never across a group, whatever the page says.
      for (uint64_t phys = leaf->phys[k], left = leaf->blocks[k]; left > 0;) {
        uint64_t n = std::min<uint64_t>(left, kGroupBlocks - BitOf(phys));
        pending_old_.push_back({phys, n});
        pending_blocks_ += n;
        phys += n;
        left -= n;
      }
    }
    for (Page* p = page; p != nullptr; p = p->parent) {
      if (p->level > 0 && (i & (LeafSpan(p->level) - 1)) != 0) break;
      pending_pages_.push_back(LiveSlot(p)->addr[0]);
      pending_pages_.push_back(LiveSlot(p)->addr[1]);
    }
  }
  // The tree is written anew each time: its pages leave the cache.
  for (uint32_t level = 0; level <= pending_.root.height; ++level) {
    for (uint64_t i = 0; i <= leaves >> (kFanOutBits * level); ++i) {
      Page* page = cache_.Find(&pending_, level, i);
      if (page != nullptr) cache_.Remove(page);
    }
  }
  // A block is freed once. The list is in no order of its own; the next cut sorts it anyway.
  std::sort(pending_old_.begin(), pending_old_.end(),
            [](const Run& a, const Run& b) { return a.phys < b.phys; });
  for (size_t i = 1; i < pending_old_.size(); ++i) {
    const Run& before = pending_old_[i - 1];
    if (before.phys + before.blocks > pending_old_[i].phys) return Status::kCorrupt;
  }
  return pending_blocks_ == sb_.pending_blocks ? Status::kOk : Status::kCorrupt;
}

Status PoolImpl::LoadBlobs(BlobStore* store, std::string*) {
  AlignedBlocks buffer(kBlobBlocks);
  for (uint64_t slot = 0; slot < LeafSpan(store->tree.root.height); ++slot) {
    Page* page = nullptr;
    Got got = WaitPage(&store->tree, slot, false, &page);
    if (got == Got::kBad) return Status::kCorrupt;
    if (got == Got::kNull) {
      const uint64_t span = std::max<uint64_t>(1, NullSpan(&store->tree, slot));
      slot = (slot / span + 1) * span - 1;
      continue;
    }
    const BlobLeaf leaf = *reinterpret_cast<const BlobLeaf*>(page->data);
    if (leaf.bytes == 0) continue;
    ++page->pins;
    const std::string key(leaf.key, leaf.key_bytes);
    store->slots[key] = slot;
    bool good = true;
    for (uint32_t i = 0; i * kBlockBytes < leaf.bytes; ++i) {
      uint8_t* at = buffer.data + i * kBlockBytes;
      good &= ReadGoodSync(leaf.phys[i], leaf.crc[i], false, at);
    }
    // A damaged one reads as absent; its key can be written again.
    if (!good) {
      ++checksum_errors_;
      continue;
    }
    store->blobs[key] = Blob{slot, {buffer.data, buffer.data + leaf.bytes}};
  }
  return Status::kOk;
}

}  // namespace ashlar
