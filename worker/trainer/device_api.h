// The boundary between the trainer, which links libtorch_cpu alone, and the CUDA plug-in, which is opened with dlopen.
//
// One plain struct behind one C function. Nothing else crosses: no exception, no Protobuf, no Abseil, no stream. The
// plug-in's ops reach the trainer through LibTorch's dispatcher, by being registered when the library is opened; this
// struct holds what only CUDA can do. Both sides are compiled with the same MANTISSA_BUILD_ID, and refuse each other
// when any of the three identities differs: tensors cross the dispatcher, so their layout must be one.
#pragma once

#include <stdint.h>

#define MANTISSA_DEVICE_ABI 1
#define MANTISSA_DEVICE_API_SYMBOL "mantissa_device_api"

typedef struct MantissaDeviceFacts {
  char name[256];  // as the vendor calls it
  int64_t memory_bytes;
  int32_t capability_major;
  int32_t capability_minor;
} MantissaDeviceFacts;

typedef struct MantissaDeviceApi {
  int32_t abi;                // MANTISSA_DEVICE_ABI
  const char* torch_version;  // it was compiled for
  const char* build_id;       // MANTISSA_BUILD_ID
  int32_t (*device_count)(void);
  // 0 on success; else a text of what went wrong is in `error`, cut to `error_size` bytes with its NUL.
  int32_t (*describe)(int32_t device, MantissaDeviceFacts* facts, char* error, int64_t error_size);
} MantissaDeviceApi;

#ifdef __cplusplus
extern "C" {
#endif

// Exported by the plug-in. Never null; what it points to lives as long as the process.
typedef const MantissaDeviceApi* (*MantissaDeviceApiFunction)(void);

#ifdef __cplusplus
}
#endif
