#include "worker/studies/machine/device_peaks.h"

#include <ATen/ATen.h>

#include "worker/studies/machine/product.h"
#include "worker/studies/machine/timing.h"

namespace mantissa::trainer {
namespace {

constexpr double kTera = 1e12;
constexpr int kRounds = 10;

// Large enough that neither a launch nor a cache counts, small enough to be over in a moment.
std::int32_t LargeSide(c10::Device device) { return device.is_cpu() ? 768 : 8192; }
std::int64_t LargeBytes(c10::Device device) { return std::int64_t{1} << (device.is_cpu() ? 26 : 29); }

std::optional<Timing> TimeOne(const TimedOperation& operation, const StudyEnvironment& environment, Control& control) {
  const auto timings = TimeInTurn({operation}, {.device = environment.device, .rounds = kRounds, .most_seconds = 5},
                                  environment.clock, control);
  if (!timings) return std::nullopt;
  return timings->front();
}

// Of a product in a mode that the device has, as a Linear layer's.
std::optional<Timing> TimeProduct(const v1::MatrixShape& shape, v1::PrecisionSpec::Mode mode,
                                  const StudyEnvironment& environment, Control& control) {
  PrepareProducts(environment, mode);
  const Operands operands = MakeOperands(shape, mode, v1::LayoutBenchmarkReport::TRANSPOSED, environment.device);
  return TimeOne([&] { Multiply(mode, operands); }, environment, control);
}

}  // namespace

std::optional<DevicePeaks> MeasurePeaks(const StudyEnvironment& environment,
                                        const std::vector<v1::PrecisionSpec::Mode>& modes, Control& control) {
  const std::int64_t bytes = LargeBytes(environment.device);
  std::optional<double> bytes_per_second;
  if (!WhyNoRoom(2.0 * static_cast<double>(bytes), environment)) {
    const at::Tensor from = at::ones({bytes}, at::TensorOptions(at::kByte).device(environment.device));
    const at::Tensor to = at::empty_like(from);
    const auto copy = TimeOne([&] { to.copy_(from); }, environment, control);
    if (!copy) return std::nullopt;
    bytes_per_second = 2.0 * static_cast<double>(bytes) / copy->median_seconds;  // read and written
  }

  const std::int32_t side = LargeSide(environment.device);
  const v1::MatrixShape shape = ShapeOf(side, side, side);
  DevicePeaks peaks;
  for (const v1::PrecisionSpec::Mode mode : modes) {
    v1::DevicePeak& peak = *peaks.Add();
    peak.set_precision(mode);
    if (bytes_per_second) peak.set_bytes_per_second(*bytes_per_second);
    std::optional<std::string> why = WhyNoProduct(environment, mode);
    if (!why) why = WhyNoRoom(2 * BytesMoved(side, side, side, mode), environment);
    if (why) {
      AddNote(*why, *peak.mutable_note());
      continue;
    }
    const auto product = TimeProduct(shape, mode, environment, control);
    if (!product) return std::nullopt;
    peak.set_tflops(TflopsOf(side, side, side, product->median_seconds));
  }
  return peaks;
}

std::optional<CallSeconds> MeasureCalls(const StudyEnvironment& environment,
                                        const std::vector<v1::PrecisionSpec::Mode>& modes, Control& control) {
  constexpr std::int32_t kSide = 8;  // aligned in every mode
  CallSeconds calls;
  for (const v1::PrecisionSpec::Mode mode : modes) {
    if (WhyNoProduct(environment, mode)) continue;
    const auto call = TimeProduct(ShapeOf(kSide, kSide, kSide), mode, environment, control);
    if (!call) return std::nullopt;
    calls[mode] = call->median_seconds;
  }
  return calls;
}

void RaisePeak(v1::PrecisionSpec::Mode mode, double tflops, DevicePeaks& peaks) {
  for (v1::DevicePeak& peak : peaks) {
    if (peak.precision() == mode && tflops > peak.tflops()) peak.set_tflops(tflops);
  }
}

const v1::DevicePeak* FindPeak(const DevicePeaks& peaks, v1::PrecisionSpec::Mode mode) {
  for (const v1::DevicePeak& peak : peaks) {
    if (peak.precision() == mode) return &peak;
  }
  return nullptr;
}

double TflopsOf(std::int64_t m, std::int64_t n, std::int64_t k, double seconds) {
  return OperationsOf(m, n, k) / seconds / kTera;
}

}  // namespace mantissa::trainer
