// What the program says to people, on standard error.
#pragma once

#include <cstdio>
#include <string>

// That it cannot be written is no reason to stop.
inline void note(const std::string& text) { std::fputs(text.c_str(), stderr); }
