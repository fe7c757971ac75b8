// See walk.h. Blocks that are looked at may leave their trees meanwhile, but they do not get
// another owner: no checkpoint ends while a task is under way (HoldCheckpoint).
#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdlib>

#include "native/engine/crc32c.h"
#include "native/engine/pool_impl.h"
#include "native/engine/wall_clock.h"

namespace ashlar {
namespace {

constexpr uint32_t kTasksInFlight = 16;
constexpr size_t kMaxReported = 1000;
constexpr int kLeavesAStep = 64;
// The pool's own trees come first, then those of each record by its tree id; of each tree id four.
constexpr uint64_t kTreesPerId = 4;

uint64_t SteadyMs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}
bool TestBit(const uint64_t* bits, uint32_t i) { return (bits[i >> 6] >> (i & 63)) & 1; }
void SetBit(uint64_t* bits, uint32_t i) { bits[i >> 6] |= 1ull << (i & 63); }

std::string ShownName(const VolumeState* owner) {
  if (owner == nullptr) return {};
  const bool of_head = owner->kind == RecordKind::kSnapshot && owner->head != nullptr;
  return of_head ? owner->head->name + '@' + owner->name : owner->name;
}

}  // namespace

bool PoolImpl::Running(const Walk& walk) {
  return walk.record.state == static_cast<uint32_t>(WalkState::kRunning);
}

const Walk* PoolImpl::ActiveWalk() const {
  for (const Walk* walk : {&resilver_, &scrub_, &rebalance_}) {
    if (Running(*walk)) return walk;
  }
  return nullptr;
}

// The first tree at or after `key` in the order of the walk, and what of it others show already.
bool PoolImpl::WalkTree(uint64_t* key, Tree** tree, VolumeState** owner, uint64_t* shared) {
  *owner = nullptr;
  *shared = 0;
  Tree* const own[kTreesPerId] = {&catalog_, &space_, &pool_blobs_.tree, nullptr};
  for (; *key < kTreesPerId; ++*key) {
    if (own[*key] == nullptr) continue;
    *tree = own[*key];
    return true;
  }
  while (true) {
    // The smallest id not below.
    const uint64_t id = *key / kTreesPerId;
    VolumeState* next = nullptr;
    uint64_t next_id = ~uint64_t{0};
    for (const auto& v : volumes_) {
      if (v == nullptr || v->creating) continue;
      const uint64_t its = v->tree;
      if (its >= id && its < next_id) {
        next = v.get();
        next_id = its;
      }
    }
    if (next == nullptr) return false;
    if (next->kind == RecordKind::kSnapshot && next->supers == 0) {
      // A checkpoint has yet to write it. Not passed over: what the head drops meanwhile is in no
      // other tree.
      *tree = nullptr;
      return true;
    }
    uint64_t part = next_id == id ? *key % kTreesPerId : 0;
    for (; part < kTreesPerId; ++part) {
      Tree* found = WalkPart(next, static_cast<uint32_t>(part), shared);
      if (found == nullptr) continue;
      *key = next_id * kTreesPerId + part;
      *tree = found;
      *owner = next;
      return true;
    }
    *key = (next_id + 1) * kTreesPerId;
  }
}

// The trees of a record. What is not born after `shared` is shown by an earlier snapshot, or by the
// snapshot that a clone was made from.
Tree* PoolImpl::WalkPart(VolumeState* v, uint32_t part, uint64_t* shared) {
  *shared = 0;
  if (part == 0 && v->kind == RecordKind::kVolume) {
    *shared = std::max(v->prev_birth, v->origin_birth);
    return &v->map;
  }
  if (part == 0 && v->kind == RecordKind::kSnapshot) {
    // One that goes is not looked at any more: its heir is (GoBack).
    if (v->state == RecordState::kCondemned) return nullptr;
    if (Mutated(Mutant::kSnapshotsUnwalked)) return nullptr;
    *shared = v->pred_birth;
    return &v->map;
  }
  if (part == 1 && v->kind == RecordKind::kVolume) return &v->blobs.tree;
  if (part == 2 && v->dead != nullptr) return &v->dead->tree;
  return nullptr;
}

