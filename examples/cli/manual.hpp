// The man pages and the completions of the program, made of the same declarations of flags as --help.
#pragma once

#include <string>

namespace CLI {
class App;
}

// man(7) of the program, or of the command of this name. Throws a usage error for one that is none.
std::string man_page(const CLI::App& app, const std::string& command);
// shell: bash or zsh; a usage error for others.
std::string completion(const CLI::App& app, const std::string& shell);
