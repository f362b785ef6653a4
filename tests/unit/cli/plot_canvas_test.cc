// Dots, lines and signs in the cells of a terminal.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/plot/cell_canvas.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Texts(const CellCanvas& canvas) {
  std::vector<std::string> texts;
  for (const std::vector<Span>& row : canvas.Rows()) {
    std::string& text = texts.emplace_back();
    for (const Span& span : row) text += span.text;
  }
  return texts;
}

TEST(CellCanvas, EveryDotOfABrailleCellHasItsPlace) {
  const std::vector<std::string> signs = {"⠁", "⠈", "⠂", "⠐", "⠄", "⠠", "⡀", "⢀"};
  for (int i = 0; i < 8; ++i) {
    CellCanvas canvas(1, 1, Glyphs::kBraille);
    canvas.Dot(i % 2, i / 2, Style::kPlain);
    EXPECT_THAT(Texts(canvas), ElementsAre(signs[static_cast<std::size_t>(i)]));
  }
}

TEST(CellCanvas, AsciiCellsHaveAnUpperAndALowerDot) {
  CellCanvas canvas(4, 1, Glyphs::kAscii);
  canvas.Dot(0, 0, Style::kPlain);
  canvas.Dot(1, 1, Style::kPlain);
  canvas.Dot(3, 0, Style::kPlain);
  canvas.Dot(3, 1, Style::kPlain);
  EXPECT_THAT(Texts(canvas), ElementsAre("'. :"));
}

TEST(CellCanvas, LinesAreTheSameInBothDirections) {
  for (const bool back : {false, true}) {
    CellCanvas canvas(4, 2, Glyphs::kBraille);
    back ? canvas.Line(7, 7, 0, 0, Style::kPlain) : canvas.Line(0, 0, 7, 7, Style::kPlain);
    EXPECT_THAT(Texts(canvas), ElementsAre("⠑⢄", "  ⠑⢄"));
  }
  CellCanvas ascii(4, 2, Glyphs::kAscii);
  ascii.Line(0, 3, 3, 0, Style::kPlain);
  EXPECT_THAT(Texts(ascii), ElementsAre("  .'", ".'"));
}

TEST(CellCanvas, WhatLiesOutsideIsDropped) {
  CellCanvas canvas(1, 1, Glyphs::kBraille);
  canvas.Line(-5, -5, -1, -1, Style::kPlain);
  canvas.Line(2, 0, 9, 9, Style::kPlain);
  canvas.Put(1, 0, "x", Style::kPlain);
  canvas.Put(0, -1, "x", Style::kPlain);
  EXPECT_THAT(Texts(canvas), ElementsAre(""));
}

TEST(CellCanvas, SignsStandInFrontOfDotsAndFillGoesRoundThem) {
  CellCanvas canvas(1, 3, Glyphs::kBraille);
  canvas.Dot(0, 0, Style::kPlain);
  canvas.Dot(0, 4, Style::kPlain);
  canvas.Put(0, 1, "●", Style::kBold);
  canvas.Fill(0, "╎", Style::kDim);
  EXPECT_THAT(Texts(canvas), ElementsAre("⠁", "●", "╎"));
}

TEST(CellCanvas, ADimDotLeavesTheStyleOfOthers) {
  CellCanvas canvas(2, 1, Glyphs::kBraille);
  canvas.Dot(0, 0, Style::kGood);
  canvas.Dot(1, 0, Style::kDim);
  canvas.Dot(2, 0, Style::kDim);
  canvas.Dot(3, 0, Style::kGood);
  ASSERT_EQ(canvas.Rows().front().size(), 1u) << "both cells have one style, and are one span";
  EXPECT_EQ(canvas.Rows().front().front().style, Style::kGood);
}

}  // namespace
}  // namespace mantissa::cli
