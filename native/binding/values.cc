#include "native/binding/values.h"

#include <cmath>
#include <cstring>

namespace ashlar {

Napi::String UuidText(Napi::Env env, const Uuid& id) {
  static const char digits[] = "0123456789abcdef";
  char text[36];
  size_t at = 0;
  for (size_t index = 0; index < 16; ++index) {
    if (index == 4 || index == 6 || index == 8 || index == 10) text[at++] = '-';
    text[at++] = digits[id.bytes[index] >> 4];
    text[at++] = digits[id.bytes[index] & 15];
  }
  return Napi::String::New(env, text, at);
}

void CopyUuid(const Napi::Value& value, Uuid* id) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().ByteLength() != sizeof(id->bytes)) {
    return;
  }
  std::memcpy(id->bytes, value.As<Napi::Uint8Array>().Data(), sizeof(id->bytes));
}

uint64_t ToCount(const Napi::Value& value, uint64_t otherwise) {
  if (!value.IsNumber()) return otherwise;
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= 0 && number <= 9007199254740991.0 && number == std::floor(number)
             ? static_cast<uint64_t>(number)
             : otherwise;
}

}  // namespace ashlar
