#include "process/tls_files.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::process {
namespace {

using testing::HasSubstr;

// What is wrong with files in life is in tests/integration/test_tls.py.

TEST(CheckServerNameTest, WhoListsSeveralServersIsAskedForTheNameThatTheyShare) {
  TlsFiles tls;
  tls.ca = "ca.pem";
  for (const char* several : {"ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv6:[::1]:50051,[::2]:50051"}) {
    const absl::Status status = CheckServerName(tls, "--server", several, "");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << several;
    EXPECT_THAT(std::string(status.message()), HasSubstr("--tls-server-name: is missing; --server lists several"));
    EXPECT_TRUE(CheckServerName(tls, "--server", several, "servers.example.org").ok()) << several;
    EXPECT_TRUE(CheckServerName(TlsFiles(), "--server", several, "").ok()) << "plain text to " << several;
  }
}

TEST(CheckServerNameTest, AnAddressOfOneNameIsTheName) {
  TlsFiles tls;
  tls.ca = "ca.pem";
  for (const char* one :
       {"train.example.org:50051", "dns:servers:50051", "ipv4:10.0.0.1:50051", "ipv6:[::1]:50051", ""}) {
    EXPECT_TRUE(CheckServerName(tls, "--server", one, "").ok()) << one;
  }
}

}  // namespace
}  // namespace mantissa::process
