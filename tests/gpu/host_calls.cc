#include "tests/gpu/host_calls.h"

#include <cstddef>
#include <dlfcn.h>
#include <mutex>

namespace mantissa::trainer {
namespace {

std::mutex mutex;
std::map<std::string, int> calls;

// By value, as the runtime takes it.
struct Dim3 {
  unsigned x, y, z;
};

template <class... Arguments>
int Count(const char* name, Arguments... arguments) {
  {
    const std::lock_guard lock(mutex);
    ++calls[name];
  }
  const auto next = reinterpret_cast<int (*)(Arguments...)>(::dlsym(RTLD_NEXT, name));
  return next(arguments...);
}

}  // namespace

std::map<std::string, int> HostCalls() {
  const std::lock_guard lock(mutex);
  return calls;
}

void ForgetHostCalls() {
  const std::lock_guard lock(mutex);
  calls.clear();
}

// Found before the library's own: this program comes first where names are looked up.
extern "C" {

__attribute__((visibility("default"))) int cudaLaunchKernel(const void* function, Dim3 grid, Dim3 block,
                                                            void** arguments, std::size_t shared, void* stream) {
  return Count("cudaLaunchKernel", function, grid, block, arguments, shared, stream);
}
// What <<<...>>> is made of.
__attribute__((visibility("default"))) int __cudaLaunchKernel(void* kernel, Dim3 grid, Dim3 block, void** arguments,
                                                              std::size_t shared, void* stream) {
  return Count("__cudaLaunchKernel", kernel, grid, block, arguments, shared, stream);
}
__attribute__((visibility("default"))) int cudaMemset(void* to, int value, std::size_t size) {
  return Count("cudaMemset", to, value, size);
}
__attribute__((visibility("default"))) int cudaEventRecordWithFlags(void* event, void* stream, unsigned flags) {
  return Count("cudaEventRecordWithFlags", event, stream, flags);
}
__attribute__((visibility("default"))) int cudaLaunchKernelExC(const void* configuration, const void* function,
                                                               void** arguments) {
  return Count("cudaLaunchKernelExC", configuration, function, arguments);
}
__attribute__((visibility("default"))) int cudaGraphLaunch(void* executable, void* stream) {
  return Count("cudaGraphLaunch", executable, stream);
}
__attribute__((visibility("default"))) int cudaMemcpyAsync(void* to, const void* from, std::size_t size, int kind,
                                                           void* stream) {
  return Count("cudaMemcpyAsync", to, from, size, kind, stream);
}
__attribute__((visibility("default"))) int cudaMemcpy(void* to, const void* from, std::size_t size, int kind) {
  return Count("cudaMemcpy", to, from, size, kind);
}
__attribute__((visibility("default"))) int cudaMemsetAsync(void* to, int value, std::size_t size, void* stream) {
  return Count("cudaMemsetAsync", to, value, size, stream);
}
__attribute__((visibility("default"))) int cudaStreamSynchronize(void* stream) {
  return Count("cudaStreamSynchronize", stream);
}
__attribute__((visibility("default"))) int cudaDeviceSynchronize() { return Count("cudaDeviceSynchronize"); }
__attribute__((visibility("default"))) int cudaStreamQuery(void* stream) { return Count("cudaStreamQuery", stream); }
__attribute__((visibility("default"))) int cudaStreamWaitEvent(void* stream, void* event, unsigned flags) {
  return Count("cudaStreamWaitEvent", stream, event, flags);
}
__attribute__((visibility("default"))) int cudaEventRecord(void* event, void* stream) {
  return Count("cudaEventRecord", event, stream);
}
__attribute__((visibility("default"))) int cudaEventSynchronize(void* event) {
  return Count("cudaEventSynchronize", event);
}
__attribute__((visibility("default"))) int cudaEventQuery(void* event) { return Count("cudaEventQuery", event); }
__attribute__((visibility("default"))) int cudaMalloc(void** memory, std::size_t size) {
  return Count("cudaMalloc", memory, size);
}
__attribute__((visibility("default"))) int cudaFree(void* memory) { return Count("cudaFree", memory); }
__attribute__((visibility("default"))) int cudaHostAlloc(void** memory, std::size_t size, unsigned flags) {
  return Count("cudaHostAlloc", memory, size, flags);
}

}  // extern "C"

}  // namespace mantissa::trainer
