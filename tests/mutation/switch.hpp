// What mutants.py writes into headers: every fault is in the program, and HEADGATE_MUTANT=<number> turns one of them
// on. Code that the compiler itself evaluates keeps its meaning.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace mutation {

inline int active() {
  static const int number = [] {
    const char* const text = std::getenv("HEADGATE_MUTANT");
    return text == nullptr ? 0 : std::atoi(text);
  }();
  return number;
}
// Leaves the file $HEADGATE_REACHED: the fault was run, whether or not a test noticed.
inline bool reached() {
  static const bool written = [] {
    const char* const name = std::getenv("HEADGATE_REACHED");
    std::FILE* const file = name == nullptr ? nullptr : std::fopen(name, "w");
    return file != nullptr && std::fclose(file) == 0;
  }();
  static_cast<void>(written);
  return true;
}
constexpr bool on(int number) { return !__builtin_is_constant_evaluated() && active() == number && reached(); }

template <int number, class T>
constexpr T constant(T value, T other) {
  return on(number) ? other : value;
}

// `a < b` is written `a < Less<1>() < b`, which binds as before, and is `a <= b` where fault 1 is on.
#define HEADGATE_MUTATED_COMPARISON(Name, op, other)                                      \
  template <int number>                                                                   \
  struct Name {};                                                                         \
  template <int number, class T>                                                          \
  struct LeftOf##Name {                                                                   \
    const T& left;                                                                        \
  };                                                                                      \
  template <int number, class T>                                                          \
  constexpr LeftOf##Name<number, T> operator op(const T & left, Name<number>) {           \
    return {left};                                                                        \
  }                                                                                       \
  template <int number, class T, class U>                                                 \
  constexpr bool operator op(const LeftOf##Name<number, T>& comparison, const U& right) { \
    return on(number) ? comparison.left other right : comparison.left op right;           \
  }
HEADGATE_MUTATED_COMPARISON(Less, <, <=)
HEADGATE_MUTATED_COMPARISON(LessOrEqual, <=, <)
HEADGATE_MUTATED_COMPARISON(Greater, >, >=)
HEADGATE_MUTATED_COMPARISON(GreaterOrEqual, >=, >)
HEADGATE_MUTATED_COMPARISON(Equal, ==, !=)
HEADGATE_MUTATED_COMPARISON(NotEqual, !=, ==)
#undef HEADGATE_MUTATED_COMPARISON

}  // namespace mutation
