// BlockFile: the medium, as the engine sees it. Asynchronous, single-threaded, no exceptions.
// Implementations: UringFile (io_uring, O_DIRECT), MemoryFile-like synchronous calls where the
// medium is RAM, and SimFile, which tears, loses, reorders and fails from a seed.
#pragma once

#include <cstdint>

namespace ashlar {

enum class IoKind : uint8_t { kRead, kWrite, kFlush };

// One request. Owned by the submitter and untouched by it between Submit and Done. `offset` and
// `bytes` are multiples of the medium's block size (BlockFile::block_bytes), `data` is aligned to
// 4096.
struct IoRequest {
  IoKind kind = IoKind::kRead;
  uint64_t offset = 0;  // In bytes, from the start of the medium.
  uint32_t bytes = 0;
  uint8_t* data = nullptr;
  // 0, or a negative errno. A short transfer is resumed inside the BlockFile and never seen here.
  int32_t result = 0;
  IoRequest* next = nullptr;  // For whoever holds the request at the moment.
  // Called once, from BlockFile::Poll or, where the medium answers at once, from BlockFile::Submit
  // or Kick.
  void (*done)(IoRequest*) = nullptr;
  void* context = nullptr;  // For `done`.
};

class BlockFile {
 public:
  virtual ~BlockFile() = default;

  // Size in bytes, a multiple of block_bytes. Fixed while open, save by Refresh.
  virtual uint64_t size_bytes() const = 0;
  // What the medium writes at once: 512 or 4096.
  virtual uint32_t block_bytes() const = 0;

  // Takes a request. Nothing is promised of order between requests in flight: a flush covers only
  // writes whose `done` came before the flush was submitted (S11: fdatasync).
  virtual void Submit(IoRequest* request) = 0;
  // Sends what Submit gathered; some may be on their way before. Called once a batch.
  virtual void Kick() = 0;
  // Delivers what has completed, without waiting. Returns how many.
  virtual int Poll() = 0;
  // Waits until at least one completes, then delivers. For tools and tests; the daemon polls.
  virtual int Wait() = 0;
};

}  // namespace ashlar
