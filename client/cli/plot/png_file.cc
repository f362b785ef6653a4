#include "client/cli/plot/png_file.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/whole_file.h"
#include "client/cli/plot/png_plot.h"

namespace mantissa::cli {

int WritePng(const Console& console, const Picture& picture, const std::string& file, int width, int height) {
  const absl::StatusOr<std::string> png = DrawPng(picture, width, height);
  if (!png.ok()) return console.Fail(png.status());
  if (file == "-") {
    console.out.Write(*png);
    return kExitOk;
  }
  if (const absl::Status written = WriteWhole(file, *png, "--png"); !written.ok()) return console.Fail(written);
  console.out.Write(absl::StrCat(ForTerminal(file), "  ", width, " x ", height, " pixels  ",
                                 SizeText(static_cast<std::int64_t>(png->size())), "\n"));
  return kExitOk;
}

}  // namespace mantissa::cli
