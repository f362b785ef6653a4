#include "worker/agent/process_metrics.h"

#include "process/process_figures.h"

namespace mantissa::agent {

using prometheus::MetricFamily;
using prometheus::MetricType;

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> families;
  for (const process::ProcessFigure& figure : process::ReadProcessFigures()) {
    MetricFamily& family = families.emplace_back();
    family.name = figure.name;
    family.help = figure.help;
    family.type = figure.counter ? MetricType::Counter : MetricType::Gauge;
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    (figure.counter ? metric.counter.value : metric.gauge.value) = figure.value;
  }
  return families;
}

}  // namespace mantissa::agent
