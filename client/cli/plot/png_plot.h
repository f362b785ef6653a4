// A picture as a PNG.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "client/cli/plot/picture.h"

namespace mantissa::cli {

inline constexpr int kLeastPngWidth = 320;
inline constexpr int kLeastPngHeight = 240;
inline constexpr int kMostPngSide = 8192;

// Pixels between the sides of the picture and the drawing, whose left side is the first iteration and whose right side
// the last.
inline constexpr int kPngLeft = 88;
inline constexpr int kPngRight = 24;

// Marks of skipped iterations, and of values that are no numbers, are in this colour, which nothing else has.
inline constexpr int kPngMarkRed = 213, kPngMarkGreen = 0, kPngMarkBlue = 0;

// The bytes of a PNG of that many pixels, dark on white, its curves told apart by people who don't see all colours.
// INTERNAL when the library fails.
absl::StatusOr<std::string> DrawPng(const Picture& picture, int width, int height);

}  // namespace mantissa::cli
