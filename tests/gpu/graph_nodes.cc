#include "tests/gpu/graph_nodes.h"

#include <cstddef>
#include <cstdlib>
#include <cuda.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <memory>
#include <mutex>

namespace mantissa::trainer {
namespace {

std::mutex mutex;
std::vector<std::string> nodes;

// The driver that this process has loaded.
template <class Function>
Function Driver(const char* name) {
  static void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function>(::dlsym(library, name));
}

// `void a::b<float>(int)` -> `a::b<float>`.
std::string Readable(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> whole(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                          &std::free);
  if (status != 0) return mangled;
  std::string name = whole.get();
  for (std::size_t at = name.find("(anonymous namespace)::"); at != std::string::npos;
       at = name.find("(anonymous namespace)::")) {
    name.erase(at, 23);
  }
  name = name.substr(0, name.find('('));
  return name.starts_with("void ") ? name.substr(5) : name;
}

std::string KernelName(CUgraphNode node) {
  static const auto params = Driver<decltype(&cuGraphKernelNodeGetParams)>("cuGraphKernelNodeGetParams_v2");
  static const auto of_function = Driver<decltype(&cuFuncGetName)>("cuFuncGetName");
  static const auto of_kernel = Driver<decltype(&cuKernelGetName)>("cuKernelGetName");
  CUDA_KERNEL_NODE_PARAMS launch = {};
  const char* name = nullptr;
  if (params == nullptr || params(node, &launch) != CUDA_SUCCESS) return "kernel";
  if (launch.func != nullptr && of_function != nullptr) of_function(&name, launch.func);
  if (name == nullptr && launch.kern != nullptr && of_kernel != nullptr) of_kernel(&name, launch.kern);
  return name == nullptr ? "kernel" : Readable(name);
}

std::string NameOf(CUgraphNode node) {
  static const auto type_of = Driver<decltype(&cuGraphNodeGetType)>("cuGraphNodeGetType");
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  if (type_of == nullptr || type_of(node, &type) != CUDA_SUCCESS) return "other";
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return KernelName(node);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return "memset";
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return "memcpy";
    default:
      return "other";
  }
}

void Look(CUgraph graph) {
  const auto list = Driver<decltype(&cuGraphGetNodes)>("cuGraphGetNodes");
  std::size_t count = 0;
  if (list == nullptr || list(graph, nullptr, &count) != CUDA_SUCCESS) return;
  std::vector<CUgraphNode> found(count);
  if (list(graph, found.data(), &count) != CUDA_SUCCESS) return;
  const std::lock_guard lock(mutex);
  nodes.clear();
  for (const CUgraphNode node : found) nodes.push_back(NameOf(node));
}

}  // namespace

std::vector<std::string> NodesOfLastCapture() {
  const std::lock_guard lock(mutex);
  return nodes;
}

// Found before the library's own: this program comes first where names are looked up.
extern "C" __attribute__((visibility("default"))) int cudaStreamEndCapture(void* stream, void** graph) {
  const auto next = reinterpret_cast<int (*)(void*, void**)>(::dlsym(RTLD_NEXT, "cudaStreamEndCapture"));
  const int result = next(stream, graph);
  if (result == 0 && *graph != nullptr) Look(static_cast<CUgraph>(*graph));
  return result;
}

}  // namespace mantissa::trainer
