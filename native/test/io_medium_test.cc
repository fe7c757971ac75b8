// Goal: media are opened exclusively, made without harm to what is there, and every backend moves
// the bytes it was given, resumes nothing halfway and answers each request once. Method: real files
// on disk and in RAM.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "native/io/medium.h"

namespace ashlar {
namespace {

constexpr uint64_t kSize = 32ull << 20;

class MediumTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string pattern = std::string(GetParam()) + "/ashlar-io-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/pool";
  }
  void TearDown() override {
    unlink(path_.c_str());
    unlink((path_ + ".creating").c_str());
    rmdir(directory_.c_str());
  }

  MediumFailure Create(CreateOptions options) {
    if (options.size_bytes == 0) options.size_bytes = kSize;
    std::unique_ptr<NewMedium> medium;
    MediumFailure failure = NewMedium::Create(path_, options, &medium);
    return failure.ok() ? medium->Commit() : failure;
  }

  std::string directory_;
  std::string path_;
};

struct Aligned {
  explicit Aligned(size_t bytes) : data(static_cast<uint8_t*>(std::aligned_alloc(4096, bytes))) {
    std::memset(data, 0, bytes);
  }
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  uint8_t* const data;
};

struct Counted {
  IoRequest request;
  int done = 0;
};

void Count(IoRequest* request) { ++static_cast<Counted*>(request->context)->done; }

void Prepare(Counted* counted, IoKind kind, uint64_t offset, uint32_t bytes, uint8_t* data) {
  counted->request = {};
  counted->request.kind = kind;
  counted->request.offset = offset;
  counted->request.bytes = bytes;
  counted->request.data = data;
  counted->request.done = Count;
  counted->request.context = counted;
  counted->done = 0;
}

void Finish(MediumFile& file, Counted* counted) {
  file.Submit(&counted->request);
  file.Kick();
  while (counted->done == 0) file.Wait();
}

TEST_P(MediumTest, AFileIsMadeAtFullSizeAndOpenedByOneOnly) {
  ASSERT_TRUE(Create({}).ok());
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), kSize);
  EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, kSize);
  std::unique_ptr<MediumFile> first;
  std::unique_ptr<MediumFile> second;
  const MediumFailure opened = OpenMedium(path_, {}, &first);
  ASSERT_TRUE(opened.ok()) << opened.text;
  EXPECT_EQ(first->size_bytes(), kSize);
  EXPECT_EQ(OpenMedium(path_, {}, &second).error, MediumError::kInUse);
  EXPECT_EQ(Create({.force = true}).error, MediumError::kInUse);
  first.reset();
  EXPECT_TRUE(OpenMedium(path_, {}, &second).ok());
}

TEST_P(MediumTest, AnExistingFileIsReplacedOnlyByForce) {
  ASSERT_TRUE(Create({.sparse = true}).ok());
  EXPECT_EQ(Create({}).error, MediumError::kExists);
  EXPECT_TRUE(Create({.force = true}).ok());
}

TEST_P(MediumTest, WhatIsSomebodyElsesIsNamedAndRefused) {
  const int fd = open(path_.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, kSize), 0);
  ASSERT_EQ(pwrite(fd, "XFSB", 4, 0), 4);
  close(fd);
  const MediumFailure failure = Create({});
  EXPECT_EQ(failure.error, MediumError::kForeignSignature);
  EXPECT_NE(failure.text.find("XFS"), std::string::npos) << failure.text;
}

TEST_P(MediumTest, NoRoomIsAClearErrorAndLeavesNothing) {
  const MediumFailure failure = Create({.size_bytes = 1ull << 50});
  EXPECT_EQ(failure.error, MediumError::kNoSpace) << failure.text;
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
  EXPECT_NE(access((path_ + ".creating").c_str(), F_OK), 0);
}

