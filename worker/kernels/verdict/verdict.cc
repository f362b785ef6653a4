// From the gradients' statistics and the loss to found_inf, cause and the factor that unscales and clips.
#include <torch/library.h>

#include "worker/amp/step_decisions.h"
#include "worker/kernels/check.h"

namespace mantissa::trainer::kernels {
namespace {

void VerdictCpu(const at::Tensor& stats, const at::Tensor& loss_sum, double targets, const at::Tensor& settings,
                const at::Tensor& state) {
  const GradientStats* const rows = Struct<GradientStats>(stats, "stats");
  TORCH_CHECK(loss_sum.numel() == 1, "loss_sum must have one element");
  GradientStats totals;
  for (std::int64_t i = 0; i < StructCount<GradientStats>(stats); ++i) {
    totals.sum_of_squares += rows[i].sum_of_squares;
    totals.inf_count += rows[i].inf_count;
    totals.nan_count += rows[i].nan_count;
  }
  const double sum = loss_sum.scalar_type() == at::kDouble ? *loss_sum.const_data_ptr<double>()
                                                           : static_cast<double>(*loss_sum.const_data_ptr<float>());
  DecideUpdate(*Struct<ScalerSettings>(settings, "settings"), totals, sum / targets, Struct<StepState>(state, "state"));
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("verdict(Tensor stats, Tensor loss_sum, float targets, Tensor settings, Tensor(a!) state) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("verdict", VerdictCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("verdict", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
