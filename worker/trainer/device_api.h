// The boundary between the trainer, which links libtorch_cpu alone, and the CUDA plug-in, which is opened with dlopen.
//
// One plain struct behind one C function. Nothing else crosses: no exception, no Protobuf, no Abseil, no stream. The
// plug-in's ops reach the trainer through LibTorch's dispatcher, by being registered when the library is opened; this
// struct holds what only CUDA can do. Both sides are compiled with the same MANTISSA_BUILD_ID, and refuse each other
// when any of the three identities differs: tensors cross the dispatcher, so their layout must be one.
#pragma once

#include <stdint.h>

#define MANTISSA_DEVICE_ABI 2
#define MANTISSA_DEVICE_API_SYMBOL "mantissa_device_api"

typedef struct MantissaDeviceFacts {
  char name[256];  // as the vendor calls it
  int64_t memory_bytes;
  int32_t capability_major;
  int32_t capability_minor;
} MantissaDeviceFacts;

// Work that was recorded once and then runs without the host.
typedef struct MantissaGraph MantissaGraph;

// Starts work on the current stream. 0 on success; throws nothing.
typedef int32_t (*MantissaWork)(void* context);

// Functions with an `error` return 0 on success; else a text of what went wrong is in it, cut to `error_size` bytes
// with its NUL. All of them are called by the thread that owns the GPU, with its current stream.
typedef struct MantissaRecorder {
  // Records what `work` starts, which is not run by that; a work that fails or waits for the device is an error, and
  // nothing is kept of it. What it allocates and frees comes from a pool of the graph's own, or from that of
  // `neighbour` (may be null) when the two never run at once.
  int32_t (*record)(MantissaWork work, void* context, MantissaGraph* neighbour, MantissaGraph** graph, char* error,
                    int64_t error_size);
  // Runs it once more, behind what is on the current stream. Waits for nothing.
  int32_t (*launch)(MantissaGraph* graph, char* error, int64_t error_size);
  // Bytes that were reserved for its pool beside what a neighbour had.
  int64_t (*pool_bytes)(const MantissaGraph* graph);
  // When nothing of it is running.
  void (*forget)(MantissaGraph* graph);

  // Zeroed memory of the host that the device sees too, under another address.
  int32_t (*map_memory)(int64_t bytes, void** host, void** device, char* error, int64_t error_size);
  void (*unmap_memory)(void* host);

  // Whether all that is on the current stream has ended: 0 yes, 1 not yet, 2 it failed (`error`). Waits for nothing.
  int32_t (*poll)(char* error, int64_t error_size);
} MantissaRecorder;

typedef struct MantissaDeviceApi {
  int32_t abi;                // MANTISSA_DEVICE_ABI
  const char* torch_version;  // it was compiled for
  const char* build_id;       // MANTISSA_BUILD_ID
  int32_t (*device_count)(void);
  // 0 on success; else a text of what went wrong is in `error`, cut to `error_size` bytes with its NUL.
  int32_t (*describe)(int32_t device, MantissaDeviceFacts* facts, char* error, int64_t error_size);
  MantissaRecorder recorder;
} MantissaDeviceApi;

#ifdef __cplusplus
extern "C" {
#endif

// Exported by the plug-in. Never null; what it points to lives as long as the process.
typedef const MantissaDeviceApi* (*MantissaDeviceApiFunction)(void);

#ifdef __cplusplus
}
#endif