// A snapshot leaves its line. What it showed for its heir, the next one in the line, is the heir's
// to show from now on: where the walk has passed the heir already and not yet the snapshot, it goes
// back. Of snapshots that are deleted oldest first the heir's turn is later in any case.
void PoolImpl::GoBack(const VolumeState* condemned, const VolumeState* heir) {
  HandDamageOn(condemned->tree, heir, 0, ~uint64_t{0});
  if (Mutated(Mutant::kWalkNeverGoesBack)) return;
  for (Walk* walk : {&resilver_, &scrub_, &rebalance_}) {
    WalkRecord& r = walk->record;
    if (!Running(*walk) && r.state != static_cast<uint32_t>(WalkState::kPaused)) continue;
    const uint64_t to = heir->tree * kTreesPerId;
    if (r.tree > condemned->tree * kTreesPerId || r.tree < to) continue;
    // What is under way is finished, but no restart begins with it.
    r.tree = walk->begun_tree = to;
    r.leaf = walk->begun_leaf = 0;
    walk->seen_tree = ~uint64_t{0};
  }
}

// --- The leaves ---

// Looks at what there is at the cursor, and moves it on. False: a page is still being loaded.
bool PoolImpl::VisitLeaf(Walk* walk, Tree* tree, VolumeState* owner, uint64_t key,
                         uint64_t shared) {
  WalkRecord& r = walk->record;
  const uint64_t leaf = r.leaf;
  if (walk->seen_tree != key) {
    std::fill(std::begin(walk->seen), std::end(walk->seen), ~uint64_t{0});
    walk->seen_tree = key;
  }
  const uint64_t bound = std::max(r.since, shared);
  auto skip = [&](uint32_t level) {
    r.leaf = (leaf / LeafSpan(level) + 1) * LeafSpan(level);
    return true;
  };
  Page* parent = nullptr;
  for (uint32_t level = tree->root.height + 1; level-- > 0;) {
    const uint64_t index = leaf >> (kFanOutBits * level);
    Page* page = cache_.Find(tree, level, index);
    PagePtr ptr;
    if (page == nullptr || !page->loading) {
      ptr = page != nullptr     ? *LiveSlot(page)
            : parent == nullptr ? tree->root.ptr
                                : parent->inner()->slots[index & (kFanOut - 1)];
    }
    if (page == nullptr) {
      if (ptr.null()) return skip(level);
      if (ptr.born <= bound) {
        if (ptr.born > shared) r.done_blocks += ptr.aux;
        return skip(level);
      }
      Page* unused = nullptr;
      static_cast<void>(GetPage(tree, level, index, nullptr, &unused));
      page = cache_.Find(tree, level, index);
      if (page == nullptr || page->loading) return false;
    }
    if (page->loading) return false;
    if (page->bad) {
      // All of its copies: what is below cannot be looked at, and cannot be read by anybody.
      ++r.damaged_blocks;
      if (tree == &space_) LoseSpace(leaf);
      static_cast<void>(ReportDamage(
          walk, owner,
          {{}, tree->role == Role::kMap ? leaf << kLeafBits : 0, page->load_ptr.addr[0]}));
      cache_.Remove(page);
      return skip(level);
    }
    const bool clean = !page->dirty && !page->assigned && !page->in_checkpoint;
    if (clean && !ptr.null()) {
      if (ptr.born <= bound) {
        if (ptr.born > shared) r.done_blocks += ptr.aux;
        return skip(level);
      }
      if (walk->seen[level] != index && walk->kind != WalkKind::kRebalance) {
        AddPageTask(walk, ptr,
                    {sb_.store_id, tree->role, static_cast<uint8_t>(level), tree->id, index}, owner,
                    tree->role == Role::kMap ? leaf << kLeafBits : 0);
      }
    }
    walk->seen[level] = index;
    parent = page;
  }
  r.leaf = leaf + 1;
  if (tree->role == Role::kMap) {
    VisitEntries(walk, parent, owner, bound);
  } else if (tree->role == Role::kBlob) {
    const auto* blob = reinterpret_cast<const BlobLeaf*>(parent->data);
    for (uint32_t i = 0; i * kBlockBytes < blob->bytes; ++i) {
      WalkTask* task = NewTask(walk, blob->phys[i], owner);
      task->blocks = 1;
      task->crc[0] = blob->crc[i];
      task->lba[0] = 0;
      task->is_blob = true;
      QueueTask(walk, task);
    }
  }
  return true;
}

