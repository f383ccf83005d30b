#include "headgate/analysis/escaped_xml.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("text from outside is escaped, and bytes that XML does not know go") {
  CHECK(escaped_xml("a<b>&\"'\x01") == "a&lt;b&gt;&amp;&quot;&#39;?");
}
