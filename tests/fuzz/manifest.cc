// A checkpoint's manifest, which may be damaged: what is read reads the same once written again.
#include "worker/checkpoint/manifest.h"

#include <string_view>

#include "tests/fuzz/hang_guard.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mantissa;
  const fuzz::HangGuard guard;
  const auto parsed = trainer::ParseManifest(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  for (const trainer::ManifestFile& file : parsed->files) {
    fuzz::Require(file.name.find('/') == std::string::npos && file.name != ".." && !file.name.empty(),
                  "a file's name leads nowhere else");
  }
  const std::string text = trainer::EncodeManifest(*parsed);
  const auto again = trainer::ParseManifest(text);
  fuzz::Require(again.ok(), "what was written can be read");
  fuzz::Require(trainer::EncodeManifest(*again) == text, "and says the same");
  return 0;
}
