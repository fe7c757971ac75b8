#include "native/io/medium.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "native/io/transfer.h"

namespace ashlar {
namespace {

// Owns a descriptor until somebody takes it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (fd_ >= 0) close(fd_);
    fd_ = other.Release();
    return *this;
  }
  int get() const { return fd_; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

struct FreeDeleter {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};
using AlignedBytes = std::unique_ptr<uint8_t, FreeDeleter>;

AlignedBytes AllocateAligned(size_t bytes) {
  auto* const data = static_cast<uint8_t*>(std::aligned_alloc(4096, bytes));
  if (data == nullptr) std::abort();
  std::memset(data, 0, bytes);
  return AlignedBytes(data);
}

MediumFailure Fail(MediumError error, std::string text) { return {error, std::move(text)}; }

MediumFailure FailErrno(const std::string& path, const char* doing, int error) {
  const std::string text = path + ": " + doing + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Fail(MediumError::kNotFound, text);
    case EEXIST:
      return Fail(MediumError::kExists, text);
    case EACCES:
    case EPERM:
    case EROFS:
      return Fail(MediumError::kPermission, text);
    case ENOSPC:
    case EDQUOT:
      return Fail(MediumError::kNoSpace, text);
    case EBUSY:
      return Fail(MediumError::kInUse,
                  path +
                      " is in use: it is mounted, or part of another device, or another "
                      "process has it open exclusively");
    case EISDIR:
      return Fail(MediumError::kInvalid,
                  path + " is a directory; a pool is a file or a block device");
    default:
      return Fail(MediumError::kIo, text);
  }
}

bool IsRamFileSystem(int fd) {
  struct statfs fs {};
  if (fstatfs(fd, &fs) < 0) return false;
  const auto type = static_cast<uint64_t>(fs.f_type);
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC;
}

struct Medium {
  Descriptor fd;
  bool block_device = false;
  bool ram = false;
  bool direct = false;
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 512;
};

// A process that was killed with I/O in flight holds its files until the kernel has wound up its
// ring, some milliseconds later; whoever restarts it at once waits that long, not longer.
constexpr int kClaimAttempts = 50;

void PauseBeforeClaim() {
  const timespec pause{0, 20'000'000};
  nanosleep(&pause, nullptr);
}

// Nobody else has it, and nobody else gets it while the descriptor is open. flock belongs to the
// open file, so a second opening in this very process is refused as well, and the lock ends with
// the process however that ends.
MediumFailure Lock(int fd, const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FailErrno(path, "cannot lock it", errno);
    if (attempt == kClaimAttempts) {
      return Fail(MediumError::kInUse,
                  path + " is in use: another ashlar has this pool open; stop it first");
    }
    PauseBeforeClaim();
  }
}

// Opens, again if somebody has it exclusively.
int OpenClaiming(const std::string& path, int flags) {
  for (int attempt = 0;; ++attempt) {
    const int fd = open(path.c_str(), flags);
    if (fd >= 0 || errno != EBUSY || attempt == kClaimAttempts) return fd;
    PauseBeforeClaim();
  }
}

MediumFailure Measure(const std::string& path, Medium* medium) {
  const int fd = medium->fd.get();
  struct stat status {};
  if (fstat(fd, &status) < 0) return FailErrno(path, "stat", errno);
  if (S_ISBLK(status.st_mode)) {
    medium->block_device = true;
    uint64_t bytes = 0;
    int sector = 512;
    if (ioctl(fd, BLKGETSIZE64, &bytes) < 0) return FailErrno(path, "reading its size", errno);
    if (ioctl(fd, BLKSSZGET, &sector) < 0) return FailErrno(path, "reading its block size", errno);
    if (sector > 4096) {
      return Fail(MediumError::kUnsupported, path + " has logical blocks of " +
                                                 std::to_string(sector) +
                                                 " bytes; ashlar needs 512 or 4096");
    }
    medium->size_bytes = bytes;
    medium->block_bytes = sector <= 512 ? 512 : 4096;
    medium->direct = true;
  } else if (S_ISREG(status.st_mode)) {
    medium->size_bytes = static_cast<uint64_t>(status.st_size);
    medium->ram = IsRamFileSystem(fd);
  } else {
    return Fail(MediumError::kInvalid, path + " is neither a regular file nor a block device");
  }
  medium->size_bytes &= ~uint64_t{4095};
  return {};
}

// Turns O_DIRECT on for a file, and proves it with a read: some file systems take the flag and
// refuse the transfer.
void TryDirect(Medium* medium) {
  const int fd = medium->fd.get();
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) < 0) return;
  const AlignedBytes probe = AllocateAligned(4096);
  if (pread(fd, probe.get(), 4096, 0) < 0) {
    fcntl(fd, F_SETFL, flags);
    return;
  }
  // Whether 512-byte transfers work decides what a torn write can look like; ask, do not assume.
  medium->block_bytes = pread(fd, probe.get(), 512, 512) < 0 ? 4096 : 512;
  medium->direct = true;
}

