// An object reads members of a document that lives elsewhere.
// expect: use of deleted function|call to deleted
#include "headgate/io/json.hpp"

using namespace headgate;

void read(const std::string& text) {
#ifdef HEADGATE_COMPILE_FAIL
  const JsonObject object(parse_json(text, "file"), "file");
#else
  const Json json = parse_json(text, "file");
  const JsonObject object(json, "file");
#endif
  static_cast<void>(object.keys());
}
