// What the plug-in's ops ask of their arguments beyond check.h: a kernel that is given another device's memory takes
// the whole process with it.
#pragma once

#include <initializer_list>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer::kernels {

inline void CheckOnDevice(const at::Device& device, std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.device() == device, "all tensors of an op must be on ", device, ", and one is on ",
                tensor.device());
  }
}

}  // namespace mantissa::trainer::kernels
