// One request carried out by plain system calls, to its end: short transfers are resumed,
// interruptions repeated.
#pragma once

#include "native/io/block_file.h"

namespace ashlar {

// Returns 0 or a negative errno. Blocks.
int32_t TransferNow(int fd, const IoRequest& request);

}  // namespace ashlar
