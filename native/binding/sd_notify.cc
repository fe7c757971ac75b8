// sdNotify(text): tells the service manager a state ("READY=1", "STATUS=…", "WATCHDOG=1"), as
// sd_notify(3) does: one datagram to the AF_UNIX socket named by $NOTIFY_SOCKET. Node has no
// AF_UNIX datagrams, hence here.
#include "native/binding/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace ashlar {
namespace {

bool Notify(const std::string& text) {
  const char* const name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr || (name[0] != '/' && name[0] != '@') || name[1] == '\0') return false;
  sockaddr_un address{};
  const size_t length = std::strlen(name);
  if (length >= sizeof(address.sun_path)) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name, length);
  if (name[0] == '@') address.sun_path[0] = '\0';  // Linux's abstract namespace.
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const ssize_t sent = sendto(fd, text.data(), text.size(), MSG_NOSIGNAL,
                              reinterpret_cast<const sockaddr*>(&address),
                              static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
  close(fd);
  return sent == static_cast<ssize_t>(text.size());
}

}  // namespace

Napi::Value SdNotify(const Napi::CallbackInfo& info) {
  const bool sent =
      info.Length() > 0 && info[0].IsString() && Notify(info[0].As<Napi::String>().Utf8Value());
  return Napi::Boolean::New(info.Env(), sent);
}

}  // namespace ashlar
