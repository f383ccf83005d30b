// What encoding and loading cost: MB/s of one core on texts of many kinds, for every tokenizer that is at hand, and the
// memory that a call of encode holds at its peak; then the time that a vocabulary of 250,000 tokens takes to load.
// Seconds are of the processor (std::clock), so that what else runs on the machine counts for little.
//   bench_tokenizer [--quick] [MODEL ...]
// MODEL: a folder with tokenizer.json, a tokenizer.json or a GGUF file; without any, those of ../shared/data/tokenizers
// and the demo model's.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "headgate/tokenizer/load_tokenizer.hpp"

namespace {

std::size_t held = 0, peak = 0;  // bytes, by operator new
constexpr std::size_t header = alignof(std::max_align_t);

}  // namespace

// Not inlined: compilers find an allocation and its release mismatched where they see one of them only.
HEADGATE_NOINLINE void* operator new(std::size_t size) {
  auto* const block = static_cast<std::byte*>(std::malloc(size + header));
  if (block == nullptr) throw std::bad_alloc();
  std::memcpy(block, &size, sizeof size);
  peak = std::max(peak, held += size);
  return block + header;
}
HEADGATE_NOINLINE void operator delete(void* pointer) noexcept {
  if (pointer == nullptr) return;
  std::byte* const block = static_cast<std::byte*>(pointer) - header;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof size);
  held -= size;
  std::free(block);
}
HEADGATE_NOINLINE void operator delete(void* pointer, std::size_t) noexcept { operator delete(pointer); }

namespace {

using namespace headgate;

template <class F>
double cpu_seconds(F&& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// The least of some runs: what the work costs undisturbed.
template <class F>
double least_seconds(int runs, F&& work) {
  double least = cpu_seconds(work);
  for (int i = 1; i < runs; ++i) least = std::min(least, cpu_seconds(work));
  return least;
}

struct Text {
  std::string name;
  std::string text;
};

template <class Append>
Text generated(const char* name, std::size_t size, Append append) {
  Text text{name, {}};
  std::mt19937 chance(7);
  while (text.text.size() < size) append(text.text, chance);
  return text;
}

void append_between(std::string& text, std::mt19937& chance, char32_t first, char32_t last) {
  append_utf8(text, first + static_cast<char32_t>(chance() % (last - first + 1)));
}

std::vector<Text> texts(bool quick) {
  std::vector<Text> all;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(HEADGATE_SOURCE_DIR "/../shared/data/text", none)) {
    std::string text = read_small_file(entry.path().string(), max_text_size);
    all.push_back({entry.path().filename().string(), text.substr(0, text.rfind('\n', std::size_t{1} << 20))});
  }
  std::sort(all.begin(), all.end(), [](const Text& a, const Text& b) { return a.name < b.name; });
  const std::size_t size = std::size_t{1} << (quick ? 18 : 20);
  const auto between = [](char32_t first, char32_t last) {
    return [=](std::string& text, std::mt19937& chance) { append_between(text, chance, first, last); };
  };
  all.push_back(generated("random digits", size, between('0', '9')));
  all.push_back(generated("numbers", size, [](std::string& text, std::mt19937& chance) {
    text += std::to_string(chance() >> chance() % 32) + ' ';
  }));
  all.push_back(generated("random letters", size, between('a', 'z')));
  all.push_back(generated("words of letters", size, [](std::string& text, std::mt19937& chance) {
    text += chance() % 6 == 0 ? ' ' : static_cast<char>('a' + chance() % 26);
  }));
  all.push_back(generated("punctuation", size, between('!', '/')));
  all.push_back(generated("ASCII", size, between(' ', '~')));
  all.push_back(generated("emoji", size, between(0x1F300, 0x1F6C5)));
  all.push_back(generated("Chinese", size, between(0x4E00, 0x9FA5)));
  all.push_back(generated("Cyrillic", size, between(0x410, 0x44F)));
  all.push_back(
      generated("line ends", size, [](std::string& text, std::mt19937& chance) { text += " \n\r\t"[chance() % 4]; }));
  all.push_back(generated("any character", size, [](std::string& text, std::mt19937& chance) {
    const auto c = static_cast<char32_t>(chance() % 0x20000);
    if (c < 0xD800 || c > 0xDFFF) append_utf8(text, c);
  }));
  all.push_back({"4 MB of a", std::string(std::size_t{4} << 20, 'a')});
  all.push_back({"4 MB of space", std::string(std::size_t{4} << 20, ' ')});
  return all;
}

void encode_texts(const std::string& name, const std::string& path, const std::vector<Text>& all, int runs) {
  const Tokenizer tokenizer = load_tokenizer(path);
  for (const Text& text : all) {
    std::size_t tokens = 0;
    held = peak = 0;
    tokens = tokenizer.encode(text.text).size();
    const auto megabytes = static_cast<double>(text.text.size()) * 1e-6;
    const auto memory = static_cast<double>(peak) / static_cast<double>(text.text.size());
    const double seconds = least_seconds(runs, [&] { tokens = tokenizer.encode(text.text).size(); });
    std::printf("%-14.14s %-22s %9zu %8.2f %8.1f\n", name.c_str(), text.name.c_str(), tokens, megabytes / seconds,
                memory);
  }
}

// Every token but the first 256 is a pair of earlier ones, as merges learn them.
std::string large_vocabulary(std::size_t count) {
  std::mt19937 chance(7);
  std::vector<std::string> tokens;
  std::string vocabulary, merges;
  const auto quoted = [](const std::string& token) {
    std::string text;
    for (const char c : token) text.append(c == '"' || c == '\\' ? "\\" : "") += c;
    return text;
  };
  Vocabulary known;
  const auto add = [&](std::string token) {
    if (known.add(token, static_cast<std::int32_t>(tokens.size())) != Vocabulary::Added::yes) return false;
    vocabulary.append(tokens.empty() ? "\"" : ",\"").append(quoted(token)).append("\":") +=
        std::to_string(tokens.size());
    tokens.push_back(std::move(token));
    return true;
  };
  for (const char32_t c : byte_alphabet) {
    std::string character;
    append_utf8(character, c);
    add(std::move(character));
  }
  while (tokens.size() < count) {
    const std::string left = tokens[chance() % tokens.size()], right = tokens[chance() % tokens.size()];
    if (left.size() + right.size() > 16 || !add(left + right)) continue;
    merges.append(merges.empty() ? "\"" : ",\"").append(quoted(left)).append(" ").append(quoted(right)) += '"';
  }
  return R"({"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},)"
         R"("post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" +
         vocabulary + R"(},"merges":[)" + merges + "]}}";
}

