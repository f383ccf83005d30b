#include "headgate/attention/attention.hpp"

#include <vector>

#include "support/catch.hpp"
#include "support/status.hpp"

using namespace headgate;

TEST_CASE("what does not fit an attention is named with both numbers") {
  std::vector<float> data(64);
  AttentionInput in{{data.data(), 3, 4}, 2, {data.data(), 3, 2}, {data.data(), 3, 2}};
  const Rows y(data.data(), 3, 4);
  CHECK(check_attention(in, y, 4, 2, 5).ok());
  const Status width = check_attention(in, y, 5, 2, 5);
  CHECK(width.code == ErrorCode::usage);
  CHECK(width.found == 4);
  CHECK(width.allowed == 5);
  CHECK(check_attention(in, y, 4, 2, 4).code == ErrorCode::limit);
  CHECK(check_attention(in, {data.data(), 2, 4}, 4, 2, 5).code == ErrorCode::usage);
  CHECK(check_attention(in, {data.data(), 3, 5}, 4, 2, 5).code == ErrorCode::usage);
  CHECK(check_attention(in, y, 4, 3, 5).code == ErrorCode::usage);
  in.sines.rows = 2;
  CHECK(check_attention(in, y, 4, 2, 5).code == ErrorCode::usage);
  in.sines = {data.data(), 3, 1};
  CHECK(check_attention(in, y, 4, 2, 5).code == ErrorCode::usage);
  in.sines = in.cosines;
  in.cosines.rows = 2;
  CHECK(check_attention(in, y, 4, 2, 5).code == ErrorCode::usage);
  in.cosines.rows = 3;
  in.first_position = static_cast<index_t>(max_index);  // no wrap-around
  CHECK(check_attention(in, y, 4, 2, 5).code == ErrorCode::limit);
  in.first_position = -1;
  CHECK(check_attention(in, y, 4, 2, 5).code == ErrorCode::usage);
}

TEST_CASE("each part of an attention's input is named with what it has and what fits") {
  std::vector<float> data(64);
  const AttentionInput good{{data.data(), 3, 4}, 2, {data.data(), 3, 2}, {data.data(), 3, 2}};
  CHECK(AttentionInput{}.first_position == 0);
  const auto outcome = [&](auto change, index_t context = 5) {
    AttentionInput in = good;
    Rows y(data.data(), 3, 4);
    change(in, y);
    return said(check_attention(in, y, 4, 2, context));
  };
  CHECK(outcome([](AttentionInput&, Rows&) {}) == "ok");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.hidden.cols = 5; }) ==
        "usage: width of x against hidden_size (got 5, allowed 4)");
  CHECK(outcome([](AttentionInput&, Rows& y) { y.rows = 2; }) == "usage: rows of y against tokens (got 2, allowed 3)");
  CHECK(outcome([](AttentionInput&, Rows& y) { y = Rows(y.data, 3, 5); }) ==
        "usage: width of y against hidden_size (got 5, allowed 4)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.cosines.rows = 2; }) ==
        "usage: rows of cosines against tokens (got 2, allowed 3)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.sines.rows = 2; }) ==
        "usage: rows of sines against tokens (got 2, allowed 3)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.cosines.cols = 1; }) ==
        "usage: cosines of a row against half of head_dim (got 1, allowed 2)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.sines.cols = 1; }) ==
        "usage: sines of a row against half of head_dim (got 1, allowed 2)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.first_position = -1; }) == "usage: position (got -1, allowed 0)");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.first_position = 0; }, 3) == "ok");
  CHECK(outcome([](AttentionInput&, Rows&) {}, 4) ==
        "limit: positions against the size of the context (got 5, allowed 4)");
}

TEST_CASE("an attention refuses each of its matrices without data") {
  std::vector<float> data(64);
  const AttentionInput good{{data.data(), 3, 4}, 2, {data.data(), 3, 2}, {data.data(), 3, 2}};
  const auto outcome = [&](auto change) {
    AttentionInput in = good;
    Rows y(data.data() + 32, 3, 4);
    change(in, y);
    return said(check_attention(in, y, 4, 2, 5));
  };
  CHECK(outcome([](AttentionInput& in, Rows&) { in.hidden.data = nullptr; }) == "usage: rows of a matrix without data");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.cosines.data = nullptr; }) ==
        "usage: rows of a matrix without data");
  CHECK(outcome([](AttentionInput& in, Rows&) { in.sines.data = nullptr; }) == "usage: rows of a matrix without data");
  CHECK(outcome([](AttentionInput&, Rows& y) { y.data = nullptr; }) == "usage: rows of a matrix without data");
}