void PoolImpl::VisitEntries(Walk* walk, Page* page, VolumeState* owner, uint64_t bound) {
  const MapLeaf* leaf = page->map_leaf();
  const uint64_t base = page->index << kLeafBits;
  const bool moves = walk->kind == WalkKind::kRebalance;
  for (uint32_t e = 0; e < kLeafEntries;) {
    const bool data = leaf->kind[e] == kEntryData;
    // Within a hundredth of its size: a vdev is not looked at again for that.
    // Nor what came since the leaf was first looked at: it may have been moved to where there was
    // room, and be moved so for ever.
    const bool stays =
        data && moves &&
        (leaf->born[e] > walk->first_generation || !IsFull(VdevOf(leaf->phys[e]), 100));
    if (!data || stays || leaf->born[e] <= bound) {
      walk->record.done_blocks += data && (moves || walk->record.since > 0);
      ++e;
      continue;
    }
    WalkTask* task = NewTask(walk, leaf->phys[e], owner);
    task->shared = bound;
    uint32_t n = 0;
    while (e + n < kLeafEntries && leaf->kind[e + n] == kEntryData && leaf->born[e + n] > bound &&
           leaf->phys[e + n] == leaf->phys[e] + n) {
      task->lba[n] = base + e + n;
      task->crc[n] = leaf->crc[e + n];
      task->tags[n] = {leaf->version[e + n], leaf->crc[e + n], BlockKind::kData, 0, {0, 0}};
      ++n;
    }
    task->blocks = n;
    e += n;
    QueueTask(walk, task);
  }
}

// --- Tasks ---

WalkTask* PoolImpl::NewTask(Walk* walk, uint64_t phys, VolumeState* owner) {
  if (free_tasks_.empty()) free_tasks_.push_back(&all_tasks_.emplace_back());
  WalkTask* task = free_tasks_.back();
  free_tasks_.pop_back();
  task->pool = this;
  task->walk = walk;
  task->phys = phys;
  task->blocks = task->first = 0;
  task->is_page = task->is_blob = false;
  task->tree = owner == nullptr ? 0 : owner->tree;
  task->bad[0] = task->bad[1] = task->lost[0] = task->lost[1] = 0;
  task->sides.clear();
  task->targets.clear();
  task->side = 0;
  task->left = 0;
  return task;
}

// Scrub reads every side, resilver one; and it writes to those that are behind.
void PoolImpl::QueueTask(Walk* walk, WalkTask* task) {
  walk->record.done_blocks += task->blocks;
  if (VdevOf(task->phys) >= devices_.vdevs().size()) {
    free_tasks_.push_back(task);
    return;
  }
  const auto& sides = devices_.vdevs()[VdevOf(task->phys)].sides;
  for (uint16_t index : sides) {
    const DeviceSet::Device& device = *devices_.device(index);
    if (device.Readable() && (walk->kind == WalkKind::kScrub || task->sides.empty())) {
      task->sides.push_back(index);
    }
    if (walk->kind == WalkKind::kResilver && device.Writable() && !device.Readable()) {
      task->targets.emplace_back(index, task->phys);
    }
  }
  if (walk->kind == WalkKind::kResilver && task->targets.empty()) {
    free_tasks_.push_back(task);
    return;
  }
  task->holds = true;
  HoldCheckpoint();
  walk->queue.push_back(task);
}

// All copies of a page, on all sides, are one task; each is tested by itself.
void PoolImpl::AddPageTask(Walk* walk, const PagePtr& ptr, const PageIdentity& identity,
                           VolumeState* owner, uint64_t lba) {
  for (uint64_t phys : ptr.addr) {
    WalkTask* task = NewTask(walk, phys, owner);
    task->blocks = 1;
    task->is_page = true;
    task->ptr = ptr;
    task->identity = identity;
    task->lba[0] = lba;
    QueueTask(walk, task);
  }
}

