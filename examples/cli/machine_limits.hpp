// MachineLimits: how fast so many threads of this machine read memory and multiply, measured again and again while
// something else is: other users of a machine slow both. Medians of many short pieces are what speaks.
#pragma once

#include <array>
#include <vector>

#include "headgate/core/aligned_buffer.hpp"
#include "headgate/core/executor.hpp"
#include "limit_probes.hpp"

class MachineLimits {
 public:
  // Memory to read, several times as large as the caches, which threads of one run after the other share. Throws
  // std::bad_alloc.
  MachineLimits();

  // One measurement of everything, some 40 ms.
  void sample(headgate::ExecutorRef threads);
  // Forgets them.
  void clear();

  // Bytes in a second, from memory, by the best of a few patterns. Precondition of both: there is a sample.
  double read_rate() const;
  // Operations in a second, of the unit that the kernels use for such activations.
  double operation_rate(headgate::Compute compute) const;

 private:
  using Samples = std::vector<double>;
  static constexpr std::int64_t pieces = 8;  // of a sample of each

  const LimitProbesV1& probes_;
  headgate::AlignedBuffer memory_;
  std::array<Samples, 3> read_;
  std::array<Samples, std::size(headgate::all_computes)> units_;
  std::array<std::int64_t, std::size(headgate::all_computes)> rounds_;  // of a piece
};
