#include "native/engine/progress.h"

#include <algorithm>
#include <cassert>

namespace ashlar {
namespace {
constexpr uint32_t kEpochShift = 40;  // E1.
uint16_t AllParts(uint32_t total) { return static_cast<uint16_t>((1u << total) - 1); }
}  // namespace

uint64_t Progress::Begin(uint64_t version, uint32_t parts, uint64_t* previous) {
  *previous = kUntracked;
  if (version <= last_) return kUntracked;
  assert(parts > 0 && parts <= 15);
  LeaveRest(version);
  *previous = chain_;
  chain_ = last_ = version;
  Change change{};
  change.saved.version = version;
  change.saved.previous = *previous;
  change.saved.total = static_cast<uint8_t>(parts);
  open_.push_back(change);
  return base_ + open_.size() - 1;
}

void Progress::LeaveRest(uint64_t version) {
  if (!resting_ || version >> kEpochShift <= resting_epoch_) return;
  resting_ = false;
  chain_ = contig_;
}

void Progress::PartApplied(uint64_t ticket, uint32_t part) {
  if (ticket == kUntracked) return;
  open_[ticket - base_].saved.parts |= static_cast<uint16_t>(1u << part);
}

void Progress::End(uint64_t ticket, bool applied) {
  if (ticket == kUntracked) return;
  Change& change = open_[ticket - base_];
  change.done = true;
  if (applied) {
    change.saved.parts = AllParts(change.saved.total);
  } else {
    resting_ = true;
    resting_epoch_ = std::max(resting_epoch_, change.saved.version >> kEpochShift);
  }
  while (!open_.empty() && open_.front().done) {
    if (!resting_) contig_ = std::max(contig_, open_.front().saved.version);
    open_.pop_front();
    ++base_;
  }
}

void Progress::Set(uint64_t contig) {
  contig_ = contig;
  last_ = std::max(last_, contig);
  if (open_.empty()) chain_ = contig;
  resting_ = false;
}

void Progress::Save(ProgressRecord* record) const {
  *record = ProgressRecord{};
  record->contig = contig_;
  record->flags = (resting_ ? 1 : 0) | static_cast<uint32_t>(resting_epoch_ << 8);
  if (resting_) return;
  for (const Change& change : open_) {
    if (change.saved.parts == 0) continue;
    if (record->count == kSavedChanges) break;
    record->changes[record->count++] = change.saved;
  }
}

void Progress::Load(const ProgressRecord& record) {
  contig_ = last_ = chain_ = record.contig;
  resting_ = (record.flags & 1) != 0;
  resting_epoch_ = record.flags >> 8;
  for (uint32_t i = 0; i < std::min(record.count, kSavedChanges); ++i) {
    const SavedChange& saved = record.changes[i];
    if (saved.total == 0 || saved.total > 15) continue;
    waiting_[saved.previous] = saved;
    last_ = std::max(last_, saved.version);
  }
}

void Progress::Replayed(uint64_t version, uint64_t previous, uint32_t part, uint32_t total) {
  if (previous == kUntracked || total == 0 || total > 15 || part >= total) return;
  last_ = std::max(last_, version);
  LeaveRest(version);
  if (version <= contig_) return;
  SavedChange& saved = waiting_[previous];
  if (saved.version != version) saved = SavedChange{version, previous, 0, 0, {}};
  saved.total = static_cast<uint8_t>(total);
  saved.parts |= static_cast<uint16_t>(1u << part);
  Follow();
}

void Progress::Follow() {
  if (resting_) return;
  for (auto it = waiting_.find(contig_); it != waiting_.end(); it = waiting_.find(contig_)) {
    const SavedChange& saved = it->second;
    if (saved.version <= contig_ || saved.parts != AllParts(saved.total)) return;
    contig_ = saved.version;
    waiting_.erase(it);
  }
}

void Progress::Recovered(uint64_t highest) {
  Follow();
  waiting_.clear();
  // What is above contig stands without what should be below it.
  if (last_ > contig_) {
    resting_ = true;
    resting_epoch_ = std::max(last_, highest) >> kEpochShift;
  }
  chain_ = contig_;
}

}  // namespace ashlar
