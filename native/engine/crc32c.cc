// The crc32 instruction has a latency of three cycles and a throughput of one, so three independent
// lanes run side by side. Their results are joined with the linear map "append L zero bytes", kept
// as four 256-entry tables for each of two lane lengths.
//
// Processors with VPCLMULQDQ go four times as fast through folding: modulo the polynomial, what 256
// bytes stand for at their place is the same as their carry-less product with x^(8 * 256) some 256
// bytes further on, so a stretch of any length shrinks to 64 bytes, and these are what the crc32
// instruction sees. (The method is that of Gopal and others, "Fast CRC Computation for Generic
// Polynomials Using PCLMULQDQ Instruction", Intel, 2009.)
#include "native/engine/crc32c.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <array>
#include <cstring>

namespace ashlar {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Reflected.
// Three long lanes are 4080 of a block's 4096 bytes; the short ones serve log and header sizes.
constexpr size_t kLongLane = 1360;
constexpr size_t kShortLane = 168;

struct Tables {
  uint32_t bytes[8][256];
  uint32_t long_shift[4][256];
  uint32_t short_shift[4][256];
};

constexpr uint32_t StepZero(const uint32_t (&table)[256], uint32_t crc) {
  return table[crc & 0xFF] ^ (crc >> 8);
}

void FillShift(const uint32_t (&table)[256], size_t zeros, uint32_t (&out)[4][256]) {
  uint32_t bit[32];
  for (int i = 0; i < 32; ++i) {
    uint32_t crc = 1u << i;
    for (size_t n = 0; n < zeros; ++n) crc = StepZero(table, crc);
    bit[i] = crc;
  }
  for (int k = 0; k < 4; ++k) {
    for (uint32_t v = 0; v < 256; ++v) {
      uint32_t crc = 0;
      for (int i = 0; i < 8; ++i) {
        if ((v >> i) & 1) crc ^= bit[k * 8 + i];
      }
      out[k][v] = crc;
    }
  }
}

Tables MakeTables() {
  Tables t;
  for (uint32_t v = 0; v < 256; ++v) {
    uint32_t crc = v;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    t.bytes[0][v] = crc;
  }
  for (uint32_t v = 0; v < 256; ++v) {
    for (int k = 1; k < 8; ++k) t.bytes[k][v] = StepZero(t.bytes[0], t.bytes[k - 1][v]);
  }
  FillShift(t.bytes[0], kLongLane, t.long_shift);
  FillShift(t.bytes[0], kShortLane, t.short_shift);
  return t;
}

const Tables& GetTables() {
  static const Tables tables = MakeTables();
  return tables;
}

uint64_t Load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

uint32_t RunPortable(const uint8_t* p, size_t bytes, uint32_t crc) {
  const Tables& t = GetTables();
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t v = Load64(p) ^ crc;
    crc = 0;
    for (int k = 0; k < 8; ++k) crc ^= t.bytes[7 - k][(v >> (8 * k)) & 0xFF];
  }
  for (; bytes > 0; --bytes, ++p) crc = t.bytes[0][(crc ^ *p) & 0xFF] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)
uint32_t Shift(const uint32_t (&table)[4][256], uint32_t crc) {
  return table[0][crc & 0xFF] ^ table[1][(crc >> 8) & 0xFF] ^ table[2][(crc >> 16) & 0xFF] ^
         table[3][crc >> 24];
}

