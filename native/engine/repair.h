// Healing (W9, H3): a block that should be somewhere, and all the places where it may be.
#pragma once

#include <vector>

#include "native/engine/device_set.h"

namespace ashlar {

class PoolImpl;

// Every place is read and tested; what is bad is rewritten from what is good, in place.
struct Repair {
  enum class State : uint8_t { kUntested, kGood, kBad };
  struct Place {
    uint64_t phys = 0;
    uint16_t device = 0;
    State state = State::kUntested;
  };
  std::vector<Place> places;
  size_t at = 0;
  bool good = false;
  bool unread = false;    // A place could not be read: what it holds is not known.
  bool expected = false;  // After a crash: what is bad is nobody's fault.
  bool is_page = false;
  PageIdentity identity{};  // Of a page.
  PagePtr ptr;
  uint32_t crc = 0;                // Of a data block.
  const uint8_t* offer = nullptr;  // From a peer: taken where no place has a good one. Or null.
  bool mended = false;             // Every place has it, as far as is known.
  uint8_t* buffer = nullptr;  // The good block, then one to read into.
  uint32_t left = 0;          // Writes under way.
  // Told once, when it is known whether there is a good copy (`good`, then it is in `buffer`),
  // before the bad ones are written.
  void (PoolImpl::*done)(Repair*) = nullptr;
  void* owner = nullptr;
  uint32_t index = 0;
};

}  // namespace ashlar
