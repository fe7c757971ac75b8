#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "native/engine/crc32c.h"

namespace ashlar {
namespace {

TEST(Crc32c, MatchesTheVectorsOfRfc7143) {
  // RFC 7143, appendix A.4: 32 bytes each.
  uint8_t data[32] = {};
  EXPECT_EQ(Crc32c(data, 32), 0x8A9136AAu);
  for (auto& b : data) b = 0xFF;
  EXPECT_EQ(Crc32c(data, 32), 0x62A8AB43u);
  for (int i = 0; i < 32; ++i) data[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(Crc32c(data, 32), 0x46DD794Eu);
  for (int i = 0; i < 32; ++i) data[i] = static_cast<uint8_t>(31 - i);
  EXPECT_EQ(Crc32c(data, 32), 0x113FDB5Cu);
  EXPECT_EQ(Crc32c("123456789", 9), 0xE3069283u);
}

TEST(Crc32c, EveryFormEqualsThePortableOneAtEveryLengthAndSplit) {
  std::vector<uint8_t> data(20000);
  std::mt19937 random(1);
  for (auto& b : data) b = static_cast<uint8_t>(random());
  for (const Crc32cForm& form : Crc32cForms()) {
    const auto run = [&form](const uint8_t* p, size_t n, uint32_t seed) {
      return ~form.run(p, n, ~seed);
    };
    for (size_t n = 0; n < 5000; n += (n < 600 ? 1 : 61)) {
      const auto seed = static_cast<uint32_t>(random());
      const uint8_t* const p = data.data() + n % 67;
      ASSERT_EQ(run(p, n, seed), Crc32cPortable(p, n, seed)) << form.name << " " << n;
    }
    const uint32_t whole = Crc32cPortable(data.data(), data.size());
    for (size_t at = 0; at < data.size(); at += 997) {
      const uint32_t first = run(data.data(), at, 0);
      EXPECT_EQ(run(data.data() + at, data.size() - at, first), whole) << form.name << " " << at;
    }
  }
  EXPECT_EQ(Crc32c(data.data(), data.size()), Crc32cPortable(data.data(), data.size()));
}

}  // namespace
}  // namespace ashlar
