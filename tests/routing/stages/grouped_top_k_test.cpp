#include "headgate/routing/stages/grouped_top_k.hpp"

#include <algorithm>
#include <numeric>

#include "headgate/kernels/scalar.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/status.hpp"

namespace {

using namespace headgate;
constexpr float masked = -std::numeric_limits<float>::infinity();

std::vector<ExpertId> choose(const GroupedTopK& select, const std::vector<float>& keys) {
  std::vector<ExpertId> chosen(as_size(select.max_k(static_cast<index_t>(keys.size()))));
  chosen.resize(as_size(select.choose<Scalar>(keys, keys, chosen)));
  return chosen;
}

// The rule once more, by sorting.
std::vector<ExpertId> sorted_choice(const GroupedTopK& select, const std::vector<float>& keys) {
  const std::size_t size = keys.size() / as_size(select.num_groups);
  const bool mean = as_size(select.keys_per_group) == size;
  std::vector<std::pair<float, index_t>> groups;  // minus strength, group
  for (index_t g = 0; g < select.num_groups; ++g) {
    std::vector<float> group(keys.begin() + g * static_cast<std::ptrdiff_t>(size),
                             keys.begin() + (g + 1) * static_cast<std::ptrdiff_t>(size));
    if (mean) {
      group.erase(std::remove(group.begin(), group.end(), masked), group.end());
      const float sum = std::accumulate(group.begin(), group.end(), 0.0f);
      groups.emplace_back(group.empty() ? -masked : -sum / static_cast<float>(group.size()), g);
    } else {
      std::sort(group.begin(), group.end(), std::greater<>());
      groups.emplace_back(-std::accumulate(group.begin(), group.begin() + select.keys_per_group, 0.0f), g);
    }
  }
  std::sort(groups.begin(), groups.end());
  std::vector<std::pair<float, ExpertId>> experts;
  for (index_t i = 0; i < select.topk_group; ++i) {
    for (std::size_t j = 0; j < size; ++j) {
      const std::size_t e = as_size(groups[as_size(i)].second) * size + j;
      if (keys[e] != masked) experts.emplace_back(-keys[e], static_cast<ExpertId>(e));
    }
  }
  std::sort(experts.begin(), experts.end());
  std::vector<ExpertId> chosen;
  for (std::size_t i = 0; i < experts.size() && i < as_size(select.k); ++i) chosen.push_back(experts[i].second);
  return chosen;
}

}  // namespace

TEST_CASE("grouped top-k agrees with a sort, with ties and masks") {
  std::mt19937 rng(7);
  const struct {
    index_t groups;
    index_t size;
  } shapes[] = {{1, 5}, {4, 2}, {5, 3}, {7, 7}, {8, 16}};
  for (const auto& shape : shapes) {
    for (int repeat = 0; repeat < 400; ++repeat) {
      GroupedTopK select{};
      select.num_groups = shape.groups;
      select.topk_group = 1 + static_cast<index_t>(rng() % as_size(shape.groups));
      select.keys_per_group = 1 + static_cast<index_t>(rng() % as_size(shape.size));
      select.k = 1 + static_cast<index_t>(rng() % as_size(select.topk_group * shape.size));
      std::vector<float> keys(as_size(shape.groups * shape.size));
      const unsigned values = repeat % 2 == 0 ? 5 : 1000;  // few values make ties
      for (float& key : keys) key = (static_cast<float>(rng() % values) - static_cast<float>(values / 2)) / 8.0f;
      if (repeat % 3 == 0) {
        for (float& key : keys) key = rng() % 5 == 0 ? masked : key;
      }
      REQUIRE(select.check(static_cast<index_t>(keys.size())).ok());
      CHECK(choose(select, keys) == sorted_choice(select, keys));
    }
  }
}

TEST_CASE("P17: raising a key never drops its expert, nor does raising it move another of its rank up past it") {
  const GroupedTopK select{4, 5, 2, 2};
  for (unsigned seed = 0; seed < 60; ++seed) {
    const std::vector<float> keys = random_floats(20, 1.0f, seed);
    for (const ExpertId e : choose(select, keys)) {
      std::vector<float> raised = keys;
      raised[as_size(e)] += 0.3f;
      const std::vector<ExpertId> after = choose(select, raised);
      CHECK(std::count(after.begin(), after.end(), e) == 1);
    }
  }
}