void PoolImpl::StartTask(Walk* walk, WalkTask* task) {
  ++walk->in_flight;
  task->buffer = TakeBuffer();
  const size_t writes = walk->kind == WalkKind::kRebalance ? 1 : task->targets.size();
  walk_tokens_ -= static_cast<int64_t>(task->blocks) * kBlockBytes *
                  static_cast<int64_t>(task->sides.size() + writes);
  ReadTask(task);
}

void PoolImpl::ReadTask(WalkTask* task) {
  while (task->side < task->sides.size()) {
    const uint16_t side = task->sides[task->side];
    const DeviceSet::Device* device = devices_.device(side);
    if (device != nullptr && device->Readable()) {
      SubmitToDevice(side, IoKind::kRead, BlockOf(task->phys), task->blocks, task->buffer, task,
                     &PoolImpl::TaskReadDone);
      return;
    }
    ++task->side;
  }
  RepairTask(task);
}

bool PoolImpl::TaskMatches(const WalkTask* task, uint32_t i) const {
  const uint8_t* block = task->buffer + i * kBlockBytes;
  if (!task->is_page) return Crc32c(block, kBlockBytes) == task->crc[i];
  return PageMatches(block, task->identity, task->ptr) &&
         PageIsSound(block, task->identity.role, task->identity.level, range_);
}

void PoolImpl::TaskReadDone(EngineIo* io) {
  WalkTask* task = static_cast<WalkTask*>(io->owner);
  const int32_t result = io->request.result;
  FreeIo(io);
  if (result != 0) ++io_errors_;
  for (uint32_t i = 0; i < task->blocks; ++i) {
    if (result != 0 || !TaskMatches(task, i)) SetBit(task->bad, i);
  }
  ++task->side;
  ReadTask(task);
}

// What any side did not have is looked for on all, and healed.
void PoolImpl::RepairTask(WalkTask* task) {
  task->left = 1;
  for (uint32_t i = 0; i < task->blocks; ++i) {
    if (!TestBit(task->bad, i)) continue;
    ++task->left;
    if (task->is_page) {
      RepairPage(task->ptr, task->identity, task, &PoolImpl::TaskRepaired);
    } else {
      RepairData(task->phys + i, task->crc[i], task, &PoolImpl::TaskRepaired, i);
    }
  }
  TaskStep(task);
}

void PoolImpl::TaskRepaired(Repair* repair) {
  WalkTask* task = static_cast<WalkTask*>(repair->owner);
  const uint32_t i = repair->index;
  Walk* walk = task->walk;
  if (repair->good) {
    std::memcpy(task->buffer + i * kBlockBytes, repair->buffer, kBlockBytes);
    if (walk->kind == WalkKind::kScrub)
      ++walk->record.healed_blocks;  // Moved ones are counted there.
  } else {
    SetBit(task->lost, i);
    const bool fresh =
        ReportDamage(walk, FindTree(task->tree),
                     {{}, task->lba[i], task->phys + i, 0, !task->is_page && !task->is_blob});
    // A rebalance may look at a leaf more than once.
    walk->record.damaged_blocks += fresh || walk->kind != WalkKind::kRebalance;
  }
  TaskStep(task);
}

void PoolImpl::TaskStep(WalkTask* task) {
  if (--task->left > 0) return;
  if (task->walk->kind == WalkKind::kRebalance) return MoveTask(task);
  if (task->targets.empty()) return EndTask(task);
  // Blocks without a good copy are not written: what is there now is no worse.
  task->left = 1;
  Walk* walk = task->walk;
  walk->wrote = true;
  for (const auto& [index, phys] : task->targets) {
    const DeviceSet::Device* device = devices_.device(index);
    if (device == nullptr || !device->Writable()) continue;
    for (uint32_t i = 0; i < task->blocks;) {
      if (TestBit(task->lost, i)) {
        ++i;
        continue;
      }
      uint32_t n = 1;
      while (i + n < task->blocks && !TestBit(task->lost, i + n)) ++n;
      ++task->left;
      walk->record.healed_blocks += n;
      SubmitToDevice(index, IoKind::kWrite, BlockOf(phys) + i, n, task->buffer + i * kBlockBytes,
                     task, &PoolImpl::TaskWriteDone);
      i += n;
    }
  }
  TaskWritten(task);
}

