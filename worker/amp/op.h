// A call of one of our ops through LibTorch's dispatcher, which picks the device's kernel.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

namespace mantissa::trainer {

// Looked up once: keep it in a static.
template <class Signature>
c10::TypedOperatorHandle<Signature> FindOp(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace mantissa::trainer
