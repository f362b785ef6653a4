// Marks a function that nvcc compiles for both sides, so that a decision is written once.
#pragma once

#ifdef __CUDACC__
#define MANTISSA_HOST_DEVICE __host__ __device__
#else
#define MANTISSA_HOST_DEVICE
#endif
