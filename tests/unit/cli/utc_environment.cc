// Local times in expected texts are UTC wherever the tests run.
#include <cstdlib>
#include <ctime>

#include <gtest/gtest.h>

namespace mantissa::cli {
namespace {

class UtcEnvironment final : public ::testing::Environment {
 public:
  void SetUp() override {
    ::setenv("TZ", "UTC0", 1);
    ::tzset();
  }
};

[[maybe_unused]] const auto* const kUtc = ::testing::AddGlobalTestEnvironment(new UtcEnvironment);

}  // namespace
}  // namespace mantissa::cli
