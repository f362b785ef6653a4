#include "worker/trainer/graph/mapped_memory.h"

#include <array>

#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer {

MappedMemory::MappedMemory(const MantissaRecorder& recorder, std::int64_t bytes, at::Device device)
    : recorder_(recorder) {
  std::array<char, 512> error = {};
  void* seen = nullptr;
  TORCH_CHECK(recorder_.map_memory(bytes, &host_, &seen, error.data(), error.size()) == 0,
              "memory that host and device share: ", error.data());
  on_device_ = at::for_blob(seen, {bytes})
                   .options(at::TensorOptions(at::kByte).device(device))
                   .target_device(device)
                   .make_tensor();
}

}  // namespace mantissa::trainer