void PoolImpl::TaskWriteDone(EngineIo* io) {
  WalkTask* task = static_cast<WalkTask*>(io->owner);
  if (io->request.result != 0 && !Faulted()) {
    static_cast<void>(devices_.TakeOut(io->device, DeviceState::kFaulted,
                                       "it failed a write while it was resilvered"));
  }
  FreeIo(io);
  TaskWritten(task);
}

void PoolImpl::TaskWritten(WalkTask* task) {
  if (--task->left == 0) EndTask(task);
}

void PoolImpl::EndTask(WalkTask* task) {
  ReleaseBuffer(task->buffer);
  task->buffer = nullptr;
  --task->walk->in_flight;
  free_tasks_.push_back(task);
  if (task->holds) ReleaseCheckpoint();
}

// --- Moving ---

// Whether the vdev has more in use than its share of the pool, by a `tolerance`th of its size.
bool PoolImpl::IsFull(uint32_t vdev, uint64_t tolerance) const {
  uint64_t used = 0, blocks = 0, all_used = 0, all_blocks = 0;
  for (uint32_t r = 0; r < active_regions_; ++r) {
    all_used += regions_[r].used;
    all_blocks += regions_[r].blocks;
    if (VdevOf(regions_[r].start) != vdev) continue;
    used += regions_[r].used;
    blocks += regions_[r].blocks;
  }
  const double share = static_cast<double>(all_used) / static_cast<double>(all_blocks);
  return blocks > 0 && static_cast<double>(used) > share * static_cast<double>(blocks) +
                                                       static_cast<double>(blocks / tolerance);
}

// Whether a snapshot has the volume's blocks, or is about to, that had none when the task was made.
// Moved, they would be on the medium twice, and differ from the snapshot's.
bool PoolImpl::SharedSince(const WalkTask* task, const VolumeState* v) const {
  return std::max(v->prev_birth, v->origin_birth) > task->shared ||
         std::any_of(v->snapshots.begin(), v->snapshots.end(),
                     [](const auto& named) { return named.second->creating; });
}

// What was read is good: written anew, as a copy of what is there. It is an operation like a
// host's from here on, and may itself wait for a checkpoint; a snapshot that comes later has it.
void PoolImpl::MoveTask(WalkTask* task) {
  task->holds = false;
  ReleaseCheckpoint();
  const VolumeState* v = FindTree(task->tree);
  if ((task->lost[0] | task->lost[1]) != 0 || v == nullptr || v->kind != RecordKind::kVolume ||
      SharedSince(task, v)) {
    return EndTask(task);
  }
  Op& op = task->op;
  op = Op{};
  op.kind = OpKind::kWrite;
  op.flags = kOpMove;
  op.volume = v->handle;
  op.lba = task->lba[0];
  op.blocks = task->blocks;
  op.data = task->buffer;
  op.tags = task->tags;
  op.guard = Guard::kSame;
  op.context = task;
  op.done = [](Op* ended) {
    auto* moved = static_cast<WalkTask*>(ended->context);
    for (uint32_t i = 0; ended->status == Status::kOk && i < moved->blocks; ++i) {
      moved->walk->record.healed_blocks += moved->tags[i].result == kTagInstalled;
    }
    moved->pool->EndTask(moved);
  };
  Submit(&op);
}

// The next run comes from a vdev that is not over its share, where one is held.
void PoolImpl::PreferEmptier() {
  for (size_t i = 0; i < data_.groups.size(); ++i) {
    const Group* group = data_.groups[i];
    if (group->free_blocks() == 0 || IsFull(VdevOf(group->start), ~uint64_t{0})) continue;
    const auto at = static_cast<std::ptrdiff_t>(i);
    std::rotate(data_.groups.begin(), data_.groups.begin() + at, data_.groups.end());
    std::rotate(data_.bits.begin(), data_.bits.begin() + at, data_.bits.end());
    return;
  }
}