MediumFailure OpenLocked(const std::string& path, bool read_only, Medium* medium) {
  struct stat status {};
  if (stat(path.c_str(), &status) < 0) return FailErrno(path, "cannot open it", errno);
  const bool block_device = S_ISBLK(status.st_mode);
  if (!block_device && !S_ISREG(status.st_mode)) {
    return S_ISDIR(status.st_mode) ? FailErrno(path, "", EISDIR)
                                   : Fail(MediumError::kInvalid,
                                          path + " is neither a regular file nor a block device");
  }
  // O_EXCL on a block device: the kernel refuses what is mounted, swapped to, or part of another
  // device, and holds the device against those for as long as we have it.
  int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
  if (block_device) flags |= O_EXCL | O_DIRECT;
  medium->fd = Descriptor(OpenClaiming(path, flags));
  if (medium->fd.get() < 0) return FailErrno(path, "cannot open it", errno);
  if (MediumFailure failure = Lock(medium->fd.get(), path); !failure.ok()) return failure;
  return Measure(path, medium);
}

MediumFailure MakeBackend(const std::string& path, const MediumOptions& options, Medium medium,
                          std::unique_ptr<MediumFile>* file) {
  if (medium.size_bytes < kMinMediumBytes) {
    return Fail(MediumError::kTooSmall, path + " has " + std::to_string(medium.size_bytes) +
                                            " bytes; a pool needs at least " +
                                            std::to_string(kMinMediumBytes));
  }
  MediumBackend backend = options.backend;
  if (backend == MediumBackend::kAuto) {
    backend = medium.ram ? MediumBackend::kSync : MediumBackend::kUring;
  }
  // In RAM there is no page cache to go around.
  if (!medium.block_device && !medium.ram) TryDirect(&medium);
  // S11: flush support is checked now, not at the first SYNCHRONIZE CACHE.
  const IoRequest flush{.kind = IoKind::kFlush};
  if (!options.read_only) {
    if (const int32_t result = TransferNow(medium.fd.get(), flush); result < 0) {
      return Fail(MediumError::kUnsupported,
                  path + " cannot be flushed to stable storage (fdatasync: " +
                      std::strerror(-result) + "); a pool there would lose acknowledged writes");
    }
  }
  BackendSpec spec;
  spec.fd = medium.fd.get();
  spec.size_bytes = medium.size_bytes;
  spec.block_bytes = medium.block_bytes;
  spec.direct = medium.direct;
  spec.arena = options.arena;
  if (backend == MediumBackend::kSync) {
    *file = MakeSyncFile(spec);
  } else if (backend == MediumBackend::kUring) {
    *file = MakeUringFile(spec);
    if (*file == nullptr && options.backend == MediumBackend::kUring) {
      return FailErrno(path, "io_uring is not available", errno);
    }
  }
  if (*file == nullptr) *file = MakeThreadFile(spec);
  if (*file == nullptr) return FailErrno(path, "cannot start its I/O threads", errno);
  medium.fd.Release();
  return {};
}

MediumFailure Occupied(const std::string& path, const char* what) {
  return Fail(MediumError::kForeignSignature,
              path + " carries " + what + "; use --force to destroy it and make a pool there");
}

// Both ends of what is already there.
MediumFailure CheckSignature(const std::string& path, const Medium& medium) {
  const auto span = static_cast<uint32_t>(std::min(medium.size_bytes, kSignatureSpanBytes));
  if (span == 0) return {};
  const AlignedBytes head = AllocateAligned(span);
  const AlignedBytes tail = AllocateAligned(span);
  for (const auto& [data, offset] :
       {std::pair{head.get(), uint64_t{0}}, std::pair{tail.get(), medium.size_bytes - span}}) {
    const IoRequest read{.kind = IoKind::kRead, .offset = offset, .bytes = span, .data = data};
    if (const int32_t result = TransferNow(medium.fd.get(), read); result < 0) {
      return FailErrno(path, "cannot read it", -result);
    }
  }
  const char* const what = FindSignature({head.get(), span}, {tail.get(), span}, medium.size_bytes);
  return what == nullptr ? MediumFailure{} : Occupied(path, what);
}

MediumFailure SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || fsync(fd.get()) < 0) return FailErrno(directory, "cannot sync it", errno);
  return {};
}

MediumFailure SizeFile(const std::string& path, int fd, const CreateOptions& options) {
  const auto bytes = static_cast<off_t>(options.size_bytes);
  int result;
  do result = options.sparse ? ftruncate(fd, bytes) : fallocate(fd, 0, 0, bytes);
  while (result < 0 && errno == EINTR);
  if (result == 0) return {};
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    return Fail(MediumError::kNoSpace, path + ": there is no room for a pool of " +
                                           std::to_string(options.size_bytes) + " bytes (" +
                                           std::strerror(errno) +
                                           "); choose a smaller size or another place");
  }
  if (errno == EOPNOTSUPP || errno == ENOSYS) {
    return Fail(MediumError::kUnsupported,
                path +
                    ": this file system cannot reserve space (fallocate); choose another place, "
                    "or ask for a sparse file knowing that it may run out of space later");
  }
  return FailErrno(path, "cannot reserve its space", errno);
}

}  // namespace

