// Your router beside every policy of this library: what it costs, how even its loads are, how far it agrees with plain
// top-k softmax. The router is that of example 03; one line adds it to the list. What the numbers mean is printed below
// the table; include/headgate/analysis/README.md has their formulas.
//   example_06_compare_your_router [report.html]
#include <cstdio>
#include <fstream>

#include "headgate/analysis/policy_comparison.hpp"
#include "headgate/analysis/report.hpp"
#include "prototype_router.hpp"

int main(int argc, char** argv) {
  using namespace headgate;
  Policies policies = all_policies();
  policies.push_back({"prototypes", no_law, [](const PolicyParameters& p) {
                        return PrototypeRouter(p.gate, p.hidden_size, /*margin=*/1.5f);
                      }});

  Context context;
  const Comparison table = compare_policies(skewed_input(), policies, {}, context);
  std::printf("%s\n%s\n%s\n%s", table.title.c_str(), wrapped(table.note).c_str(), table.text().c_str(),
              table.meanings().c_str());
  if (argc > 1) std::ofstream(argv[1]) << policies_page({{"program", argv[0]}}, {table});
}
