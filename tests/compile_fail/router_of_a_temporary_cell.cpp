// A recurrent router refers to the cell that it shares with the routers of other layers, so the cell must outlive it.
// expect: use of deleted function|call to deleted
#include "headgate/routing/gru_router.hpp"

using namespace headgate;

void make(const RecurrentWeights<float>& weights, ConstRows projection, ConstRows gate) {
  RecurrentCell cell = RecurrentCell::create(weights, 4, 4).value();
#ifdef HEADGATE_COMPILE_FAIL
  static_cast<void>(GruRouter<>::create(std::move(cell), projection, gate, TopK{1}, Renormalize{}));
#else
  static_cast<void>(GruRouter<>::create(cell, projection, gate, TopK{1}, Renormalize{}));
#endif
}
