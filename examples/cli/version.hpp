// headgate --version: what was built, with what, and what it will use on this machine.
#pragma once

#include <string>

std::string version_text();