TEST_P(MediumTest, WhatCannotBeAPoolIsRefused) {
  std::unique_ptr<MediumFile> file;
  EXPECT_EQ(OpenMedium(path_, {}, &file).error, MediumError::kNotFound);
  EXPECT_EQ(OpenMedium(directory_, {}, &file).error, MediumError::kInvalid);
  EXPECT_EQ(OpenMedium("/dev/null", {}, &file).error, MediumError::kInvalid);
  EXPECT_EQ(Create({.size_bytes = 4096}).error, MediumError::kTooSmall);
  EXPECT_EQ(Create({.size_bytes = kSize + 512}).error, MediumError::kInvalid);
}

TEST_P(MediumTest, EveryBackendMovesTheBytesAndAnswersOnce) {
  ASSERT_TRUE(Create({}).ok());
  Aligned arena(4 << 20);
  for (const MediumBackend backend : {MediumBackend::kAuto, MediumBackend::kUring,
                                      MediumBackend::kThreads, MediumBackend::kSync}) {
    std::unique_ptr<MediumFile> file;
    const MediumFailure opened =
        OpenMedium(path_, {.backend = backend, .arena = {arena.data, 2 << 20}}, &file);
    ASSERT_TRUE(opened.ok()) << opened.text;
    // More at once than the ring has slots; half of them outside of the registered arena.
    constexpr int kCount = 600;
    std::vector<Counted> writes(kCount);
    for (int index = 0; index < kCount; ++index) {
      uint8_t* const data = arena.data + (index % 1024) * 4096;
      std::memset(data, 1 + (index + static_cast<int>(backend)) % 250, 4096);
      Prepare(&writes[index], IoKind::kWrite, uint64_t(index) * 8192, 4096, data);
      file->Submit(&writes[index].request);
    }
    file->Kick();
    while (file->in_flight() > 0) file->Wait();
    for (const Counted& write : writes) {
      EXPECT_EQ(write.done, 1);
      EXPECT_EQ(write.request.result, 0);
    }
    Counted flush;
    Prepare(&flush, IoKind::kFlush, 0, 0, nullptr);
    Finish(*file, &flush);
    EXPECT_EQ(flush.request.result, 0);
    Aligned back(4096);
    for (int index = 0; index < kCount; index += 7) {
      Counted read;
      Prepare(&read, IoKind::kRead, uint64_t(index) * 8192, 4096, back.data);
      Finish(*file, &read);
      ASSERT_EQ(read.request.result, 0);
      ASSERT_EQ(back.data[0], 1 + (index + static_cast<int>(backend)) % 250) << file->backend();
      ASSERT_EQ(std::memcmp(back.data, back.data + 1, 4095), 0);
    }
    Counted big;
    Aligned megabyte(1 << 20);
    Prepare(&big, IoKind::kRead, 0, 1 << 20, megabyte.data);
    Finish(*file, &big);
    EXPECT_EQ(big.request.result, 0);
    EXPECT_EQ(megabyte.data[8192], 1 + (1 + static_cast<int>(backend)) % 250);
  }
}