template <size_t kLane>
__attribute__((target("sse4.2"))) inline uint32_t RunLanes(const uint8_t* p, uint32_t crc,
                                                           const uint32_t (&shift)[4][256]) {
  uint64_t a = crc, b = 0, c = 0;
  for (size_t i = 0; i < kLane; i += 8) {
    a = __builtin_ia32_crc32di(a, Load64(p + i));
    b = __builtin_ia32_crc32di(b, Load64(p + kLane + i));
    c = __builtin_ia32_crc32di(c, Load64(p + 2 * kLane + i));
  }
  uint32_t joined = Shift(shift, static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
  return Shift(shift, joined) ^ static_cast<uint32_t>(c);
}

__attribute__((target("sse4.2"))) uint32_t RunSse42(const uint8_t* p, size_t bytes, uint32_t crc) {
  const Tables& t = GetTables();
  for (; bytes >= 3 * kLongLane; bytes -= 3 * kLongLane, p += 3 * kLongLane) {
    crc = RunLanes<kLongLane>(p, crc, t.long_shift);
  }
  for (; bytes >= 3 * kShortLane; bytes -= 3 * kShortLane, p += 3 * kShortLane) {
    crc = RunLanes<kShortLane>(p, crc, t.short_shift);
  }
  uint64_t wide = crc;
  for (; bytes >= 8; bytes -= 8, p += 8) wide = __builtin_ia32_crc32di(wide, Load64(p));
  crc = static_cast<uint32_t>(wide);
  for (; bytes > 0; --bytes, ++p) crc = __builtin_ia32_crc32qi(crc, *p);
  return crc;
}

// From here on folding is worth its beginning and its end.
constexpr size_t kFoldBytes = 256;

// x^n modulo the polynomial, reflected, in the place where a product of two reflected numbers has
// it: one bit up.
uint64_t PowerOfX(size_t n) {
  uint32_t power = 1u << 31;
  for (; n > 0; --n) power = (power >> 1) ^ ((power & 1) ? kPolynomial : 0);
  return uint64_t{power} << 1;
}

// What moves the two halves of 16 bytes on by so many bytes: the lower by 32 bits more, the upper
// by 32 less, since the one is 64 bits further from the end and the product of both 32 wide.
struct Fold {
  explicit Fold(size_t bytes) : low(PowerOfX(bytes * 8 + 32)), high(PowerOfX(bytes * 8 - 32)) {}
  uint64_t low, high;
};

#define ASHLAR_FOLDS "avx512f,vpclmulqdq,pclmul,sse4.2"

__attribute__((target(ASHLAR_FOLDS))) inline __m512i FoldOn(__m512i a, __m512i factors,
                                                            __m512i next) {
  const __m512i low = _mm512_clmulepi64_epi128(a, factors, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(a, factors, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);  // All three, exclusive or.
}

__attribute__((target(ASHLAR_FOLDS))) inline __m512i Spread(const Fold& fold) {
  const auto low = static_cast<int64_t>(fold.low), high = static_cast<int64_t>(fold.high);
  return _mm512_set_epi64(high, low, high, low, high, low, high, low);
}

__attribute__((target(ASHLAR_FOLDS))) uint32_t RunFolding(const uint8_t* p, size_t bytes,
                                                          uint32_t crc) {
  if (bytes < kFoldBytes) return RunSse42(p, bytes, crc);
  static const Fold far(256), near(64);
  const __m512i by_256 = Spread(far), by_64 = Spread(near);
  __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + 64);
  __m512i c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
  // A checksum goes on from an earlier one as if that were added to the first four bytes.
  a = _mm512_xor_si512(a, _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, crc));
  for (p += 256, bytes -= 256; bytes >= 256; p += 256, bytes -= 256) {
    a = FoldOn(a, by_256, _mm512_loadu_si512(p));
    b = FoldOn(b, by_256, _mm512_loadu_si512(p + 64));
    c = FoldOn(c, by_256, _mm512_loadu_si512(p + 128));
    d = FoldOn(d, by_256, _mm512_loadu_si512(p + 192));
  }
  a = FoldOn(FoldOn(FoldOn(a, by_64, b), by_64, c), by_64, d);
  alignas(64) uint8_t rest[64];
  _mm512_store_si512(rest, a);
  return RunSse42(p, bytes, RunSse42(rest, sizeof rest, 0));
}

#endif

struct Forms {
  Crc32cForm forms[3];
  size_t count = 0;
};

Forms MakeForms() {
  Forms out;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") &&
        __builtin_cpu_supports("pclmul")) {
      out.forms[out.count++] = {"folding", RunFolding};
    }
    out.forms[out.count++] = {"sse4.2", RunSse42};
  }
#endif
  out.forms[out.count++] = {"tables", RunPortable};
  return out;
}
const Forms kForms = MakeForms();
const auto kRun = kForms.forms[0].run;

}  // namespace

std::span<const Crc32cForm> Crc32cForms() { return {kForms.forms, kForms.count}; }

uint32_t Crc32c(const void* data, size_t bytes, uint32_t seed) {
  return ~kRun(static_cast<const uint8_t*>(data), bytes, ~seed);
}

uint32_t Crc32cPortable(const void* data, size_t bytes, uint32_t seed) {
  return ~RunPortable(static_cast<const uint8_t*>(data), bytes, ~seed);
}

}  // namespace ashlar
