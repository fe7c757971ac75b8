#include "native/io/transfer.h"

#include <unistd.h>

#include <cerrno>

namespace ashlar {

int32_t TransferNow(int fd, const IoRequest& request) {
  if (request.kind == IoKind::kFlush) {
    int result;
    // EINTR says nothing about the data; only an answer counts (S9).
    do result = fdatasync(fd);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
  }
  uint32_t moved = 0;
  while (moved < request.bytes) {
    const off_t at = static_cast<off_t>(request.offset + moved);
    const size_t left = request.bytes - moved;
    const ssize_t result = request.kind == IoKind::kRead
                               ? pread(fd, request.data + moved, left, at)
                               : pwrite(fd, request.data + moved, left, at);
    if (result > 0) {
      moved += static_cast<uint32_t>(result);
      continue;
    }
    if (result < 0 && errno == EINTR) continue;
    // The end of the medium inside a request: it shrank under us, or the caller is wrong. Either
    // way no data.
    return result < 0 ? -errno : -EIO;
  }
  return 0;
}

}  // namespace ashlar
