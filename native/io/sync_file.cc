// SyncFile: for media that are RAM (tmpfs, ramfs). A transfer there is a memcpy inside the kernel;
// doing it inside Submit costs one system call, where io_uring would hand it to a worker thread and
// wake us for the answer.
#include <unistd.h>

#include "native/io/medium.h"
#include "native/io/transfer.h"

namespace ashlar {
namespace {

class SyncFile final : public MediumFile {
 public:
  explicit SyncFile(const BackendSpec& spec) : spec_(spec) {}
  ~SyncFile() override { close(spec_.fd); }

  uint64_t size_bytes() const override { return spec_.size_bytes; }
  uint32_t block_bytes() const override { return spec_.block_bytes; }
  int event_fd() const override { return -1; }
  uint32_t in_flight() const override { return 0; }
  const char* backend() const override { return "sync"; }
  bool direct() const override { return spec_.direct; }
  void Refresh() override {
    const uint64_t bytes = MediumBytes(spec_.fd);
    if (bytes > spec_.size_bytes) spec_.size_bytes = bytes;
  }

  void Submit(IoRequest* request) override {
    request->result = TransferNow(spec_.fd, *request);
    request->done(request);
  }
  void Kick() override {}
  int Poll() override { return 0; }
  int Wait() override { return 0; }

 private:
  BackendSpec spec_;
};

}  // namespace

std::unique_ptr<MediumFile> MakeSyncFile(const BackendSpec& spec) {
  return std::make_unique<SyncFile>(spec);
}

}  // namespace ashlar