void load(int runs) {
  const std::string json = large_vocabulary(250'000);
  held = peak = 0;
  {
    const Tokenizer tokenizer = Tokenizer::from_json(json);
  }
  const double memory = static_cast<double>(peak) * 1e-6;
  const double seconds = least_seconds(runs, [&] { const Tokenizer tokenizer = Tokenizer::from_json(json); });
  std::printf("tokenizer.json of 250000 tokens, %.1f MB: loaded in %.3f s, with %.0f MB at the peak\n",
              static_cast<double>(json.size()) * 1e-6, seconds, memory);
}

}  // namespace

int main(int argc, char** argv) try {
  bool quick = false;
  std::vector<std::pair<std::string, std::string>> models;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      quick = true;
    } else {
      models.emplace_back(std::filesystem::path(argument).filename().string(), argument);
    }
  }
  if (models.empty()) {
    models.emplace_back("tales", HEADGATE_SOURCE_DIR "/examples/models/tales");
    std::error_code none;
    for (const auto& entry :
         std::filesystem::directory_iterator(HEADGATE_SOURCE_DIR "/../shared/data/tokenizers", none)) {
      std::string name = entry.path().filename().string();
      const bool file = entry.path().extension() == ".gguf";
      if (name.starts_with("ggml-vocab-")) name = entry.path().stem().string().substr(11);
      if (file || std::filesystem::exists(entry.path() / "tokenizer.json")) {
        models.emplace_back(name, entry.path().string());
      }
    }
    std::sort(models.begin() + 1, models.end());
  }
  std::printf("%s\n", HEADGATE_FLAGS);
  load(quick ? 3 : 7);
  std::printf("%-14s %-22s %9s %8s %8s\n", "tokenizer", "text", "tokens", "MB/s", "peak B/B");
  const std::vector<Text> all = texts(quick);
  for (const auto& [name, path] : models) encode_texts(name, path, all, quick ? 2 : 5);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