// False: it is known already.
bool PoolImpl::ReportDamage(const Walk* walk, const VolumeState* owner, DamagedBlock block) {
  block.volume = ShownName(owner);
  block.tree = owner == nullptr ? 0 : owner->tree;
  block.scrubbed = walk->kind == WalkKind::kScrub;
  for (DamagedBlock& known : damage_) {
    if (known.phys != block.phys || known.lba != block.lba || known.tree != block.tree) continue;
    known.scrubbed |= block.scrubbed;
    return false;
  }
  if (damage_.size() < kMaxReported) damage_.push_back(std::move(block));
  return true;
}

std::vector<DamagedBlock> PoolImpl::Damage() const {
  std::vector<DamagedBlock> list = damage_;
  for (DamagedBlock& block : list) {
    // Under its present name; one that is gone is shown under its last.
    const VolumeState* owner = FindTree(block.tree);
    if (owner != nullptr && !owner->name.empty()) block.volume = ShownName(owner);
  }
  return list;
}

// These places are good again, or nobody's.
void PoolImpl::ForgetDamage(uint64_t phys, uint64_t blocks) {
  std::erase_if(damage_, [this, phys, blocks](const DamagedBlock& known) {
    if (known.phys < phys || known.phys - phys >= blocks) return false;
    uint64_t& count = scrub_.record.damaged_blocks;
    if (known.scrubbed && count > 0) --count;
    return true;
  });
}

// What showed these places is gone, or shows others now: `to` has them.
void PoolImpl::HandDamageOn(uint64_t from, const VolumeState* to, uint64_t phys, uint64_t blocks) {
  for (DamagedBlock& known : damage_) {
    if (known.tree == from && known.phys >= phys && known.phys - phys < blocks) {
      known.tree = to->tree;
    }
  }
}

// --- The pace ---

// A bucket of bytes that fills with time, and holds a tenth of a second's worth.
void PoolImpl::FillTokens() {
  if (walk_bytes_per_second_ == 0) {
    walk_tokens_ = INT64_MAX / 2;
    return;
  }
  const uint64_t now = SteadyMs();
  const uint64_t passed = std::min<uint64_t>(now - walk_filled_ms_, 1000);
  walk_filled_ms_ = now;
  const auto rate = static_cast<int64_t>(walk_bytes_per_second_);
  walk_tokens_ = std::min<int64_t>(walk_tokens_ + rate * static_cast<int64_t>(passed) / 1000,
                                   std::max<int64_t>(rate / 10, 1 << 20));
}

bool PoolImpl::WalkWantsPoll() const {
  if (closing_ || ios_in_flight_ > 0) return false;
  const Walk* walk = ActiveWalk();
  return walk != nullptr && (walk_tokens_ > 0 || finish_waiting_);
}

bool PoolImpl::WantsTick() const {
  return state_ == PoolState::kOpen && !closing_ &&
         (Running(resilver_) || Running(scrub_) || Running(rebalance_));
}

void PoolImpl::StepWalk() {
  Walk* walk = const_cast<Walk*>(ActiveWalk());
  if (walk == nullptr || Faulted() || closing_) {
    // What is queued holds the checkpoint: let it go.
    for (Walk* w : {&resilver_, &scrub_, &rebalance_}) DropTasks(w);
    return;
  }
  // Those that have to wait hold no checkpoint up.
  for (Walk* w : {&resilver_, &scrub_, &rebalance_}) {
    if (w != walk && !w->queue.empty()) DropTasks(w);
  }
  // Moves are operations, and may themselves wait for the checkpoint that what is queued behind
  // them holds up: the rest of the leaf is looked at again after it.
  if (finish_waiting_ && walk->kind == WalkKind::kRebalance && !walk->queue.empty() &&
      walk->in_flight >= kTasksInFlight) {
    DropTasks(walk);
  }
  FillTokens();
  for (int budget = kLeavesAStep; budget > 0; --budget) {
    while (!walk->queue.empty() && walk->in_flight < kTasksInFlight &&
           (walk_tokens_ > 0 || finish_waiting_)) {
      WalkTask* task = walk->queue.back();
      walk->queue.pop_back();
      StartTask(walk, task);
    }
    if (!walk->queue.empty() || walk->in_flight > 0 || finish_waiting_ || walk_tokens_ <= 0) return;
    if (checkpoints_ < walk->wait_checkpoints || apply_sequence_ < walk->wait_sequence) {
      if (checkpoints_ < walk->wait_checkpoints && stage_ == CheckpointStage::kIdle) {
        want_checkpoint_ = true;
      }
      return;
    }
    if (!AdvanceWalk(walk)) return;
  }
}