// A medium with nothing to do begins with a read before the batch is whole. One that goes on where
// the read before it ended waits for Kick: together they are one request to the medium.
TEST_P(MediumTest, ReadsAreSentAsTheyComeAndNeighboursTogether) {
  ASSERT_TRUE(Create({}).ok());
  std::unique_ptr<MediumFile> file;
  ASSERT_TRUE(OpenMedium(path_, {.backend = MediumBackend::kUring}, &file).ok());
  if (std::string(file->backend()) != "io_uring") GTEST_SKIP() << "no io_uring here";
  // More than the ring has slots.
  constexpr size_t kCount = 300;
  Aligned data(kCount * 4096);
  std::vector<Counted> reads(kCount);
  const auto submit = [&](size_t index, uint64_t block) {
    Prepare(&reads[index], IoKind::kRead, block * 4096, 4096, data.data + index * 4096);
    file->Submit(&reads[index].request);
  };
  pollfd watched{file->event_fd(), POLLIN, 0};
  submit(0, 7);
  ASSERT_EQ(poll(&watched, 1, 10'000), 1);
  EXPECT_EQ(file->Poll(), 1);
  EXPECT_EQ(reads[0].done, 1);
  submit(1, 8);
  EXPECT_EQ(poll(&watched, 1, 50), 0);
  submit(2, 100);  // Takes the one before along.
  for (int both = 0; both < 2;) {
    ASSERT_EQ(poll(&watched, 1, 10'000), 1);
    both += file->Poll();
  }
  for (size_t index = 3; index < kCount; ++index) submit(index, index * 5);
  file->Kick();
  while (file->in_flight() > 0) file->Wait();
  for (const Counted& read : reads) {
    EXPECT_EQ(read.done, 1);
    EXPECT_EQ(read.request.result, 0);
  }
}

TEST_P(MediumTest, AMediumThatShrankGivesErrorsNotZeros) {
  ASSERT_TRUE(Create({}).ok());
  Aligned back(8192);
  for (const MediumBackend backend :
       {MediumBackend::kUring, MediumBackend::kThreads, MediumBackend::kSync}) {
    ASSERT_EQ(truncate(path_.c_str(), kSize), 0);
    std::unique_ptr<MediumFile> file;
    ASSERT_TRUE(OpenMedium(path_, {.backend = backend}, &file).ok());
    ASSERT_EQ(truncate(path_.c_str(), kSize / 2), 0);
    Counted read;
    Prepare(&read, IoKind::kRead, kSize / 2 - 4096, 8192, back.data);
    Finish(*file, &read);
    EXPECT_EQ(read.request.result, -EIO) << file->backend();
  }
}

TEST_P(MediumTest, ClosingWithTransfersInFlightIsSafe) {
  ASSERT_TRUE(Create({}).ok());
  for (int round = 0; round < 20; ++round) {
    std::unique_ptr<MediumFile> file;
    ASSERT_TRUE(OpenMedium(path_, {}, &file).ok());
    Aligned data(1 << 20);
    std::vector<Counted> writes(64);
    for (size_t index = 0; index < writes.size(); ++index) {
      Prepare(&writes[index], IoKind::kWrite, index * 4096, 4096, data.data + index * 4096);
      file->Submit(&writes[index].request);
    }
    file->Kick();
    file.reset();  // The sanitizer sees a transfer into freed memory, if there is one.
  }
}

INSTANTIATE_TEST_SUITE_P(OnDisk, MediumTest, testing::Values("/var/tmp"));
INSTANTIATE_TEST_SUITE_P(InRam, MediumTest, testing::Values("/dev/shm"));

struct Signature {
  uint64_t offset;
  std::string bytes;
  const char* word;
};

// Of several devices one may be refused yet: what is on the others is still theirs then.
TEST(BlockDeviceTest, IsClearedWhenItIsAskedForAndNotBefore) {
  char name[] = "/tmp/ashlar-loop-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(ftruncate(fd, 32 << 20), 0);
  ASSERT_EQ(pwrite(fd, "mine", 4, 8192), 4);
  std::string device(64, 0);
  FILE* made = popen(("losetup -f --show " + std::string(name) + " 2>/dev/null").c_str(), "r");
  const bool there = made != nullptr && fgets(device.data(), 64, made) != nullptr;
  if (made != nullptr) pclose(made);
  if (there) {
    device.resize(device.find('\n'));
    {
      std::unique_ptr<NewMedium> medium;
      const MediumFailure failure = NewMedium::Create(device, {}, &medium);
      EXPECT_TRUE(failure.ok());
      std::string found(4, 0);
      EXPECT_EQ(pread(fd, found.data(), 4, 8192), 4);
      EXPECT_EQ(found, "mine");
      if (failure.ok()) {
        EXPECT_TRUE(medium->Clear().ok());
        EXPECT_EQ(fsync(fd), 0);
      }
    }
    const int cleared = open(device.c_str(), O_RDONLY);
    std::string found(4, 1);
    EXPECT_EQ(pread(cleared, found.data(), 4, 8192), 4);
    EXPECT_EQ(found, std::string(4, 0));
    close(cleared);
    EXPECT_EQ(std::system(("losetup -d " + device).c_str()), 0);
  }
  close(fd);
  unlink(name);
  if (!there) GTEST_SKIP() << "no loop devices here";
}

TEST(SignatureTest, KnownFormatsAreNamed) {
  const std::vector<Signature> known = {
      {0, std::string("ASHLARSB"), "ashlar"},
      {0x400 + 0x38, std::string("\x53\xef"), "ext"},
      {0, "XFSB", "XFS"},
      {0x10040, "_BHRfS_M", "Btrfs"},
      {0x52, "FAT32   ", "FAT"},
      {3, "NTFS    ", "NTFS"},
      {0x8001, "CD001", "ISO"},
      {0xff6, "SWAPSPACE2", "swap"},
      {0, "LUKS\xba\xbe", "LUKS"},
      {0x200, "LABELONE", "LVM"},
      {0x1000, "\xfc\x4e\x2b\xa9", "RAID"},
      {0x200, "EFI PART", "GPT"},
      {0, "QFI\xfb", "qcow2"},
      {0x1018, "\xc6\x85\x73\xf6\x4e\x1a", "bcache"},
      {131072 + 1024 * 5, std::string("\x0c\xb1\xba\0\0\0\0\0", 8), "ZFS"},
  };
  for (const Signature& signature : known) {
    std::vector<uint8_t> head(kSignatureSpanBytes);
    std::memcpy(head.data() + signature.offset, signature.bytes.data(), signature.bytes.size());
    const std::vector<uint8_t> tail(kSignatureSpanBytes);
    const char* const what = FindSignature(head, tail, 64ull << 20);
    ASSERT_NE(what, nullptr) << signature.word;
    EXPECT_NE(std::string(what).find(signature.word), std::string::npos) << what;
  }
}

TEST(SignatureTest, TheEndOfAMediumIsLookedAtToo) {
  const std::vector<uint8_t> head(kSignatureSpanBytes);
  for (const uint64_t size : {64ull << 20, (64ull << 20) + 40960}) {
    std::vector<uint8_t> tail(kSignatureSpanBytes);
    std::memcpy(tail.data() + tail.size() - 512, "EFI PART", 8);
    EXPECT_NE(FindSignature(head, tail, size), nullptr);
    tail.assign(tail.size(), 0);
    EXPECT_EQ(FindSignature(head, tail, size), nullptr);
    // md 1.0: 8 KiB before the end, rounded down to 4 KiB.
    const uint64_t at = (size / 512 - 16) / 8 * 8 * 512 - (size - tail.size());
    std::memcpy(tail.data() + at, "\xfc\x4e\x2b\xa9", 4);
    EXPECT_STREQ(FindSignature(head, tail, size), "a Linux RAID member");
    tail.assign(tail.size(), 0);
    // A ZFS label's uberblock in the last label, which ends at a multiple of 256 KiB.
    const uint64_t last_label = size / 262144 * 262144 - 262144 - (size - tail.size());
    std::memcpy(tail.data() + last_label + 131072, "\x0c\xb1\xba\0\0\0\0\0", 8);
    EXPECT_STREQ(FindSignature(head, tail, size), "a ZFS pool member");
  }
}

TEST(SignatureTest, APartitionTableNeedsMoreThanItsBootMark) {
  std::vector<uint8_t> head(kSignatureSpanBytes);
  const std::vector<uint8_t> tail(kSignatureSpanBytes);
  head[510] = 0x55;
  head[511] = 0xaa;
  EXPECT_EQ(FindSignature(head, tail, 64ull << 20), nullptr);
  head[446 + 4] = 0x83;
  head[446 + 12] = 1;
  EXPECT_STREQ(FindSignature(head, tail, 64ull << 20), "a partition table");
}

TEST(SignatureTest, ShortAndNoisyMediaAreRead) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{511}, size_t{4096}, size_t{131073}}) {
    const std::vector<uint8_t> bytes(size, 0x5a);
    EXPECT_EQ(FindSignature(bytes, bytes, size), nullptr);
  }
}

}  // namespace
}  // namespace ashlar