TEST_CASE("grouped top-k: a call for more than the chosen groups hold gets what they hold") {
  const GroupedTopK select = GroupedTopK{2, 4, 1, 2}.with_k(7);
  CHECK(choose(select, {0, 0, 3, 1, 2, 2, 1, 1}) == std::vector<ExpertId>{2, 3});
  CHECK(GroupedTopK{2, 4, 1, 2}.check(7).found == 3);
  CHECK(GroupedTopK{2, 300, 1, 1}.check(300).allowed == GroupedTopK::max_groups);
  CHECK_FALSE(GroupedTopK{2, 4, 1, 0}.check(8).ok());
  CHECK_FALSE(GroupedTopK{0, 4, 1, 2}.check(8).ok());
  CHECK_FALSE(GroupedTopK{2, 4, 0, 2}.check(8).ok());
}

TEST_CASE("grouped top-k: a call's k changes nothing but k") {
  // By their two best keys the groups are 5 and 6 strong; by one key they would be 5 and 3.
  CHECK(choose(GroupedTopK{2, 2, 1, 1}.with_k(1), {5, 0, 3, 3}) == std::vector<ExpertId>{0});
  CHECK(choose(GroupedTopK{2, 2, 1, 2}.with_k(1), {5, 0, 3, 3}) == std::vector<ExpertId>{2});
  const GroupedTopK other = GroupedTopK{4, 6, 3, 5}.with_k(7);
  CHECK(other.k == 7);
  CHECK(other.num_groups == 6);
  CHECK(other.topk_group == 3);
  CHECK(other.keys_per_group == 5);
}

TEST_CASE("grouped top-k says how many it chooses and, of every setting, what is allowed") {
  CHECK(GroupedTopK{3, 4, 2, 1}.min_k(8) == 0);
  CHECK(GroupedTopK{3, 4, 2, 1}.max_k(8) == 3);
  CHECK(GroupedTopK{3, 1, 1, 1}.max_k(2) == 2);
  const auto outcome = [](const GroupedTopK& select, index_t experts) { return said(select.check(experts)); };
  CHECK(outcome({2, 4, 1, 2}, 8) == "ok");
  CHECK(outcome({8, 4, 4, 2}, 8) == "ok");
  CHECK(outcome({1, 1, 1, 1}, 1) == "ok");
  CHECK(outcome({1, 256, 1, 1}, 256) == "ok");
  CHECK(outcome({2, 0, 1, 1}, 8) == "usage: groups of experts, at least (got 0, allowed 1)");
  CHECK(outcome({2, 257, 1, 1}, 257) == "usage: groups of experts (got 257, allowed 256)");
  CHECK(outcome({2, 4, 1, 1}, 9) == "usage: experts beyond whole groups (got 1, allowed 0)");
  CHECK(outcome({2, 4, 0, 1}, 8) == "usage: topk_group, at least (got 0, allowed 1)");
  CHECK(outcome({2, 4, 5, 1}, 8) == "usage: topk_group against groups (got 5, allowed 4)");
  CHECK(outcome({2, 4, 1, 0}, 8) == "usage: keys_per_group, at least (got 0, allowed 1)");
  CHECK(outcome({2, 4, 1, 3}, 8) == "usage: keys_per_group against experts of a group (got 3, allowed 2)");
  CHECK(outcome({0, 4, 1, 1}, 8) == "usage: k of top-k, at least (got 0, allowed 1)");
  CHECK(outcome({3, 4, 1, 1}, 8) == "usage: k of top-k against experts of topk_group groups (got 3, allowed 2)");
}

TEST_CASE("two keys of a group count unless said otherwise") {
  CHECK(GroupedTopK{1, 1, 1}.keys_per_group == 2);
  CHECK(GroupedTopK::max_groups == 256);
  CHECK_FALSE(GroupedTopK::needs_nonnegative_scores);
}

TEST_CASE("experts in no group compete whatever groups are chosen, and count for none") {
  GroupedTopK select{3, 2, 1, 2, 2};
  CHECK(select.check(6).ok());
  CHECK(choose(select, {1.0f, 1.0f, 5.0f, -9.0f, 0.5f, 0.25f}) == std::vector<ExpertId>{0, 1, 4});
  CHECK(choose(select, {1.0f, 1.0f, 5.0f, -9.0f, masked, 7.0f}) == std::vector<ExpertId>{5, 0, 1});
  CHECK(choose(select.with_k(1), {1.0f, 1.0f, 0.0f, 0.0f, 1.0f, 2.0f}) == std::vector<ExpertId>{5});
  CHECK(choose(select, {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f}) == std::vector<ExpertId>{0, 1, 4});
  select.k = 4;
  CHECK(select.check(6).ok());
  CHECK(said(GroupedTopK{5, 2, 1, 2, 2}.check(6)) ==
        "usage: k of top-k against experts of topk_group groups (got 5, allowed 4)");
}
