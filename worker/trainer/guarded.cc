#include "worker/trainer/guarded.h"

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "mantissa/v1/job.pb.h"
#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

absl::Status Failed(const std::string& what) {
  return Because(v1::Reason::INTERNAL_ERROR,
                 absl::InternalError(absl::StrCat("the trainer failed: ", what, "; please report it")));
}

}  // namespace

absl::Status Guarded(const std::string& field, const std::string& device_name,
                     const std::function<absl::Status()>& work) {
  const auto out_of_memory = [&](const std::string& what) {
    return Because(v1::Reason::OUT_OF_DEVICE_MEMORY,
                   absl::ResourceExhaustedError(
                       absl::StrCat(field, ": the memory of ", device_name, " is used up (", what,
                                    "); use a smaller batch_size, more accumulation, or a device with more memory")));
  };
  try {
    return work();
  } catch (const c10::OutOfMemoryError& error) {
    return out_of_memory(std::string(error.msg()));
  } catch (const std::bad_alloc&) {
    return out_of_memory("an allocation failed");
  } catch (const c10::Error& error) {
    if (error.msg().find("can't allocate memory") != std::string::npos) return out_of_memory("an allocation failed");
    return Failed(std::string(error.msg()));
  } catch (const std::exception& error) {
    return Failed(error.what());
  }
}

}  // namespace mantissa::trainer
