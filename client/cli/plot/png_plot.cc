#include "client/cli/plot/png_plot.h"

#include <algorithm>
#include <cairo.h>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/display_text.h"

#ifdef __SANITIZE_ADDRESS__
// Read by LeakSanitizer: fontconfig keeps what it has read of its own files until the process ends.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libfontconfig.so\n"; }
#endif

namespace mantissa::cli {
namespace {

struct Colour {
  double red, green, blue;
};

// Okabe and Ito's palette, made for all kinds of sight, but for the marks.
constexpr Colour kInk = {0.13, 0.13, 0.13};
constexpr Colour kGrey = {0.55, 0.55, 0.55};
constexpr Colour kGrid = {0.90, 0.90, 0.90};
constexpr Colour kBlue = {0.0, 0.447, 0.698};
constexpr Colour kOrange = {0.902, 0.624, 0.0};
constexpr Colour kGreen = {0.0, 0.620, 0.451};
constexpr Colour kPurple = {0.8, 0.475, 0.655};
constexpr Colour kMark = {kPngMarkRed / 255.0, kPngMarkGreen / 255.0, kPngMarkBlue / 255.0};

constexpr double kText = 13, kSmallText = 11, kTitleText = 17;
constexpr double kTop = 44, kBottom = 40;  // of the whole; notes come below
constexpr double kPanelHead = 42;          // title and marks above a panel's drawing
constexpr double kNoteLine = 16;
constexpr double kMarkSize = 5;

Colour ColourOf(Hue hue) { return hue == Hue::kLoss ? kBlue : hue == Hue::kLossScale ? kOrange : kGreen; }

// The rectangle that a panel's curve is drawn in.
struct Box {
  double left, top, width, height;

  double X(const Picture& picture, double iteration) const {
    return left + picture.iterations.Place(iteration) * width;
  }
  double Y(const Axis& axis, double value) const { return top + (1 - axis.Place(value)) * height; }
};

class Drawing {
 public:
  Drawing(int width, int height)
      : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height), &cairo_surface_destroy),
        context_(cairo_create(surface_.get()), &cairo_destroy) {
    Ink({1, 1, 1});
    cairo_paint(context_.get());
    cairo_select_font_face(context_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_line_join(context_.get(), CAIRO_LINE_JOIN_ROUND);
  }

  cairo_t* context() const { return context_.get(); }

  void Ink(Colour colour, double alpha = 1) {
    cairo_set_source_rgba(context_.get(), colour.red, colour.green, colour.blue, alpha);
  }

  void Line(double x0, double y0, double x1, double y1, double width) {
    cairo_set_line_width(context_.get(), width);
    cairo_move_to(context_.get(), x0, y0);
    cairo_line_to(context_.get(), x1, y1);
    cairo_stroke(context_.get());
  }

  // `align`: 0 begins at x, 1 ends there. Returns where it ends.
  double Text(double x, double y, const std::string& text, double size, double align = 0) {
    cairo_set_font_size(context_.get(), size);
    cairo_text_extents_t extents;
    // The toy text interface refuses what is no UTF-8, and a refusal would end the whole drawing.
    const std::string shown = ForTerminal(text);
    cairo_text_extents(context_.get(), shown.c_str(), &extents);
    cairo_move_to(context_.get(), x - align * extents.x_advance, y);
    cairo_show_text(context_.get(), shown.c_str());
    return x + (1 - align) * extents.x_advance;
  }

  absl::StatusOr<std::string> Png() {
    std::string bytes;
    const auto append = [](void* to, const unsigned char* data, unsigned int length) {
      static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(data), length);
      return CAIRO_STATUS_SUCCESS;
    };
    cairo_status_t status = cairo_status(context_.get());
    cairo_surface_flush(surface_.get());
    if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png_stream(surface_.get(), append, &bytes);
    if (status != CAIRO_STATUS_SUCCESS) {
      return absl::InternalError(absl::StrCat("the picture could not be drawn: ", cairo_status_to_string(status)));
    }
    return bytes;
  }

 private:
  std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> surface_;
  std::unique_ptr<cairo_t, decltype(&cairo_destroy)> context_;
};

void DrawFrame(const Picture& picture, const Panel& panel, const Box& box, Drawing& drawing) {
  for (const Tick& tick : TicksOf(panel.axis, std::max(2, static_cast<int>(box.height / 32)))) {
    const double y = std::round(box.Y(panel.axis, tick.value)) + 0.5;
    drawing.Ink(kGrid);
    drawing.Line(box.left, y, box.left + box.width, y, 1);
    drawing.Ink(kInk);
    drawing.Text(box.left - 8, y + 4, tick.text, kSmallText, 1);
  }
  drawing.Ink(kGrey, 0.25);
  for (const PlotGap& gap : picture.gaps) {
    const double from = box.X(picture, gap.first_iteration);
    cairo_rectangle(drawing.context(), from, box.top, std::max(1.0, box.X(picture, gap.last_iteration) - from),
                    box.height);
    cairo_fill(drawing.context());
  }
  drawing.Ink(kGrey);
  const double dash = 4;
  cairo_set_dash(drawing.context(), &dash, 1, 0);
  for (const Boundary& boundary : picture.boundaries) {
    const double x = std::round(box.X(picture, boundary.iteration)) + 0.5;
    drawing.Line(x, box.top, x, box.top + box.height, 1);
  }
  cairo_set_dash(drawing.context(), nullptr, 0, 0);
  drawing.Line(box.left - 0.5, box.top, box.left - 0.5, box.top + box.height, 1);
  drawing.Line(box.left, box.top + box.height + 0.5, box.left + box.width, box.top + box.height + 0.5, 1);
}

