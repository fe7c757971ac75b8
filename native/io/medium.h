// Opening and making media: the rules of S11. A medium is a regular file or a raw block device;
// whoever has it open has it alone, and nothing that belongs to somebody else is formatted without
// `force`.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "native/io/block_file.h"

namespace ashlar {

enum class MediumError : uint8_t {
  kNone,
  kNotFound,
  kExists,
  kInUse,             // By another process, a mount, or this process.
  kForeignSignature,  // It carries something that is not ours to overwrite.
  kNoSpace,
  kTooSmall,
  kInvalid,
  kUnsupported,
  kPermission,
  kIo,
};

// What went wrong, in words that name the path and, where there is one, the way out.
struct [[nodiscard]] MediumFailure {
  MediumError error = MediumError::kNone;
  std::string text;
  bool ok() const { return error == MediumError::kNone; }
};

// A BlockFile on a real medium, with what an event loop needs beside it.
class MediumFile : public BlockFile {
 public:
  // Readable whenever Poll may have something to deliver; -1 where every request ends inside
  // Submit.
  virtual int event_fd() const = 0;
  // Requests taken and not yet done.
  virtual uint32_t in_flight() const = 0;
  // "io_uring", "threads" or "sync".
  virtual const char* backend() const = 0;
  // Whether transfers go around the page cache.
  virtual bool direct() const = 0;
  // Looks at the medium's size again: it may have grown.
  virtual void Refresh() = 0;
};

enum class MediumBackend : uint8_t { kAuto, kUring, kThreads, kSync };

struct MediumOptions {
  bool read_only = false;
  // kAuto: sync on tmpfs and ramfs, else io_uring, else threads. The others are for tests and
  // measurements.
  MediumBackend backend = MediumBackend::kAuto;
  // Memory that most transfers use, registered with io_uring where that is possible. Outlives the
  // file.
  std::span<uint8_t> arena = {};
};

// Opens exclusively: O_EXCL on a block device, a lock on a file. Never creates, never changes the
// size.
MediumFailure OpenMedium(const std::string& path, const MediumOptions& options,
                         std::unique_ptr<MediumFile>* file);

struct CreateOptions {
  uint64_t size_bytes = 0;  // A multiple of 4096. Of a block device: 0, it has its own.
  bool sparse = false;      // S11: only on explicit request.
  bool force = false;       // Overwrites what is there, unless it is in use.
};

// A medium being made into a pool. The file has a temporary name until Commit, so that a crash in
// between leaves nothing that looks like a pool; the destructor removes it if there was no Commit.
class NewMedium {
 public:
  // Makes the file, full size, or takes the block device; checks for foreign signatures.
  static MediumFailure Create(const std::string& path, const CreateOptions& options,
                              std::unique_ptr<NewMedium>* medium);
  ~NewMedium();
  NewMedium(const NewMedium&) = delete;
  NewMedium& operator=(const NewMedium&) = delete;

  MediumFile& file() { return *file_; }
  // Clears both ends of a block device, so that nothing that knew the old content knows it again. Of
  // several: once all of them are made, and none was refused. Waits.
  MediumFailure Clear();
  // Gives the file its name, durably.
  MediumFailure Commit();

 private:
  NewMedium() = default;
  std::string path_;
  std::string temporary_;  // Empty for a block device.
  bool replace_ = false;
  int replaced_fd_ = -1;  // Holds the lock on the file that Commit replaces.
  std::unique_ptr<MediumFile> file_;
};

inline constexpr uint64_t kMinMediumBytes = 16ull << 20;

// Signatures are looked for within this distance from either end.
inline constexpr uint64_t kSignatureSpanBytes = 1ull << 20;

// What the bytes at both ends of a medium say it is, in words ("an ext2/3/4 file system"), or null.
// `head` begins at byte 0, `tail` ends at `size_bytes`; either may be short.
const char* FindSignature(std::span<const uint8_t> head, std::span<const uint8_t> tail,
                          uint64_t size_bytes);

// The backends, each taking ownership of `fd`. Null and errno set where one cannot be had.
struct BackendSpec {
  int fd = -1;
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 512;
  bool direct = false;
  std::span<uint8_t> arena;
};
// The size of what `fd` is open on, a multiple of 4096; 0 if it cannot be told.
uint64_t MediumBytes(int fd);
std::unique_ptr<MediumFile> MakeUringFile(const BackendSpec& spec);
std::unique_ptr<MediumFile> MakeThreadFile(const BackendSpec& spec);
std::unique_ptr<MediumFile> MakeSyncFile(const BackendSpec& spec);

}  // namespace ashlar
