// Preloaded into the program: system calls that fail when a test says so.
//   HEADGATE_FAIL="CALL N ERRNO"   the Nth call of CALL fails with ERRNO
//   HEADGATE_FAIL="CALL N 0"       before the Nth call of CALL the process gets SIGINT
//   HEADGATE_FAIL="short 0 0"      a read or write moves one byte, and every other call is interrupted
// CALL is one of read; and of files that are being written (not of standard streams) create, write, fsync, close,
// rename.
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

namespace {

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

struct Plan {
  char call[16] = "";
  int countdown = 0;
  int error = 0;
  Plan() {
    if (const char* const text = std::getenv("HEADGATE_FAIL"))
      std::sscanf(text, "%15s %d %d", call, &countdown, &error);
  }
  bool is(const char* name) const { return std::strcmp(call, name) == 0; }
  bool strikes(const char* name) {
    if (!is(name) || --countdown != 0) return false;
    if (error == 0) ::raise(SIGINT);
    errno = error;
    return error != 0;
  }
  // Every other call, of whatever kind.
  bool interrupts() {
    static bool now = false;
    if (!is("short")) return false;
    now = !now;
    if (now) errno = EINTR;
    return now;
  }
};
Plan& plan() {
  static Plan value;
  return value;
}
bool is_output(int fd) { return fd > STDERR_FILENO && (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY; }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  if ((flags & O_CREAT) != 0 && plan().strikes("create")) return -1;
  if (plan().interrupts()) return -1;
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (plan().interrupts()) return -1;
  return next<int(int, const char*, int, ...)>("openat")(folder, path, flags, mode);
}
ssize_t read(int fd, void* to, size_t size) {
  if (plan().strikes("read") || plan().interrupts()) return -1;
  return next<ssize_t(int, void*, size_t)>("read")(fd, to, plan().is("short") && size > 1 ? 1 : size);
}
ssize_t write(int fd, const void* from, size_t size) {
  if ((is_output(fd) && plan().strikes("write")) || plan().interrupts()) return -1;
  return next<ssize_t(int, const void*, size_t)>("write")(fd, from, plan().is("short") && size > 1 ? 1 : size);
}
int fsync(int fd) {
  if ((is_output(fd) && plan().strikes("fsync")) || plan().interrupts()) return -1;
  return next<int(int)>("fsync")(fd);
}
// The descriptor is gone whatever it answers, as on Linux.
int close(int fd) {
  const bool fails = (is_output(fd) && plan().strikes("close")) || plan().interrupts();
  const int error = errno;
  const int answer = next<int(int)>("close")(fd);
  if (!fails) return answer;
  errno = error;
  return -1;
}
int rename(const char* from, const char* to) noexcept {
  if (plan().strikes("rename")) return -1;
  return next<int(const char*, const char*)>("rename")(from, to);
}
}
