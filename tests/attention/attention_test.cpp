#include "headgate/attention/attention.hpp"

#include <vector>

#include "support/catch.hpp"

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
