// What a pool should hold, in the plainest way: a block is a kind, a version and a value. The rules
// are those of docs/consistency.md; nothing here is shared with the engine but its face.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "native/engine/pool.h"

namespace ashlar::model {

struct Block {
  BlockKind kind = BlockKind::kEmpty;
  uint64_t version = 0;
  uint64_t value = 0;  // Of data: what each of its bytes is made of.
  friend bool operator==(const Block&, const Block&) = default;
};

// What a volume held at one instant.
struct Snapshot {
  std::string name;
  uint32_t handle = 0;
  std::vector<Block> blocks;
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
  std::vector<Snapshot> snapshots;  // Oldest first.

  uint64_t Mapped() const;
  // Different data blocks of it and its snapshots: what they take on the medium.
  uint64_t Different() const;
  bool KeepsHoles(uint64_t version) const { return version > hole_floor; }
  void Write(uint64_t lba, uint64_t count, uint64_t version, uint64_t value);  // W2
  void Unmap(uint64_t lba, uint64_t count, uint64_t version);                  // W6, B7
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
