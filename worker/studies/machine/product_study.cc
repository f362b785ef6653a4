#include "worker/studies/machine/product_study.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "worker/studies/machine/product.h"

namespace mantissa::trainer {
namespace {

void AddLimits(const std::vector<v1::PrecisionSpec::Mode>& modes, const StudyEnvironment& environment,
               v1::Report& report) {
  report.add_limits("Peaks are what this device reached in this run, with whatever else ran on it.");
  for (const v1::PrecisionSpec::Mode mode : modes) {
    const std::string how = HowMultiplied(environment, mode);
    if (how.empty() || WhyNoProduct(environment, mode)) continue;
    report.add_limits(how);
    return;
  }
}

// How many products were done; fewer than there are when a stop was requested.
std::int32_t DoProducts(const ProductCases& cases, std::int32_t total, const AddProduct& add, StudyObserver& observer) {
  std::int32_t done = 0;
  for (const v1::MatrixShape& shape : cases.shapes) {
    for (const v1::PrecisionSpec::Mode mode : cases.modes) {
      if (observer.stop_requested() || !add(shape, mode)) return done;
      ++done;
      observer.Done(done + 1, total, ProductText(shape.m(), shape.n(), shape.k(), mode));
    }
  }
  return done;
}

}  // namespace

CallSeconds RunProducts(const ProductCases& cases, const AddProduct& add, const StudyEnvironment& environment,
                        StudyObserver& observer, DevicePeaks& peaks, v1::Report& report) {
  const auto products = static_cast<std::int32_t>(cases.shapes.size() * cases.modes.size());
  const std::int32_t total = products + 1;
  observer.Done(0, total, "");
  AddLimits(cases.modes, environment, report);
  if (auto measured = MeasurePeaks(environment, cases.modes, observer)) peaks = *std::move(measured);
  CallSeconds calls;
  if (auto measured = MeasureCalls(environment, cases.modes, observer)) calls = *std::move(measured);
  observer.Done(1, total, "peaks of the device");
  const std::int32_t done = DoProducts(cases, total, add, observer);
  if (done < products) {
    report.set_partial(true);
    report.add_limits(absl::StrCat("The study was stopped after ", done, " of ", products, " products."));
  }
  PrepareProducts(environment, v1::PrecisionSpec::FP32);
  return calls;
}

}  // namespace mantissa::trainer
