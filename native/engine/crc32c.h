// CRC32C (Castagnoli, as iSCSI uses it: RFC 7143 §13.1), with the processor's instruction where
// there is one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ashlar {

// `seed` is the result over the bytes before, so that Crc32c(b, Crc32c(a)) is the checksum of a
// followed by b.
uint32_t Crc32c(const void* data, size_t bytes, uint32_t seed = 0);

// The table-driven form, whatever the processor: the other one's oracle in tests.
uint32_t Crc32cPortable(const void* data, size_t bytes, uint32_t seed = 0);

}  // namespace ashlar