// One leaf on. False: not now, or the walk has ended.
bool PoolImpl::AdvanceWalk(Walk* walk) {
  WalkRecord& r = walk->record;
  Tree* tree = nullptr;
  VolumeState* owner = nullptr;
  uint64_t shared = 0;
  const uint64_t before = r.tree;
  if (!WalkTree(&r.tree, &tree, &owner, &shared)) {
    EndWalk(walk);
    return false;
  }
  if (r.tree != before) r.leaf = 0;
  if (tree == nullptr) {
    want_checkpoint_ = true;
    return false;
  }
  const bool gone = tree->root_page == nullptr && tree->root.ptr.null();
  if (gone || r.leaf >= LeafSpan(tree->root.height)) {
    ++r.tree;
    r.leaf = 0;
    return true;
  }
  if (walk->kind == WalkKind::kRebalance &&
      (tree->role != Role::kMap || owner->kind != RecordKind::kVolume ||
       owner->state != RecordState::kLive)) {
    ++r.tree;
    r.leaf = 0;
    return true;
  }
  walk->begun_tree = r.tree;
  walk->begun_leaf = r.leaf;
  walk->begun_done = r.done_blocks;
  if (walk->first_tree != r.tree || walk->first_leaf != r.leaf) {
    walk->first_tree = r.tree;
    walk->first_leaf = r.leaf;
    walk->first_generation = generation_;
  }
  return VisitLeaf(walk, tree, owner, r.tree, shared);
}

// As it is kept: a leaf whose blocks are still being looked at is begun again.
WalkRecord PoolImpl::KeptRecord(const Walk& walk) const {
  WalkRecord record = walk.record;
  if (!walk.queue.empty() || walk.in_flight > 0) {
    record.tree = walk.begun_tree;
    record.leaf = walk.begun_leaf;
    record.done_blocks = walk.begun_done;
  }
  return record;
}

void PoolImpl::DropTasks(Walk* walk) {
  walk->record = KeptRecord(*walk);
  while (!walk->queue.empty()) {
    free_tasks_.push_back(walk->queue.back());
    walk->queue.pop_back();
    ReleaseCheckpoint();
  }
}

// --- Begin and end ---

void PoolImpl::BeginWalk(Walk* walk, uint64_t since) {
  DropTasks(walk);
  walk->record = WalkRecord{};
  // What is still under way is of the walk before: a restart is not to go on from there.
  walk->begun_tree = walk->begun_leaf = walk->begun_done = 0;
  walk->first_tree = ~uint64_t{0};
  walk->record.state = static_cast<uint32_t>(WalkState::kRunning);
  walk->record.since = since;
  walk->record.started_s = UnixSeconds();
  walk->record.total_blocks = bits_used_;
  walk->seen_tree = ~uint64_t{0};
  walk->run_started_ms = SteadyMs();
  walk->run_done = 0;
  walk->wait_checkpoints = walk->wait_sequence = 0;
  walk_filled_ms_ = SteadyMs();
}

