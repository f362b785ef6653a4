#include "worker/kernels/graph/recorder.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cuda_runtime_api.h>
#include <exception>
#include <memory>
#include <utility>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

// LibTorch's graph for the capture alone: it keeps the allocator's pools right. It is launched by hand, because
// CUDAGraph::replay fills the seeds of ATen's generators before every launch, and no op of ours draws from those.
struct MantissaGraph : at::cuda::CUDAGraph {
  MantissaGraph() : CUDAGraph(/*keep_graph=*/true) {}
  bool ended() const { return capture_ended_; }

  c10::DeviceIndex device = 0;
  c10::MempoolId_t own_pool = {0, 0};
  cudaGraphExec_t executable = nullptr;
  std::int64_t bytes = 0;
};

namespace mantissa::trainer {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

// The runtime keeps the error of a failed call for whoever asks next, which would be an innocent operation.
void ForgetError() { static_cast<void>(cudaGetLastError()); }

void Tell(const char* what, char* error, std::int64_t error_size) {
  std::snprintf(error, static_cast<std::size_t>(error_size), "%s", what);
}

void Tell(cudaError_t result, char* error, std::int64_t error_size) {
  std::snprintf(error, static_cast<std::size_t>(error_size), "%s (%s)", cudaGetErrorString(result),
                cudaGetErrorName(result));
  ForgetError();
}

// No exception leaves the plug-in. A failed call of CUDA is told by it.
template <class Body>
std::int32_t Guarded(char* error, std::int64_t error_size, const Body& body) {
  try {
    return body();
  } catch (const c10::Error& thrown) {
    Tell(thrown.what_without_backtrace(), error, error_size);
  } catch (const std::exception& thrown) {
    Tell(thrown.what(), error, error_size);
  }
  ForgetError();
  return 2;
}

std::int64_t Reserved(c10::DeviceIndex device) {
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return allocator::getDeviceStats(device).reserved_bytes[kAll].current;
}

// A capture that broke off leaves the allocator taking from the pool; it is told of the end that CUDAGraph could not
// tell. Either call may find that there is nothing to be done.
void Abandon(const MantissaGraph& graph) {
  if (graph.ended()) return;
  for (const auto part : {&allocator::endAllocateToPool, &allocator::releasePool}) {
    try {
      part(graph.device, graph.own_pool);
    } catch (const c10::Error&) {
    }
  }
  ForgetError();
}

std::int32_t Record(MantissaWork work, void* context, MantissaGraph* neighbour, MantissaGraph** graph, char* error,
                    std::int64_t error_size) {
  return Guarded(error, error_size, [&]() -> std::int32_t {
    const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
    if (stream == c10::cuda::getDefaultCUDAStream(stream.device_index())) {
      Tell("nothing can be recorded on CUDA's default stream", error, error_size);
      return 1;
    }
    auto made = std::make_unique<MantissaGraph>();
    made->device = stream.device_index();
    made->own_pool = neighbour != nullptr ? neighbour->own_pool : at::cuda::graph_pool_handle();
    // What lies in the cache is of no use to the pool, and cannot be given back while it is being filled.
    allocator::emptyCache();
    const std::int64_t before = Reserved(made->device);
    std::int32_t failed = 0;
    try {
      // Only what this thread does can break the capture: the channel's thread may go on.
      made->capture_begin(made->own_pool, cudaStreamCaptureModeThreadLocal);
      failed = work(context);
      made->capture_end();
    } catch (const c10::Error&) {
      Abandon(*made);
      // Why the work failed is the caller's to tell; what it did to the capture would hide it.
      if (failed == 0) throw;
    }
    if (failed != 0) {
      Tell("the work failed while it was recorded", error, error_size);
      return 1;
    }
    made->instantiate();
    made->executable = made->raw_cuda_graph_exec();
    made->bytes = Reserved(made->device) - before;
    *graph = made.release();
    return 0;
  });
}

std::int32_t Launch(MantissaGraph* graph, char* error, std::int64_t error_size) {
  const cudaError_t result = cudaGraphLaunch(graph->executable, c10::cuda::getCurrentCUDAStream(graph->device));
  if (result == cudaSuccess) return 0;
  Tell(result, error, error_size);
  return 1;
}

std::int64_t PoolBytes(const MantissaGraph* graph) { return graph->bytes; }

void Forget(MantissaGraph* graph) {
  char error[1];
  Guarded(error, sizeof(error), [&]() -> std::int32_t {
    delete graph;
    return 0;
  });
}

std::int32_t MapMemory(std::int64_t bytes, void** host, void** device, char* error, std::int64_t error_size) {
  cudaError_t result = cudaHostAlloc(host, static_cast<std::size_t>(bytes), cudaHostAllocMapped);
  if (result == cudaSuccess) {
    result = cudaHostGetDevicePointer(device, *host, 0);
    if (result == cudaSuccess) {
      std::memset(*host, 0, static_cast<std::size_t>(bytes));
      return 0;
    }
    cudaFreeHost(*host);
  }
  Tell(result, error, error_size);
  return 1;
}

void UnmapMemory(void* host) {
  cudaFreeHost(host);
  ForgetError();
}

std::int32_t Poll(char* error, std::int64_t error_size) {
  const cudaError_t result = cudaStreamQuery(c10::cuda::getCurrentCUDAStream());
  if (result == cudaSuccess) return 0;
  if (result == cudaErrorNotReady) {
    ForgetError();
    return 1;
  }
  Tell(result, error, error_size);
  return 2;
}

}  // namespace

constexpr MantissaRecorder kRecorder = {Record, Launch, PoolBytes, Forget, MapMemory, UnmapMemory, Poll};

}  // namespace mantissa::trainer
