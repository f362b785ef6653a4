// Runs a piece of a test with each instruction set that this machine has.
#pragma once

#include "worker/kernels/cpu/isa.h"

namespace mantissa::trainer {

template <class Body>
void WithEachIsa(const Body& body) {
  const cpu::Isa best = cpu::host_isa;
  for (const cpu::Isa isa : {cpu::Isa::kBaseline, cpu::Isa::kAvx2, cpu::Isa::kAvx512}) {
    if (isa > best) continue;
    cpu::host_isa = isa;
    body(isa);
  }
  cpu::host_isa = best;
}

}  // namespace mantissa::trainer