void PoolImpl::EndWalk(Walk* walk) {
  WalkRecord& r = walk->record;
  if (r.cursor_since != 0) {
    // Interrupted on the way: what was born since then, everywhere.
    r.since = r.cursor_since;
    r.cursor_since = 0;
    r.tree = r.leaf = 0;
    return;
  }
  if (walk->kind == WalkKind::kResilver && !FinishResilver()) return;
  r.state = static_cast<uint32_t>(WalkState::kDone);
  r.ended_s = UnixSeconds();
  r.done_blocks = r.total_blocks = std::max(r.done_blocks, uint64_t{1});
  r.tree = r.leaf = 0;
  want_checkpoint_ = true;  // Keeps what came of it.
}

// After opening: what was under way goes on.
void PoolImpl::ResumeWalks() {
  scrub_.kind = WalkKind::kScrub;
  resilver_.kind = WalkKind::kResilver;
  rebalance_.kind = WalkKind::kRebalance;
  scrub_.record = sb_.scrub;
  resilver_.record = sb_.resilver;
  rebalance_.record = sb_.rebalance;
  for (Walk* walk : {&resilver_, &scrub_, &rebalance_}) {
    walk->run_started_ms = walk_filled_ms_ = SteadyMs();
    walk->run_done = walk->record.done_blocks;
    if (walk->record.state > static_cast<uint32_t>(WalkState::kCancelled)) walk->record.state = 0;
  }
  walk_bytes_per_second_ = options_.walk_bytes_per_second;
}

WalkStatus PoolImpl::WalkInfo(WalkKind kind) const {
  const Walk& walk = kind == WalkKind::kScrub      ? scrub_
                     : kind == WalkKind::kResilver ? resilver_
                                                   : rebalance_;
  const WalkRecord& r = walk.record;
  WalkStatus s;
  s.state = static_cast<WalkState>(r.state);
  s.started_s = r.started_s;
  s.ended_s = r.ended_s;
  s.total_blocks = std::max(r.total_blocks, r.done_blocks);
  s.done_blocks = r.done_blocks;
  s.healed_blocks = r.healed_blocks;
  s.damaged_blocks = r.damaged_blocks;
  const uint64_t done = r.done_blocks - std::min(r.done_blocks, walk.run_done);
  if (s.state == WalkState::kRunning && done > 0 && s.total_blocks > s.done_blocks) {
    const uint64_t ms = SteadyMs() - walk.run_started_ms;
    s.seconds_left = (s.total_blocks - s.done_blocks) * ms / done / 1000 + 1;
  }
  return s;
}

void PoolImpl::StartScrub(DoneFn done, void* context) { StartWalk(&scrub_, done, context); }

void PoolImpl::StopScrub(bool cancel, DoneFn done, void* context) {
  StopWalk(&scrub_, cancel, done, context);
}

// Begins, or goes on with a paused one.
void PoolImpl::StartWalk(Walk* walk, DoneFn done, void* context) {
  Enter();
  Status status = DeviceCallStatus();
  if (status == Status::kOk) {
    if (walk->record.state == static_cast<uint32_t>(WalkState::kPaused)) {
      walk->record.state = static_cast<uint32_t>(WalkState::kRunning);
      walk->run_started_ms = SteadyMs();
      walk->run_done = walk->record.done_blocks;
    } else if (!Running(*walk)) {
      if (walk->kind == WalkKind::kScrub) damage_.clear();
      BeginWalk(walk, 0);
    }
    want_checkpoint_ = true;
  }
  CompleteControl(done, context, status);
  Leave();
}

void PoolImpl::StopWalk(Walk* walk, bool cancel, DoneFn done, void* context) {
  Enter();
  Status status = DeviceCallStatus();
  WalkRecord& record = walk->record;
  const bool paused = record.state == static_cast<uint32_t>(WalkState::kPaused);
  if (status == Status::kOk && (Running(*walk) || (cancel && paused))) {
    record.state = static_cast<uint32_t>(cancel ? WalkState::kCancelled : WalkState::kPaused);
    if (cancel) record.ended_s = UnixSeconds();
    DropTasks(walk);
    want_checkpoint_ = true;
  }
  CompleteControl(done, context, status);
  Leave();
}

void PoolImpl::SetWalkRate(uint64_t bytes_per_second) {
  walk_bytes_per_second_ = bytes_per_second;
  walk_tokens_ = 0;
  FillTokens();
}

}  // namespace ashlar
