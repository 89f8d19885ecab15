#include "base/quoted.h"

#include "check.h"

int main() {
  using kvtape::base::is_utf8;
  using kvtape::base::quoted;
  CHECK(quoted("") == "''");
  CHECK(quoted("blk.0 gr\xC3\xBC\xC3\x9F") == "'blk.0 gr\xC3\xBC\xC3\x9F'");
  CHECK(quoted(std::string_view("a\0\n\x7F", 4)) == "'a\\x00\\x0a\\x7f'");
  CHECK(quoted("\xFF\xE2\x82") == "'\\xff\\xe2\\x82'");
  for (const std::string& unit :
       {std::string("a"), std::string("\xE2\x82\xAC"), std::string("\xFF"), std::string("\n")}) {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += unit;
    const std::string shown = quoted(text, 80);
    CHECK(shown.size() <= 84 && shown.ends_with("...'") && is_utf8(shown), "%s", shown.c_str());
  }
  return kvtape::test::failures();
}
