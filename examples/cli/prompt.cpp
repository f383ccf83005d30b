#include "prompt.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "headgate/core/error.hpp"
#include "headgate/core/utf8.hpp"

namespace {

using headgate::Error;
using headgate::ErrorCode;

constexpr std::size_t max_text = std::size_t{64} << 20;

// A descriptor that is closed with its owner.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd > STDERR_FILENO) ::close(fd);
  }
};

std::string read_file(const std::string& path) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : path;
  const auto fail = [&name](int error) {
    throw Error(ErrorCode::io, {name, "", -1, "cannot be read: " + std::generic_category().message(error)});
  };
  const auto open_file = [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); };
  int fd = standard ? STDIN_FILENO : open_file();
  while (fd < 0 && errno == EINTR) fd = open_file();
  const Descriptor file{fd};
  if (file.fd < 0) fail(errno);
  std::string text;
  for (;;) {
    constexpr std::size_t piece = std::size_t{1} << 16;
    const std::size_t before = text.size();
    text.resize(before + piece);
    const ssize_t got = ::read(file.fd, text.data() + before, piece);
    text.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return text;
    if (got < 0 && errno != EINTR) fail(errno);
    if (text.size() > max_text) {
      throw Error(ErrorCode::limit, {name, "", -1, fmt::format("more than {} bytes of text", max_text)});
    }
  }
}

}  // namespace

std::string read_prompt(const std::optional<std::string>& text, const std::optional<std::string>& file) {
  if (text && file) throw Error(ErrorCode::usage, {"", "-p and -f", -1, "only one of them may be given"});
  if (!text && !file) throw Error(ErrorCode::usage, {"", "", -1, "no prompt; give it with -p TEXT or -f FILE"});
  return file ? read_file(*file) : *text;
}

void require_utf8(const std::string& text, const char* flag) {
  const std::size_t bad = headgate::find_invalid_utf8(text);
  if (bad == std::string::npos) return;
  throw Error(ErrorCode::bad_file, {"", flag, static_cast<std::int64_t>(bad),
                                    "not UTF-8 (found " + headgate::escaped(text.substr(bad, 4)) + ")"});
}

std::vector<std::int32_t> encode_prompt(const headgate::Tokenizer& tokenizer, const std::string& text,
                                        const char* flag) {
  std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (ids.empty()) {
    throw Error(ErrorCode::usage, {"", flag, -1,
                                   text.empty() ? "the prompt is empty, and the tokenizer puts no token in front"
                                                : "the tokenizer makes no token of the prompt"});
  }
  return ids;
}

void require_embedded(std::span<const std::int32_t> ids, headgate::index_t vocab_size,
                      const headgate::Tokenizer& tokenizer, const std::string& file) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) continue;
    throw Error(
        ErrorCode::bad_file,
        {file, "", -1,
         fmt::format("token {} of the text is \"{}\" with id {}, and the model has rows for ids 0 to {}", i,
                     headgate::escaped(tokenizer.token_text(ids[i]).value_or(""), 80), ids[i], vocab_size - 1)});
  }
}
