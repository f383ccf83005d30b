// --help, the man pages and the completions of the program, all made of the same declarations of flags.
#pragma once

#include <string>

namespace CLI {
class App;
}

// --help of the program or of a command, in 80 columns.
std::string help_page(const CLI::App& page);
// man(7) of the program, or of the command of this name. Throws a usage error for one that is none.
std::string man_page(const CLI::App& app, const std::string& command);
// shell: bash or zsh; a usage error for others.
std::string completion(const CLI::App& app, const std::string& shell);
