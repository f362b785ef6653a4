// Memory of the host that the device sees too.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "worker/trainer/device_api.h"

namespace mantissa::trainer {

class MappedMemory {
 public:
  // Zeroed. Throws c10::Error where there is none to be had. `recorder` outlives it.
  MappedMemory(const MantissaRecorder& recorder, std::int64_t bytes, at::Device device);
  ~MappedMemory() { recorder_.unmap_memory(host_); }
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;

  unsigned char* host() const { return static_cast<unsigned char*>(host_); }
  // The same bytes as ops on the device see them; valid as long as this is.
  const at::Tensor& on_device() const { return on_device_; }

 private:
  const MantissaRecorder& recorder_;
  void* host_ = nullptr;
  at::Tensor on_device_;
};

}  // namespace mantissa::trainer
