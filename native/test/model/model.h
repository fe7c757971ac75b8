// What a pool should hold, in the plainest way: a block is a kind, a version and a value. The rules
// are those of docs/consistency.md; nothing here is shared with the engine but its face.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/engine/pool.h"

namespace ashlar::model {

struct Block {
  BlockKind kind = BlockKind::kEmpty;
  uint64_t version = 0;
  uint64_t value = 0;      // Of data: what each of its bytes is made of. No other has it here.
  bool inherited = false;  // From a clone's origin: it compares as version 0 (S14).
  bool Same(const Block& other) const {
    return (kind == BlockKind::kData) == (other.kind == BlockKind::kData) && value == other.value;
  }
};

struct Volume;

// What a volume held at one instant.
struct Snapshot {
  std::string name;
  uint32_t handle = 0;
  std::vector<Block> blocks;
  Volume* volume = nullptr;  // It changes with a promotion.
};

struct Volume {
  std::string name;
  Uuid id{};
  uint32_t handle = 0;
  uint64_t size = 0;
  uint64_t hole_floor = 0;
  uint64_t contig = 0;
  uint64_t newest = 0;  // Version of the newest change given out.
  std::vector<Block> blocks;
  std::map<std::string, std::vector<uint8_t>> blobs;
  std::vector<std::unique_ptr<Snapshot>> snapshots;  // Oldest first.
  Snapshot* origin = nullptr;                        // Of a clone.
  bool cloned = false;                               // It was made as one: S14 holds for good.
  uint64_t epoch = 1;                                // Of the versions that it gives out.

  uint64_t Mapped() const;
  // Data that the snapshot `at` has and the one before it has not. At their number: the volume.
  uint64_t Written(size_t at) const;
  const std::vector<Block>& Held(size_t at) const;
  const Snapshot* Before(size_t at) const;
  // Data that its origin has too.
  uint64_t Inherited() const;
  bool KeepsHoles(uint64_t version) const { return version > hole_floor; }
  void Write(uint64_t lba, uint64_t count, uint64_t version, uint64_t value);  // W2
  void Unmap(uint64_t lba, uint64_t count, uint64_t version);                  // W6, B7
  // P4. What differs gets the version.
  void Rollback(const Snapshot& to, uint64_t version);
  // It gets its origin and what came before that; the volume they were of becomes a clone.
  void Promote();
  // B4, H3. Whether the block was replaced.
  bool Install(uint64_t lba, const BlockTag& tag, uint64_t value, Guard guard, uint64_t joined);
  // A change was applied that counts for W10.
  void Applied(uint64_t version, bool unmap);
  std::vector<ChangedRun> ChangedSince(uint64_t since) const;
};

// The bytes of block `lba` holding `value`, and their checksum.
void Fill(uint64_t lba, uint64_t value, uint8_t* block);
bool Holds(uint64_t lba, uint64_t value, const uint8_t* block);
uint32_t Checksum(uint64_t lba, uint64_t value);

}  // namespace ashlar::model
