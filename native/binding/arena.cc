#include "native/binding/arena.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace ashlar {
namespace {

constexpr uint64_t kArenaStepBytes = 4ull << 20;
constexpr uint64_t kArenaMaxBytes =
    4ull << 30;  // Offsets cross as 32-bit counts of bytes in some places.
constexpr uint64_t kHugePageBytes = 2ull << 20;

std::span<uint8_t> arena;

}  // namespace

std::span<uint8_t> Arena() { return arena; }

Napi::Value CreateArena(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const double asked =
      info.Length() > 0 && info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(asked >= kArenaStepBytes && asked <= kArenaMaxBytes) ||
      static_cast<uint64_t>(asked) % kArenaStepBytes != 0) {
    Napi::RangeError::New(env, "an arena is a multiple of 4 MiB, at most 4 GiB")
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  if (!arena.empty()) {
    Napi::Error::New(env, "this process has its arena already").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const auto bytes = static_cast<uint64_t>(asked);
  void* const mapped = mmap(nullptr, bytes + kHugePageBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    Napi::Error::New(env, std::string("no memory for the arena: ") + std::strerror(errno))
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const uint64_t base =
      (reinterpret_cast<uint64_t>(mapped) + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  auto* const begin = reinterpret_cast<uint8_t*>(base);
  // Fewer TLB misses and, registered with io_uring, fewer pages to pin. A wish only.
  madvise(begin, bytes, MADV_HUGEPAGE);
  arena = {begin, bytes};
  // Never unmapped: the kernel may be reading or writing it until the process ends.
  return Napi::ArrayBuffer::New(env, begin, bytes, [](Napi::Env, void*) {});
}

}  // namespace ashlar
