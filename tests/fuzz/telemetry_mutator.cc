// How libFuzzer changes inputs that are batches of telemetry, as trainers send them and servers take them.
#include <cstddef>
#include <cstdint>

#include "mantissa/v1/trainer_frame.pb.h"
#include "tests/fuzz/message_mutator.h"

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  mantissa::v1::TelemetryBatch batch;
  return mantissa::fuzz::MutateMessage(batch, data, size, max_size, seed);
}
