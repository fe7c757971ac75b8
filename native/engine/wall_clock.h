// The time of day, as it is kept on the medium and told to people.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>

namespace ashlar {

inline uint64_t UnixSeconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

// Of what a medium says, which may be anything.
inline std::string UtcText(uint64_t unix_seconds) {
  const auto at = static_cast<time_t>(unix_seconds);
  std::tm parts{};
  char text[32];
  if (gmtime_r(&at, &parts) == nullptr || parts.tm_year < 0 || parts.tm_year >= 8100 ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
    return "a time that is not known";
  }
  return text;
}

}  // namespace ashlar
