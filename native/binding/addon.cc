// The addon's exports. Thin: arguments in, integers out; what there is to decide is decided in the
// engine or in src/store.
#include <napi.h>

#include "native/binding/arena.h"
#include "native/binding/device_tools.h"
#include "native/binding/pool_binding.h"
#include "native/binding/sd_notify.h"
#include "native/binding/signature.h"
#include "native/binding/spin.h"
#include "native/binding/stream_binding.h"
#include "native/binding/tools.h"
#include "native/engine/crc32c.h"

namespace ashlar {
namespace {

// crc32c(bytes: Uint8Array, start, end, crc): the CRC32C of bytes[start, end), carried on from
// `crc` (0 to begin), with the signature of src/base/crc32c.ts. By the plain C interface: this is
// called for every digest of every PDU.
napi_value DigestOf(napi_env env, napi_callback_info info) {
  size_t argc = 4;
  napi_value argv[4];
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  uint32_t start = 0;
  uint32_t end = 0;
  uint32_t crc = 0;
  napi_value result = nullptr;
  if (napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr) != napi_ok || argc < 4 ||
      napi_get_typedarray_info(env, argv[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_uint32(env, argv[1], &start) != napi_ok ||
      napi_get_value_uint32(env, argv[2], &end) != napi_ok ||
      napi_get_value_uint32(env, argv[3], &crc) != napi_ok || start > end || end > length) {
    napi_throw_range_error(env, nullptr, "crc32c: a range outside of the bytes");
    return nullptr;
  }
  napi_create_uint32(env, Crc32c(static_cast<const uint8_t*>(data) + start, end - start, crc),
                     &result);
  return result;
}

// crc32cEach(bytes: Uint8Array, start, pieceBytes, pieces, into: Uint32Array): the CRC32C of each of
// `pieces` pieces that lie side by side from `start` on, into[i] that of piece i.
napi_value DigestsOf(napi_env env, napi_callback_info info) {
  size_t argc = 5;
  napi_value argv[5];
  napi_typedarray_type type;
  napi_typedarray_type into_type;
  size_t length = 0;
  size_t into_length = 0;
  void* data = nullptr;
  void* into = nullptr;
  uint32_t start = 0;
  uint32_t piece_bytes = 0;
  uint32_t pieces = 0;
  if (napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr) != napi_ok || argc < 5 ||
      napi_get_typedarray_info(env, argv[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_uint32(env, argv[1], &start) != napi_ok ||
      napi_get_value_uint32(env, argv[2], &piece_bytes) != napi_ok ||
      napi_get_value_uint32(env, argv[3], &pieces) != napi_ok ||
      napi_get_typedarray_info(env, argv[4], &into_type, &into_length, &into, nullptr, nullptr) !=
          napi_ok ||
      into_type != napi_uint32_array || pieces > into_length ||
      start + static_cast<uint64_t>(piece_bytes) * pieces > length) {
    napi_throw_range_error(env, nullptr, "crc32cEach: a range outside of the bytes");
    return nullptr;
  }
  const uint8_t* const bytes = static_cast<const uint8_t*>(data) + start;
  auto* const crcs = static_cast<uint32_t*>(into);
  for (size_t piece = 0; piece < pieces; ++piece) {
    crcs[piece] = Crc32c(bytes + piece * piece_bytes, piece_bytes, 0);
  }
  return nullptr;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  PoolBinding::Define(env);
  exports.Set("createArena", Napi::Function::New<CreateArena>(env, "createArena"));
  exports.Set("sdNotify", Napi::Function::New<SdNotify>(env, "sdNotify"));
  exports.Set("findSignature", Napi::Function::New<FindSignatureOf>(env, "findSignature"));
  exports.Set("setSpin", Napi::Function::New<SetSpin>(env, "setSpin"));
  exports.Set("openPool", Napi::Function::New<OpenPool>(env, "openPool"));
  exports.Set("createPool", Napi::Function::New<CreatePool>(env, "createPool"));
  exports.Set("probePool", Napi::Function::New<ProbePool>(env, "probePool"));
  exports.Set("prepareDevice", Napi::Function::New<PrepareDevice>(env, "prepareDevice"));
  exports.Set("openDevice", Napi::Function::New<OpenDevice>(env, "openDevice"));
  exports.Set("destroyPool", Napi::Function::New<DestroyPool>(env, "destroyPool"));
  exports.Set("checkPool", Napi::Function::New<CheckPool>(env, "checkPool"));
  DefineStream(env, exports);
  napi_value digest;
  napi_create_function(env, "crc32c", NAPI_AUTO_LENGTH, DigestOf, nullptr, &digest);
  exports.Set("crc32c", digest);
  napi_value digests;
  napi_create_function(env, "crc32cEach", NAPI_AUTO_LENGTH, DigestsOf, nullptr, &digests);
  exports.Set("crc32cEach", digests);
  return exports;
}

NODE_API_MODULE(ashlar, Init)

}  // namespace
}  // namespace ashlar
