// What the driver's parts share: an operation under way, and the memory of one.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "native/test/model/driver.h"

namespace ashlar::model {

struct FreeDeleter {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<uint8_t[], FreeDeleter>;

inline Bytes Blocks(uint64_t blocks) {
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(kBlockBytes, blocks * kBlockBytes));
  if (memory == nullptr) std::abort();
  return Bytes(memory);
}

inline std::string Text(const Block& b) {
  return "kind " + std::to_string(static_cast<int>(b.kind)) + " version " +
         std::to_string(b.version) + " value " + std::to_string(b.value);
}

struct Driver::HostOp {
  Op op;
  Driver* driver = nullptr;
  Volume* volume = nullptr;
  Bytes data;
  std::vector<BlockTag> tags;
  std::vector<uint8_t> installed;  // What the model says of each.
  uint64_t value = 0;
  bool in_turn = true;  // An install: nothing submitted later may be applied before it.
};

template <typename F>
Status Driver::Do(F start) {
  Status status = Status::kBusy;
  start([](void* c, Status s) { *static_cast<Status*>(c) = s; }, &status);
  for (int i = 0; status == Status::kBusy && i < 1000000; ++i) Step();
  return status;
}

}  // namespace ashlar::model
