// CRC32C (Castagnoli, as iSCSI uses it: RFC 7143 §13.1), with the processor's instruction where
// there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ashlar {

// `seed` is the result over the bytes before, so that Crc32c(b, Crc32c(a)) is the checksum of a
// followed by b.
uint32_t Crc32c(const void* data, size_t bytes, uint32_t seed = 0);

// The table-driven form, whatever the processor: the others' oracle in tests.
uint32_t Crc32cPortable(const void* data, size_t bytes, uint32_t seed = 0);

struct Crc32cForm {
  const char* name;
  uint32_t (*run)(const uint8_t* data, size_t bytes, uint32_t state);  // `state` is ~seed.
};
// What this processor can do, the best first: Crc32c is that one.
std::span<const Crc32cForm> Crc32cForms();

}  // namespace ashlar
