#include "client/cli/plot/text_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "client/cli/plot/cell_canvas.h"
#include "client/cli/watch/watch_view.h"

namespace mantissa::cli {
namespace {

constexpr int kLeastRows = 3;  // of a panel

Style HueStyle(Hue hue) {
  return hue == Hue::kLoss ? Style::kAccent : hue == Hue::kLossScale ? Style::kWarn : Style::kGood;
}

// Where the panels lie, the same for all of them, so that iterations stand one above the other.
struct Frame {
  int gutter = 0;   // columns left of the drawing, its edge included
  int columns = 0;  // of the drawing
  int across = 1;   // dots in a column
};

int DotX(const Picture& picture, double iteration, int dots) {
  return static_cast<int>(std::lround(picture.iterations.Place(iteration) * (dots - 1)));
}

// The column of the drawing that an iteration's dots lie in.
int ColumnOf(const Picture& picture, double iteration, const Frame& frame) {
  return DotX(picture, iteration, frame.columns * frame.across) / frame.across;
}

int DotY(const Axis& axis, double value, int dots) {
  return static_cast<int>(std::lround((1 - axis.Place(value)) * (dots - 1)));
}

std::string LineOf(const std::vector<Span>& spans, const ViewOptions& options) {
  std::string text;
  for (const Span& span : spans) {
    text += Styled({options.utf8 ? span.text : ToAscii(span.text), span.style}, options.color);
  }
  return text;
}

std::string HeaderLine(const Picture& picture, const ViewOptions& options) {
  StyledLine line;
  line.Add(0, {{ForTerminal(picture.name), Style::kBold}});
  line.Add(0, {{v1::Job::State_Name(picture.state), StyleOf(picture.state)}});
  int rank = 1;
  for (const std::string& fact : picture.facts) line.Add(rank++, {{fact}});
  return line.Text(options);
}

std::string TitleLine(const Panel& panel, const ViewOptions& options) {
  StyledLine line;
  line.Add(0, {{panel.title, HueStyle(panel.hue)}});
  int rank = 1;
  for (const std::string& fact : panel.facts) line.Add(rank++, {{fact}});
  if (panel.axis.kind != AxisKind::kLinear) line.Add(rank, {{"log axis", Style::kDim}});
  return line.Text(options);
}

std::string MarksLine(const Picture& picture, const Panel& panel, const Frame& frame, const ViewOptions& options) {
  CellCanvas row(frame.columns, 1, Glyphs::kAscii);
  // What is no number hides a skip, which it is the cause of.
  for (const MarkKind kind : {MarkKind::kOverflow, MarkKind::kInfinite, MarkKind::kNan}) {
    for (const Mark& mark : panel.marks) {
      if (mark.kind != kind) continue;
      const char* const sign = kind == MarkKind::kOverflow ? "▼" : kind == MarkKind::kNan ? "N" : "I";
      row.Put(ColumnOf(picture, mark.iteration, frame), 0, sign, Style::kBad);
    }
  }
  std::vector<Span> spans = {{std::string(static_cast<std::size_t>(frame.gutter), ' ')}};
  const std::vector<Span> drawn = row.Rows().front();
  spans.insert(spans.end(), drawn.begin(), drawn.end());
  return LineOf(spans, options);
}

void DrawCurve(const Picture& picture, const Panel& panel, const Frame& frame, CellCanvas& canvas) {
  int last_x = 0, last_y = 0;
  for (const Stroke& stroke : panel.strokes) {
    const Style style = stroke.superseded ? Style::kDim : HueStyle(panel.hue);
    const int x = DotX(picture, stroke.iteration, canvas.dots_wide());
    const int y = DotY(panel.axis, stroke.last, canvas.dots_high());
    if (stroke.joined) canvas.Line(last_x, last_y, x, y, style);
    canvas.Line(x, DotY(panel.axis, stroke.low, canvas.dots_high()), x,
                DotY(panel.axis, stroke.high, canvas.dots_high()), style);
    last_x = x;
    last_y = y;
  }
  for (const PlotEvaluation& evaluation : panel.evaluations) {
    canvas.Put(ColumnOf(picture, evaluation.iteration, frame),
               canvas.RowOf(DotY(panel.axis, evaluation.loss, canvas.dots_high())), "●", Style::kBold);
  }
  for (const Boundary& boundary : picture.boundaries) {
    canvas.Fill(ColumnOf(picture, boundary.iteration, frame), "╎", Style::kDim);
  }
}

int TickCount(int rows) { return std::max(2, (rows + 1) / 2); }

void AddPanel(const Picture& picture, const Panel& panel, const Frame& frame, int rows, const ViewOptions& options,
              std::vector<std::string>& lines) {
  lines.push_back(TitleLine(panel, options));
  if (!panel.marks.empty()) lines.push_back(MarksLine(picture, panel, frame, options));
  CellCanvas canvas(frame.columns, rows, options.utf8 ? Glyphs::kBraille : Glyphs::kAscii);
  DrawCurve(picture, panel, frame, canvas);
  std::map<int, std::string> labels;
  for (const Tick& tick : TicksOf(panel.axis, TickCount(rows))) {
    labels.try_emplace(canvas.RowOf(DotY(panel.axis, tick.value, canvas.dots_high())), tick.text);
  }
  int row = 0;
  for (const std::vector<Span>& drawn : canvas.Rows()) {
    const auto label = labels.find(row++);
    const bool labelled = label != labels.end();
    std::vector<Span> spans = {{PadLeft(labelled ? label->second : "", frame.gutter - 2) + (labelled ? " ┤" : " │"),
                                labelled ? Style::kPlain : Style::kDim}};
    spans.insert(spans.end(), drawn.begin(), drawn.end());
    lines.push_back(LineOf(spans, options));
  }
}

void AddIterations(const Picture& picture, const Frame& frame, const ViewOptions& options,
                   std::vector<std::string>& lines) {
  CellCanvas edge(frame.columns, 1, Glyphs::kAscii);
  for (const PlotGap& gap : picture.gaps) {
    const int to = ColumnOf(picture, gap.last_iteration, frame);
    for (int x = ColumnOf(picture, gap.first_iteration, frame); x <= to; ++x) edge.Put(x, 0, "┄", Style::kBad);
  }
  std::string labels;
  for (const Tick& tick : CountTicksOf(picture.iterations, std::max(2, frame.columns / 14))) {
    const int x = ColumnOf(picture, tick.value, frame);
    edge.Put(x, 0, "┬", Style::kDim);
    const int width = static_cast<int>(tick.text.size());
    const int at = std::clamp(x - width / 2, 0, std::max(0, frame.columns - width));
    if (!labels.empty() && at <= static_cast<int>(labels.size())) continue;  // it would touch the one before it
    labels += std::string(static_cast<std::size_t>(at) - labels.size(), ' ') + tick.text;
  }
  for (int x = 0; x < frame.columns; ++x) edge.Fill(x, "─", Style::kDim);
  std::vector<Span> spans = {{std::string(static_cast<std::size_t>(frame.gutter - 1), ' ') + "└", Style::kDim}};
  const std::vector<Span> drawn = edge.Rows().front();
  spans.insert(spans.end(), drawn.begin(), drawn.end());
  lines.push_back(LineOf(spans, options));
  lines.push_back(std::string(static_cast<std::size_t>(frame.gutter), ' ') + labels);
}

// Rows of each panel's drawing. The loss has most.
std::vector<int> ShareRows(const Picture& picture, int height) {
  int taken = 1 + 2 + static_cast<int>(picture.notes.size());  // header, iterations
  for (const Panel& panel : picture.panels) taken += panel.marks.empty() ? 1 : 2;
  const int count = static_cast<int>(picture.panels.size());
  const int rest = std::max(kLeastRows * count, height - taken);
  std::vector<int> rows(static_cast<std::size_t>(count), std::max(kLeastRows, rest * 3 / (3 * count + 1)));
  rows.front() = std::max(kLeastRows, rest - rows.back() * (count - 1));
  return rows;
}

}  // namespace

std::vector<std::string> RenderPlot(const Picture& picture, const ViewOptions& asked, int height) {
  ViewOptions options = asked;
  options.width = std::max(kLeastPlotWidth, options.width);
  const std::vector<int> rows = ShareRows(picture, std::max(kLeastPlotHeight, height));
  Frame frame;
  for (std::size_t i = 0; i < picture.panels.size(); ++i) {
    for (const Tick& tick : TicksOf(picture.panels[i].axis, TickCount(rows[i]))) {
      frame.gutter = std::max(frame.gutter, DisplayWidth(tick.text) + 2);
    }
  }
  frame.columns = std::max(1, options.width - frame.gutter);
  frame.across = options.utf8 ? 2 : 1;
  std::vector<std::string> lines = {HeaderLine(picture, options)};
  for (std::size_t i = 0; i < picture.panels.size(); ++i) {
    AddPanel(picture, picture.panels[i], frame, rows[i], options, lines);
  }
  AddIterations(picture, frame, options, lines);
  for (const std::string& note : picture.notes) {
    for (const std::string& line : WrapWords(note, options.width)) lines.push_back(LineOf({{line}}, options));
  }
  return lines;
}

}  // namespace mantissa::cli
