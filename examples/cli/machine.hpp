// What the program takes of the machine: the best kernels it has, the processors it may use, and the date.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

// Chooses the kernels, no better than --isa says, or where it is not given HEADGATE_ISA. Throws a usage error for a
// name that is none.
void choose_kernels(const std::optional<std::string>& isa);
// Of those chosen: one of kernels/dispatched.hpp's kernel_names().
const char* kernels_name();

// Threads to run on: those asked for, or, for 0, one on each processor that this process is allowed.
int thread_count(std::int64_t asked);

// Where the machine is.
std::chrono::year_month_day today();
