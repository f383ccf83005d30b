#include "headgate/analysis/escaped_xml.hpp"

#include "support/catch.hpp"

using namespace headgate;

TEST_CASE("text from outside is escaped, and bytes that XML does not know go") {
  CHECK(escaped_xml("a<b>&\"'\x01") == "a&lt;b&gt;&amp;&quot;&#39;?");
}

TEST_CASE("of bytes below the space only line ends and tabs stay") {
  CHECK(escaped_xml("\n\t\r\x1f \x7f\xc3\xa9") == "\n\t?? \x7f\xc3\xa9");
}
