// Whose data is this? The marks by which file systems, volume managers and images are known, so
// that formatting never destroys what is not ours without being told to. Offsets are facts of those
// formats.
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "native/io/medium.h"

namespace ashlar {
namespace {

using namespace std::string_view_literals;

struct Mark {
  int64_t offset;  // In bytes from the start; negative: from the end.
  std::string_view bytes;
  const char* what;
};

constexpr Mark kMarks[] = {
    {0, "ASHLAR"sv, "an ashlar pool"},
    {4096, "ASHLAR"sv, "an ashlar pool"},
    {0, "XFSB"sv, "an XFS file system"},
    {0x10040, "_BHRfS_M"sv, "a Btrfs file system"},
    {3, "NTFS    "sv, "an NTFS file system"},
    {3, "EXFAT   "sv, "an exFAT file system"},
    {0x36, "FAT12   "sv, "a FAT file system"},
    {0x36, "FAT16   "sv, "a FAT file system"},
    {0x52, "FAT32   "sv, "a FAT file system"},
    {0x400, "\x10\x20\xf5\xf2"sv, "an F2FS file system"},
    {0x400, "\xe2\xe1\xf5\xe0"sv, "an EROFS file system"},
    {0, "hsqs"sv, "a SquashFS file system"},
    {0x10034, "ReIsEr"sv, "a ReiserFS file system"},
    {0x8000, "JFS1"sv, "a JFS file system"},
    {0x8001, "CD001"sv, "an ISO 9660 file system"},
    {0x8001, "BEA01"sv, "a UDF file system"},
    {0x1018, "\xc6\x85\x73\xf6"sv, "a bcache or bcachefs member"},
    {0xff6, "SWAPSPACE2"sv, "swap space"},
    {0xff6, "SWAP-SPACE"sv, "swap space"},
    {0xfff6, "SWAPSPACE2"sv, "swap space"},
    {0, "LUKS\xba\xbe"sv, "a LUKS volume"},
    {0x4000, "SKUL\xba\xbe"sv, "a LUKS volume"},
    {0, "integrt\0"sv, "a dm-integrity device"},
    {0, "dmvdo001"sv, "a VDO device"},
    {0, "LABELONE"sv, "an LVM physical volume"},
    {0x200, "LABELONE"sv, "an LVM physical volume"},
    {0x400, "LABELONE"sv, "an LVM physical volume"},
    {0x600, "LABELONE"sv, "an LVM physical volume"},
    {0, "\xfc\x4e\x2b\xa9"sv, "a Linux RAID member"},
    {0x1000, "\xfc\x4e\x2b\xa9"sv, "a Linux RAID member"},
    {-1024, "Intel Raid ISM"sv, "an Intel RAID member"},
    {-512, "\xde\x11\xde\x11"sv, "a DDF RAID member"},
    {0x200, "EFI PART"sv, "a GPT partition table"},
    {0x1000, "EFI PART"sv, "a GPT partition table"},
    {-512, "EFI PART"sv, "a GPT partition table"},
    {-4096, "EFI PART"sv, "a GPT partition table"},
    {0, "QFI\xfb"sv, "a qcow2 image"},
    {0, "KDMV"sv, "a VMDK image"},
    {0, "vhdxfile"sv, "a VHDX image"},
    {-512, "conectix"sv, "a VHD image"},
    {0x40, "\x7f\x10\xda\xbe"sv, "a VDI image"},
    {0, "bluestore block device"sv, "a Ceph BlueStore device"},
};

uint32_t Le32(std::span<const uint8_t> bytes, uint64_t at) {
  return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | uint32_t{bytes[at + 3]} << 24;
}

bool Has(std::span<const uint8_t> bytes, uint64_t at, std::string_view mark) {
  return at <= bytes.size() && mark.size() <= bytes.size() - at &&
         std::memcmp(bytes.data() + at, mark.data(), mark.size()) == 0;
}

// Two bytes are a weak mark: believed only with a plausible block size beside it.
bool IsExt(std::span<const uint8_t> head) {
  return head.size() >= 0x800 && Has(head, 0x438, "\x53\xef"sv) && Le32(head, 0x418) <= 6;
}

// The boot mark 55 AA alone is on every boot sector; a partition table has a plausible entry, too.
bool IsMbr(std::span<const uint8_t> head) {
  if (!Has(head, 510, "\x55\xaa"sv)) return false;
  for (uint64_t at = 446; at < 510; at += 16) {
    const bool flags_known = head[at] == 0 || head[at] == 0x80;
    if (flags_known && head[at + 4] != 0 && Le32(head, at + 12) != 0) return true;
  }
  return false;
}

// ZFS keeps four labels of 256 KiB, two at either end; the second half of each is an array of
// uberblocks.
bool HasZfsLabels(std::span<const uint8_t> labels) {
  for (uint64_t label = 0; label < 2; ++label) {
    for (uint64_t at = label * 262144 + 131072; at < (label + 1) * 262144; at += 1024) {
      if (Has(labels, at, "\x0c\xb1\xba\x00\x00\x00\x00\x00"sv) ||
          Has(labels, at, "\x00\x00\x00\x00\x00\xba\xb1\x0c"sv)) {
        return true;
      }
    }
  }
  return false;
}

// Old md superblocks stand near the end: 0.90 in the last whole 64 KiB but one, 1.0 at 8 KiB before
// the end, down to 4 KiB.
bool HasMdAtEnd(std::span<const uint8_t> tail, uint64_t size_bytes) {
  const uint64_t begin = size_bytes - tail.size();
  for (const uint64_t at :
       {(size_bytes & ~uint64_t{65535}) - 65536, (size_bytes / 512 - 16) / 8 * 8 * 512}) {
    if (at < size_bytes && at >= begin && Has(tail, at - begin, "\xfc\x4e\x2b\xa9"sv)) return true;
  }
  return false;
}

}  // namespace

const char* FindSignature(std::span<const uint8_t> head, std::span<const uint8_t> tail,
                          uint64_t size_bytes) {
  for (const Mark& mark : kMarks) {
    const uint64_t back = static_cast<uint64_t>(-mark.offset);
    if (mark.offset >= 0 ? Has(head, static_cast<uint64_t>(mark.offset), mark.bytes)
                         : back <= tail.size() && Has(tail, tail.size() - back, mark.bytes)) {
      return mark.what;
    }
  }
  if (IsExt(head)) return "an ext2/3/4 file system";
  if (HasZfsLabels(head)) return "a ZFS pool member";
  const uint64_t label_end = tail.size() - (size_bytes % 262144) % (tail.size() + 1);
  if (label_end >= 524288 && HasZfsLabels(tail.subspan(label_end - 524288, 524288))) {
    return "a ZFS pool member";
  }
  if (tail.size() >= 131072 && size_bytes >= 131072 && HasMdAtEnd(tail, size_bytes)) {
    return "a Linux RAID member";
  }
  if (IsMbr(head)) return "a partition table";
  return nullptr;
}

}  // namespace ashlar