uint64_t MediumBytes(int fd) {
  struct stat status {};
  uint64_t bytes = 0;
  if (fstat(fd, &status) < 0) return 0;
  if (S_ISBLK(status.st_mode)) {
    if (ioctl(fd, BLKGETSIZE64, &bytes) < 0) return 0;
  } else {
    bytes = static_cast<uint64_t>(status.st_size);
  }
  return bytes & ~uint64_t{4095};
}

MediumFailure OpenMedium(const std::string& path, const MediumOptions& options,
                         std::unique_ptr<MediumFile>* file) {
  Medium medium;
  if (MediumFailure failure = OpenLocked(path, options.read_only, &medium); !failure.ok()) {
    return failure;
  }
  return MakeBackend(path, options, std::move(medium), file);
}

MediumFailure NewMedium::Create(const std::string& path, const CreateOptions& options,
                                std::unique_ptr<NewMedium>* result) {
  std::unique_ptr<NewMedium> made(new NewMedium());
  made->path_ = path;
  Medium medium;
  struct stat status {};
  const bool exists = stat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) return FailErrno(path, "cannot look at it", errno);

  if (exists) {
    if (MediumFailure failure = OpenLocked(path, false, &medium); !failure.ok()) return failure;
    if (!options.force) {
      if (MediumFailure failure = CheckSignature(path, medium); !failure.ok()) return failure;
      if (!medium.block_device && status.st_size > 0) {
        return Fail(MediumError::kExists,
                    path + " exists already; use --force to replace it by a pool");
      }
    }
  }
  if (!exists || !medium.block_device) {
    if (options.size_bytes < kMinMediumBytes || options.size_bytes % 4096 != 0) {
      return Fail(
          options.size_bytes < kMinMediumBytes ? MediumError::kTooSmall : MediumError::kInvalid,
          path + ": the size of a pool is a multiple of 4096 bytes and at least " +
              std::to_string(kMinMediumBytes));
    }
    made->replace_ = exists;
    if (exists) made->replaced_fd_ = medium.fd.Release();
    medium = Medium{};
    const std::string temporary = path + ".creating";
    medium.fd = Descriptor(open(temporary.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (medium.fd.get() < 0) return FailErrno(path, "cannot create it", errno);
    // What an interrupted creation left behind is not locked; what another process is making is.
    if (MediumFailure failure = Lock(medium.fd.get(), temporary); !failure.ok()) return failure;
    made->temporary_ = temporary;
    if (ftruncate(medium.fd.get(), 0) < 0) return FailErrno(temporary, "cannot truncate it", errno);
    if (MediumFailure failure = SizeFile(path, medium.fd.get(), options); !failure.ok()) {
      return failure;  // ~NewMedium removes the file.
    }
    if (MediumFailure failure = Measure(temporary, &medium); !failure.ok()) return failure;
  }
  if (MediumFailure failure = MakeBackend(path, {}, std::move(medium), &made->file_);
      !failure.ok()) {
    return failure;
  }
  *result = std::move(made);
  return {};
}

// A file is new.
MediumFailure NewMedium::Clear() {
  if (!temporary_.empty()) return {};
  const uint64_t bytes = file_->size_bytes();
  const auto span = static_cast<uint32_t>(std::min(bytes, kSignatureSpanBytes));
  const AlignedBytes zeros = AllocateAligned(span);
  for (const uint64_t offset : {uint64_t{0}, bytes - span}) {
    bool ended = false;
    IoRequest write;
    write.kind = IoKind::kWrite;
    write.offset = offset;
    write.bytes = span;
    write.data = zeros.get();
    write.context = &ended;
    write.done = [](IoRequest* request) { *static_cast<bool*>(request->context) = true; };
    file_->Submit(&write);
    file_->Kick();
    while (!ended) file_->Wait();
    if (write.result < 0) return FailErrno(path_, "cannot write to it", -write.result);
  }
  return {};
}

MediumFailure NewMedium::Commit() {
  if (temporary_.empty()) return {};
  // RENAME_NOREPLACE where nothing was: a file that appeared meanwhile is somebody's.
  const int result =
      replace_ ? rename(temporary_.c_str(), path_.c_str())
               : renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE);
  if (result < 0 && errno == EINVAL && !replace_) {
    // A file system without RENAME_NOREPLACE: link refuses an existing name just as well.
    if (link(temporary_.c_str(), path_.c_str()) < 0)
      return FailErrno(path_, "cannot name it", errno);
    unlink(temporary_.c_str());
  } else if (result < 0) {
    return FailErrno(path_, "cannot name it", errno);
  }
  temporary_.clear();
  return SyncDirectoryOf(path_);
}

NewMedium::~NewMedium() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
  if (replaced_fd_ >= 0) close(replaced_fd_);
}

}  // namespace ashlar
