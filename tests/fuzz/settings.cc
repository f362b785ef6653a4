// A program's file of settings: what is read, printed and read again is the same; anything else is an error with words.
#include "process/settings.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "tests/fuzz/hang_guard.h"

namespace mantissa::fuzz {
namespace {

struct Values {
  std::string text = "text";
  std::string choice = "one";
  bool flag = false;
  std::int64_t number = 3;
  double real = 0.5;
  std::chrono::milliseconds time{1500};
  process::Bytes bytes{1024};
  std::vector<std::string> list = {"a", "b"};

  process::Settings Declare() {
    return process::Settings("fuzz", {{"text", "", &text},
                                      {"choice", "", &choice, {.choices = {"one", "two"}}},
                                      {"flag", "", &flag},
                                      {"number", "", &number, {.min = -5, .max = 1000}},
                                      {"real", "", &real},
                                      {"time", "", &time},
                                      {"bytes", "", &bytes},
                                      {"list", "", &list}});
  }
};

// A file in memory, under a name that can be opened.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("settings", MFD_CLOEXEC)) {
    Require(fd_ >= 0 && ::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
            "a file is made");
  }
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

absl::Status LoadFrom(std::string_view bytes, process::Settings& settings) {
  const MemoryFile file(bytes);
  return settings.Load({{process::kConfigFlag, file.path()}}, [](const std::string&) { return std::nullopt; });
}

}  // namespace
}  // namespace mantissa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  fuzz::Values values;
  process::Settings settings = values.Declare();
  const absl::Status loaded = fuzz::LoadFrom({reinterpret_cast<const char*>(data), size}, settings);
  if (!loaded.ok()) {
    fuzz::Require(!loaded.message().empty(), "an error has words");
    return 0;
  }
  fuzz::Require(values.number >= -5 && values.number <= 1000, "bounds hold");
  fuzz::Require(values.choice == "one" || values.choice == "two", "choices hold");
  fuzz::Values again;
  process::Settings reread = again.Declare();
  fuzz::Require(fuzz::LoadFrom(settings.Print(), reread).ok(), "what was printed can be read");
  fuzz::Require(again.text == values.text && again.flag == values.flag && again.number == values.number &&
                    again.time == values.time && again.bytes.count == values.bytes.count && again.list == values.list,
                "and says the same");
  return 0;
}
