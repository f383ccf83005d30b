#include "headgate/core/atomic_word.hpp"

#include <chrono>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using headgate::AtomicWord;

TEST_CASE("operations on an atomic word give the value before") {
  AtomicWord word(7);
  CHECK(word.load() == 7);
  CHECK(word.exchange(9) == 7);
  CHECK(word.add(3) == 9);
  CHECK(word.subtract(2) == 12);
  CHECK(word.load() == 10);
  word.store(1);
  CHECK(word.load() == 1);
  CHECK(word.subtract(2) == 1);
  CHECK(word.load() == ~AtomicWord::Word{0});

  AtomicWord::Word expected = 3;
  CHECK_FALSE(word.compare_exchange(expected, 5));
  CHECK(expected == ~AtomicWord::Word{0});
  while (!word.compare_exchange(expected, 5)) {
  }
  CHECK(word.load() == 5);
}

TEST_CASE("no count is lost between threads") {
  AtomicWord word(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) word.add(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(word.load() == 40'000);
}

TEST_CASE("who sleeps on a word is woken, and nobody sleeps on one that has changed") {
  AtomicWord word(0);
  word.sleep(1);  // returns at once
  std::thread sleeper([&] {
    while (word.load() == 0) word.sleep(0);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  word.store(1);
  word.wake();
  sleeper.join();
  CHECK(word.load() == 1);
}
