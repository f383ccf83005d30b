// Texts through a mixer, in passes of the caller's choice.
#pragma once

#include <cmath>
#include <numeric>
#include <vector>

#include "headgate/attention/mixer.hpp"
#include "headgate/attention/rope.hpp"
#include "support/thread_executor.hpp"

using Texts = std::vector<std::vector<float>>;  // of each text (rows, hidden_size)

// The next rows of every text in one pass: rows[s] of text s, whose state knows where it is. They are replaced by what
// the mixer makes of them.
template <class M>
headgate::Status mix_next(const M& mixer, std::vector<typename M::State>& states,
                          const std::vector<headgate::index_t>& rows, Texts& texts, headgate::Context& ctx) {
  using namespace headgate;
  const index_t width = mixer.hidden_size();
  const index_t half = mixer.rope() == nullptr ? 0 : mixer.rope()->half();
  const index_t total = std::accumulate(rows.begin(), rows.end(), index_t{0});
  std::vector<float> x, cosines(as_size(total * half)), sines(cosines.size());
  std::vector<SequenceRows> sequences;
  std::vector<typename M::State*> pointers;
  index_t row = 0;
  for (std::size_t s = 0; s < states.size(); ++s) {
    const index_t first = states[s].position();
    sequences.push_back({rows[s], first});
    pointers.push_back(&states[s]);
    x.insert(x.end(), texts[s].begin() + first * width, texts[s].begin() + (first + rows[s]) * width);
    if (half > 0) {
      mixer.rope()->angles(first, states[s].context_size(), {cosines.data() + row * half, rows[s], half},
                           {sines.data() + row * half, rows[s], half});
    }
    row += rows[s];
  }
  const Rows y(x.data(), total, width);
  const MixerInput in{y, sequences, {cosines.data(), total, half}, {sines.data(), total, half}};
  const Status status = mixer.forward(in, pointers, y, ctx);
  const float* next = x.data();
  for (std::size_t s = 0; s < states.size(); ++s) {
    const std::int64_t count = std::int64_t{rows[s]} * width;
    std::copy(next, next + count, texts[s].begin() + sequences[s].first_position * width);
    next += count;
  }
  return status;
}

// One text in passes of so many rows, on so many threads.
template <class M>
std::vector<float> mixed(const M& mixer, const std::vector<float>& text, headgate::index_t chunk,
                         headgate::index_t threads = 1, headgate::index_t spare = 0,
                         headgate::CacheType cache = headgate::CacheType::f32) {
  using namespace headgate;
  const auto length = static_cast<index_t>(text.size() / as_size(mixer.hidden_size()));
  ThreadExecutor executor(threads);
  Context ctx(executor);
  Texts texts{text};
  std::vector<typename M::State> states;
  states.push_back(mixer.make_state({length, chunk, spare, cache}));
  for (index_t first = 0; first < length; first += chunk) {
    throw_if_error(mix_next(mixer, states, {std::min(chunk, length - first)}, texts, ctx));
  }
  return texts[0];
}

// The norm of what is wrong, over that of what would be exact.
inline double relative_error(const std::vector<float>& found, const std::vector<float>& exact) {
  double squares = 0.0;
  double errors = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    squares += double(exact[i]) * double(exact[i]);
    errors += (double(found[i]) - double(exact[i])) * (double(found[i]) - double(exact[i]));
  }
  return std::sqrt(errors / squares);
}
