#include "flags.hpp"

#include <CLI/CLI.hpp>

#include "numbers.hpp"

void Flags::value(const std::string& names, const char* unit, const char* help,
                  std::function<void(const std::string&)> read) {
  const auto callback = [read = std::move(read)](const CLI::results_t& values) {
    read(values.back());
    return true;
  };
  command_.add_option(names, callback, help)->type_name(unit);
}

void Flags::text(const std::string& names, const char* unit, const char* help, std::optional<std::string>& target) {
  value(names, unit, help, [&target](const std::string& text) { target = text; });
}

void Flags::positional(const char* name, const char* help, std::optional<std::string>& target) {
  command_.add_option(name, target, help)->required()->type_name("");
}

void Flags::texts(const std::string& names, const char* unit, const char* help, std::vector<std::string>& target) {
  const auto callback = [&target](const CLI::results_t& values) {
    target = values;
    return true;
  };
  command_.add_option(names, callback, help)
      ->type_name(unit)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Flags::integer(const std::string& names, const char* help, std::int64_t low, std::int64_t high,
                    std::int64_t& target) {
  const std::string flag = names.substr(0, names.find(','));
  value(names, "N", help, [=, &target](const std::string& text) { target = parse_integer(flag, text, low, high); });
}

void Flags::real(const std::string& names, const char* help, double low, double high, float& target) {
  const std::string flag = names.substr(0, names.find(','));
  value(names, "X", help, [=, &target](const std::string& text) { target = parse_real(flag, text, low, high); });
}

void Flags::on(const std::string& names, const char* help, bool& target) {
  command_.add_flag(names, target, help)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

void Flags::model(std::optional<std::string>& target) {
  text("-m,--model", "PATH", "Hugging Face folder or GGUF file (default: the demo model)", target);
}

void Flags::prompt(std::optional<std::string>& text_target, std::optional<std::string>& file) {
  text("-p,--prompt", "TEXT", "the text to begin with", text_target);
  text("-f,--file", "FILE", "... or the file to read it from (-: standard input)", file);
}

void Flags::compute(std::optional<headgate::Compute>& target) {
  value("--compute", "TYPE",
        "activations: int8 at quantized weights, bf16 at weights in bf16, or f32, exact and slow (int8)",
        [&target](const std::string& text) {
          for (const headgate::Compute known : headgate::all_computes) {
            if (text == name_of(known)) target = known;
          }
          if (!target)
            throw_usage("--compute", "got '" + headgate::escaped(text, 80) + "', allowed are int8, bf16 and f32");
        });
}

void Flags::lora(std::optional<std::string>& target) {
  text("--lora", "FOLDER", "a LoRA as PEFT saves it, added to the weights that it changes, which are float32 then",
       target);
}

void Flags::cache_type(headgate::CacheType& target) {
  value("--cache-type", "TYPE", "keys and values of the context: f32, f16, or q8_0, eight bits (f32)",
        [&target](const std::string& text) {
          for (std::size_t i = 0; i < headgate::cache_type_names.size(); ++i) {
            if (text != headgate::cache_type_names[i]) continue;
            target = static_cast<headgate::CacheType>(i);
            return;
          }
          throw_usage("--cache-type", "got '" + headgate::escaped(text, 80) + "', allowed are f32, f16 and q8_0");
        });
}

void Flags::threads(std::int64_t& target) {
  integer("-t,--threads", "0, -1: one on each processor (-1)", -1, 1024, target);
  isa();
}

void Flags::isa() { text("--isa", "NAME", "kernels no better than these (HEADGATE_ISA, or the best)", isa_); }

void Flags::session(std::int64_t& context, std::int64_t& thread_count, std::int64_t& batch_rows,
                    std::int64_t& ubatch_rows) {
  integer("-c,--ctx-size", "positions; 0: what the model was made for (0)", 0, any_count, context);
  threads(thread_count);
  integer("-b,--batch-size", "prompt rows given at a time (2048)", 1, INT32_MAX, batch_rows);
  integer("--ubatch-size", "-ub N: ... and in one forward pass (512)", 1, INT32_MAX, ubatch_rows);
}

void Flags::examples(const std::vector<std::string>& lines) {
  std::string footer = "Examples:";
  for (const std::string& line : lines) footer += "\n  headgate " + line;
  command_.footer(footer + '\n');
}