void DrawCurve(const Picture& picture, const Panel& panel, const Box& box, Drawing& drawing) {
  double last_x = 0, last_y = 0;
  for (const Stroke& stroke : panel.strokes) {
    drawing.Ink(ColourOf(panel.hue), stroke.superseded ? 0.35 : 1);
    const double x = box.X(picture, stroke.iteration), y = box.Y(panel.axis, stroke.last);
    const double low = box.Y(panel.axis, stroke.low), high = box.Y(panel.axis, stroke.high);
    if (stroke.joined) drawing.Line(last_x, last_y, x, y, 1.4);
    // A point with nothing beside it is seen, too.
    drawing.Line(x, low + 0.7, x, high - 0.7, 1.4);
    last_x = x;
    last_y = y;
  }
  drawing.Ink(kPurple);
  for (const PlotEvaluation& evaluation : panel.evaluations) {
    cairo_arc(drawing.context(), box.X(picture, evaluation.iteration), box.Y(panel.axis, evaluation.loss), 4, 0,
              2 * std::acos(-1.0));
    cairo_fill(drawing.context());
  }
}

void DrawMarks(const Picture& picture, const Panel& panel, const Box& box, Drawing& drawing) {
  const double y = box.top - 4;
  for (const Mark& mark : panel.marks) {
    const double x = box.X(picture, mark.iteration);
    drawing.Ink(kMark);
    if (mark.kind != MarkKind::kOverflow) {
      drawing.Text(x, y - 2, mark.kind == MarkKind::kNan ? "N" : "I", kSmallText, 0.5);
      continue;
    }
    cairo_move_to(drawing.context(), x, y);
    cairo_line_to(drawing.context(), x - kMarkSize, y - 2 * kMarkSize);
    cairo_line_to(drawing.context(), x + kMarkSize, y - 2 * kMarkSize);
    cairo_fill(drawing.context());
    drawing.Ink(kMark, 0.2);
    drawing.Line(x, box.top, x, box.top + box.height, 1);
  }
}

void DrawPanel(const Picture& picture, const Panel& panel, const Box& box, Drawing& drawing) {
  DrawFrame(picture, panel, box, drawing);
  DrawCurve(picture, panel, box, drawing);
  DrawMarks(picture, panel, box, drawing);
  drawing.Ink(ColourOf(panel.hue));
  const double after = drawing.Text(box.left, box.top - 22, panel.title, kText);
  drawing.Ink(kInk);
  std::vector<std::string> facts = panel.facts;
  if (panel.axis.kind != AxisKind::kLinear) facts.emplace_back("log axis");
  drawing.Text(after + 14, box.top - 22, absl::StrJoin(facts, "    "), kSmallText);
}

void DrawIterations(const Picture& picture, const Box& box, Drawing& drawing) {
  const double below = box.top + box.height;
  for (const Tick& tick : CountTicksOf(picture.iterations, std::max(2, static_cast<int>(box.width / 90)))) {
    const double x = box.X(picture, tick.value);
    drawing.Ink(kGrey);
    drawing.Line(std::round(x) + 0.5, below, std::round(x) + 0.5, below + 5, 1);
    drawing.Ink(kInk);
    drawing.Text(x, below + 18, tick.text, kSmallText, 0.5);
  }
  drawing.Text(box.left + box.width, below + 32, picture.across, kSmallText, 1);
}

}  // namespace

absl::StatusOr<std::string> DrawPng(const Picture& picture, int width, int height) {
  width = std::clamp(width, kLeastPngWidth, kMostPngSide);
  height = std::clamp(height, kLeastPngHeight, kMostPngSide);
  Drawing drawing(width, height);
  drawing.Ink(kInk);
  const double after = drawing.Text(kPngLeft, 24, picture.name, kTitleText);
  drawing.Text(after + 14, 24,
               absl::StrCat(v1::Job::State_Name(picture.state), "    ", absl::StrJoin(picture.facts, "    ")), kText);

  const double notes = kNoteLine * static_cast<double>(picture.notes.size());
  const auto count = static_cast<double>(picture.panels.size());
  // The loss is half as high again as the others.
  const double share = (height - kTop - kBottom - notes - kPanelHead * count) / (count + 0.5);
  Box box = {kPngLeft, kTop, static_cast<double>(width - kPngLeft - kPngRight), 0};
  for (std::size_t i = 0; i < picture.panels.size(); ++i) {
    box.top += kPanelHead;
    box.height = std::max(8.0, i == 0 ? 1.5 * share : share);
    DrawPanel(picture, picture.panels[i], box, drawing);
    if (i + 1 < picture.panels.size()) box.top += box.height;
  }
  DrawIterations(picture, box, drawing);
  double y = height - notes - 2 + kText - 4;
  drawing.Ink(kInk);
  for (const std::string& note : picture.notes) {
    drawing.Text(kPngLeft, y, note, kSmallText);
    y += kNoteLine;
  }
  return drawing.Png();
}

}  // namespace mantissa::cli
