// Mutation of protobuf messages by their fields: bytes changed at random seldom are a message any more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "google/protobuf/message.h"

namespace mantissa::fuzz {

// Of the message that `data` holds: sets, clears, repeats or copies some field, at some depth, to a value at random,
// one at its type's edge, or one that libFuzzer makes of it. `data` has room for `max_size`. Returns the new size; 0
// where the result would not fit.
std::size_t MutateMessage(google::protobuf::Message& scratch, std::uint8_t* data, std::size_t size,
                          std::size_t max_size, unsigned seed);

}  // namespace mantissa::fuzz
