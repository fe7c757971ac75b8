#include "native/binding/stream_binding.h"

#include <cstring>

#include "native/engine/stream_format.h"

namespace ashlar {
namespace {

constexpr double kMostExact = 9007199254740991.0;

bool Whole(const Napi::Value& value, double most, uint64_t* out) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= most)) return false;
  *out = static_cast<uint64_t>(number);
  return true;
}

// bytes, start, end at argv[first]: the range, if it lies inside.
bool Range(const Napi::CallbackInfo& info, size_t first, std::span<const uint8_t>* out) {
  if (info.Length() < first + 3 || !info[first].IsTypedArray()) return false;
  const auto array = info[first].As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array) return false;
  const auto bytes = array.As<Napi::Uint8Array>();
  uint64_t start;
  uint64_t end;
  if (!Whole(info[first + 1], kMostExact, &start) || !Whole(info[first + 2], kMostExact, &end) ||
      start > end || end > bytes.ByteLength()) {
    return false;
  }
  *out = std::span<const uint8_t>(bytes.Data() + start, end - start);
  return true;
}

void Refuse(Napi::Env env, const char* what) {
  Napi::RangeError::New(env, what).ThrowAsJavaScriptException();
}

// next(window, start, end, result: Float64Array of 8): how many bytes the record takes; 0: see
// result. result: error, needed, ended, kind, lba, blocks, where the payload begins in the window,
// its bytes.
class ReaderObject : public Napi::ObjectWrap<ReaderObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "StreamReader", {InstanceMethod<&ReaderObject::Next>("next")});
  }
  explicit ReaderObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReaderObject>(info) {}

 private:
  Napi::Value Next(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    std::span<const uint8_t> window;
    if (!Range(info, 0, &window) || info.Length() < 4 || !info[3].IsTypedArray() ||
        info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
        info[3].As<Napi::TypedArray>().ElementLength() < 8) {
      Refuse(env, "StreamReader.next: window, start, end and a Float64Array of 8 are wanted");
      return env.Undefined();
    }
    double* result = info[3].As<Napi::Float64Array>().Data();
    StreamRecord record;
    const uint32_t taken = reader_.Next(window, &record);
    result[0] = static_cast<double>(reader_.error());
    result[1] = reader_.needed();
    result[2] = reader_.ended() ? 1 : 0;
    if (taken > 0) {
      result[3] = static_cast<double>(record.header.kind);
      result[4] = static_cast<double>(record.header.lba);
      result[5] = static_cast<double>(record.header.blocks);
      result[6] = info[1].As<Napi::Number>().DoubleValue() + sizeof(StreamHeader);
      result[7] = static_cast<double>(record.payload.size());
    }
    return Napi::Number::New(env, taken);
  }

  StreamReader reader_;
};

// seal(kind, lba, blocks, payload, start, end): the header, 64 bytes. totals(): the payload of End.
class WriterObject : public Napi::ObjectWrap<WriterObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "StreamWriter",
                       {InstanceMethod<&WriterObject::Seal>("seal"),
                        InstanceMethod<&WriterObject::Totals>("totals")});
  }
  explicit WriterObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<WriterObject>(info) {}

 private:
  Napi::Value Seal(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    std::span<const uint8_t> payload;
    uint64_t kind;
    uint64_t lba;
    uint64_t blocks;
    if (!Range(info, 3, &payload) || !Whole(info[0], 5, &kind) ||
        !Whole(info[1], static_cast<double>(kStreamMaxBlocks), &lba) ||
        !Whole(info[2], static_cast<double>(kStreamMaxBlocks), &blocks) ||
        payload.size() > kStreamMaxRecordBytes) {
      Refuse(env, "StreamWriter.seal: kind, lba, blocks, payload, start, end are wanted");
      return env.Undefined();
    }
    const StreamHeader header = writer_.Seal(static_cast<StreamKind>(kind), lba, blocks, payload);
    return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(&header),
                                       sizeof header);
  }
  Napi::Value Totals(const Napi::CallbackInfo& info) {
    const StreamTotals totals = writer_.Totals();
    return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<const uint8_t*>(&totals),
                                       sizeof totals);
  }

  StreamWriter writer_;
};

}  // namespace

void DefineStream(Napi::Env env, Napi::Object exports) {
  exports.Set("StreamReader", ReaderObject::Define(env));
  exports.Set("StreamWriter", WriterObject::Define(env));
}

}  // namespace ashlar
