#include "base/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "check.h"

namespace {

using namespace kvtape::base;

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/kvtape_mapped_file_XXXXXX";
    path = mkdtemp(name);
  }
  std::string write(const char* name, const std::string& text) const {
    const std::string file = path + "/" + name;
    std::FILE* out = std::fopen(file.c_str(), "wb");
    std::fwrite(text.data(), 1, text.size(), out);
    std::fclose(out);
    return file;
  }
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

bool refuses(const std::string& path, ErrorCode code) {
  try {
    MappedFile file(path);
  } catch (const Error& error) {
    return error.code() == code && std::strstr(error.what(), "cannot ") != nullptr;
  }
  return false;
}

}  // namespace

int main() {
  const Folder folder;
  const std::string path = folder.write("text", "some bytes");
  MappedFile file(path);
  CHECK(text_of(file) == "some bytes");
  file.drop_pages();
  CHECK(text_of(file) == "some bytes");
  std::remove(path.c_str());
  CHECK(text_of(file) == "some bytes");

  const auto* address = file.bytes().data();
  MappedFile moved(std::move(file));
  CHECK(moved.bytes().data() == address && file.bytes().empty());
  file = MappedFile(folder.write("other", "other"));
  CHECK(text_of(file) == "other");
  file = std::move(moved);
  CHECK(text_of(file) == "some bytes" && moved.bytes().empty());

  const MappedFile empty(folder.write("empty", ""));
  CHECK(empty.bytes().empty());
  empty.drop_pages();

  const std::string pipe = folder.path + "/pipe";
  CHECK(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refuses(pipe, ErrorCode::io));
  CHECK(refuses(folder.path, ErrorCode::io));
  CHECK(refuses(folder.path + "/absent", ErrorCode::not_found));
  CHECK(refuses(folder.path + "/other/below", ErrorCode::not_found));
  CHECK(refuses(std::string("/tmp\0x", 6), ErrorCode::io));
  CHECK(std::system(("rm -r " + folder.path).c_str()) == 0);
  return kvtape::test::failures();
}
