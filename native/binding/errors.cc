#include "native/binding/errors.h"

namespace ashlar {
namespace {

const char* CodeOf(MediumError error) {
  switch (error) {
    case MediumError::kNone:
      return nullptr;
    case MediumError::kNotFound:
      return "STORE_NOT_FOUND";
    case MediumError::kExists:
      return "STORE_EXISTS";
    case MediumError::kInUse:
      return "STORE_IN_USE";
    case MediumError::kForeignSignature:
      return "STORE_FOREIGN_SIGNATURE";
    case MediumError::kNoSpace:
      return "STORE_NO_SPACE";
    case MediumError::kTooSmall:
      return "STORE_TOO_SMALL";
    case MediumError::kInvalid:
      return "STORE_INVALID";
    case MediumError::kUnsupported:
      return "STORE_UNSUPPORTED";
    case MediumError::kPermission:
      return "STORE_IO";
    case MediumError::kIo:
      return "STORE_IO";
  }
  return "STORE_IO";
}

struct Words {
  const char* code;
  const char* text;
};

Words WordsOf(Status status) {
  switch (status) {
    case Status::kOk:
      return {nullptr, ""};
    case Status::kOutOfRange:
      return {"STORE_INVALID", "is asked for a range outside of itself"};
    case Status::kNoSpace:
      return {"STORE_NO_SPACE", "has no space left"};
    case Status::kDamaged:
      return {"STORE_CORRUPT", "is damaged"};
    case Status::kIoError:
      return {"STORE_IO", "cannot be read or written"};
    case Status::kOffline:
      return {"STORE_CLOSED", "is closed"};
    case Status::kReadOnly:
      return {"STORE_INVALID", "is open for reading only"};
    case Status::kBusy:
      return {"STORE_IN_USE", "is busy"};
    case Status::kNotFound:
      return {"STORE_NOT_FOUND", "has no such thing"};
    case Status::kExists:
      return {"STORE_EXISTS", "has one of that name already"};
    case Status::kInvalid:
      return {"STORE_INVALID", "was asked for something it cannot do"};
    case Status::kNotAPool:
      return {"STORE_NOT_A_POOL", "does not hold an ashlar pool"};
    case Status::kCorrupt:
      return {"STORE_CORRUPT", "holds an ashlar pool whose metadata is damaged"};
    case Status::kTooSmall:
      return {"STORE_TOO_SMALL", "is too small for its pool"};
    case Status::kHasSnapshots:
      return {"STORE_HAS_SNAPSHOTS", "has snapshots"};
    case Status::kHasClones:
      return {"STORE_HAS_CLONES", "has clones"};
    case Status::kLaterSnapshots:
      return {"STORE_LATER_SNAPSHOTS", "has later snapshots"};
    case Status::kVersion:
      return {
          "STORE_VERSION",
          "holds a pool in a format that this ashlar does not know: it was made by a newer one, or "
          "by one before the first release"};
    case Status::kTooFew:
      return {"STORE_TOO_FEW_DEVICES", "cannot be opened"};
    case Status::kForeign:
      return {"STORE_FOREIGN_DEVICE", "cannot be opened"};
    case Status::kDiverged:
      return {"STORE_DIVERGED", "cannot be opened"};
    case Status::kOwned:
      return {"STORE_OWNED", "is not opened"};
  }
  return {"STORE_IO", "failed"};
}

}  // namespace

Failure FromMedium(const MediumFailure& failure) { return {CodeOf(failure.error), failure.text}; }

Failure FromStatus(Status status, const std::string& path, const std::string& why) {
  const Words words = WordsOf(status);
  if (words.code == nullptr) return {};
  return {words.code, path + " " + words.text + (why.empty() ? "" : ": " + why)};
}

Napi::Error ToError(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.text);
  error.Value().Set("code", failure.code);
  return error;
}

}  // namespace ashlar
