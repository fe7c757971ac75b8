// Transfers that end half way (T8): the system moves fewer bytes than asked for, or is interrupted.
// What a request asked for is moved to the last byte, or it fails; nothing in between is seen
// above.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "native/io/transfer.h"

namespace {

size_t g_most = ~size_t{0};  // Bytes that a call moves.
int g_calls = 0;
bool g_interrupted = false;  // Every second call is.
int g_fails_from = 0;        // With EIO, from this call on. 0: never.

ssize_t Ruling() {
  ++g_calls;
  if (g_interrupted && g_calls % 2 == 0) {
    errno = EINTR;
    return -1;
  }
  if (g_fails_from != 0 && g_calls >= g_fails_from) {
    errno = EIO;
    return -1;
  }
  return 0;
}

}  // namespace

// Instead of the C library's, for the whole of this program.
extern "C" ssize_t pread(int fd, void* data, size_t bytes, off_t at) {
  if (Ruling() < 0) return -1;
  return syscall(SYS_pread64, fd, data, std::min(bytes, g_most), at);
}
extern "C" ssize_t pwrite(int fd, const void* data, size_t bytes, off_t at) {
  if (Ruling() < 0) return -1;
  return syscall(SYS_pwrite64, fd, data, std::min(bytes, g_most), at);
}

namespace ashlar {
namespace {

class ShortTransfers : public testing::Test {
 protected:
  ShortTransfers() : file_(std::tmpfile()) {
    g_most = ~size_t{0};
    g_calls = g_fails_from = 0;
    g_interrupted = false;
  }
  ~ShortTransfers() override { std::fclose(file_); }
  int32_t Transfer(IoKind kind, std::vector<uint8_t>* data) {
    IoRequest request;
    request.kind = kind;
    request.offset = 4096;
    request.bytes = static_cast<uint32_t>(data->size());
    request.data = data->data();
    return TransferNow(fileno(file_), request);
  }
  std::FILE* file_;
};

TEST_F(ShortTransfers, AreGoneOnWithToTheLastByte) {
  std::vector<uint8_t> written(16384), found(16384);
  for (size_t i = 0; i < written.size(); ++i) written[i] = static_cast<uint8_t>(i * 7 + i / 256);
  for (const bool interrupted : {false, true}) {
    g_interrupted = interrupted;
    g_most = 1000;
    g_calls = 0;
    ASSERT_EQ(Transfer(IoKind::kWrite, &written), 0);
    EXPECT_GE(g_calls, 17);
    std::fill(found.begin(), found.end(), uint8_t{0});
    ASSERT_EQ(Transfer(IoKind::kRead, &found), 0);
    EXPECT_EQ(found, written);
  }
}

TEST_F(ShortTransfers, ThatEndInAnErrorAreErrors) {
  std::vector<uint8_t> data(16384, 9);
  g_most = 1000;
  g_fails_from = 5;
  EXPECT_EQ(Transfer(IoKind::kWrite, &data), -EIO);
  g_calls = 0;
  EXPECT_EQ(Transfer(IoKind::kRead, &data), -EIO);
}

TEST_F(ShortTransfers, ThatEndWithTheMediumAreErrors) {
  std::vector<uint8_t> data(8192, 9);
  ASSERT_EQ(Transfer(IoKind::kWrite, &data), 0);
  data.resize(16384);
  g_most = 3000;
  EXPECT_EQ(Transfer(IoKind::kRead, &data), -EIO);
}

}  // namespace
}  // namespace ashlar
