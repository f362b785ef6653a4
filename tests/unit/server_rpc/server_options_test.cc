#include "server/program/server_options.h"

#include <optional>
#include <set>

#include "gtest/gtest.h"

#include "server/program/scheduler_options.h"
#include "server/rpc/listen_address.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;

const process::Environment kNoEnvironment = [](const std::string&) { return std::optional<std::string>(); };

TEST(ServerOptionsTest, EverySettingArrivesWhereItBelongs) {
  ServerOptions options;
  process::Settings settings("mantissa-server", DeclareSettings(options));
  const absl::Status loaded = settings.Load({{"listen", "127.0.0.1:1"},
                                             {"metrics-listen", "127.0.0.1:2"},
                                             {"health-listen", "127.0.0.1:3"},
                                             {"data-dir", "/d"},
                                             {"postgres", "postgresql://u@h/n"},
                                             {"address-file", "/a"},
                                             {"insecure-allow-remote", "true"},
                                             {"tls-certificate", "/c"},
                                             {"tls-key", "/k"},
                                             {"tls-client-ca", "/ca"},
                                             {"tokens", "/t"},
                                             {"tenant-max-queued-jobs", "21"},
                                             {"tenant-calls-per-second", "22"},
                                             {"tenant-max-streams", "23"},
                                             {"lease", "60s"},
                                             {"next-call", "7s"},
                                             {"disconnect-grace", "9s"},
                                             {"max-queued-jobs", "11"},
                                             {"priority-worth", "5m"},
                                             {"reserve-after", "90s"},
                                             {"preempting-priority", "500"},
                                             {"retention-time", "30d"},
                                             {"retention-jobs", "13"},
                                             {"telemetry-full-records", "14"},
                                             {"drain-timeout", "12s"},
                                             {"log-format", "json"},
                                             {"log-level", "error"}},
                                            kNoEnvironment);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(options.listen, "127.0.0.1:1");
  EXPECT_EQ(options.metrics_listen, "127.0.0.1:2");
  EXPECT_EQ(options.health_listen, "127.0.0.1:3");
  EXPECT_EQ(options.data_dir, "/d");
  EXPECT_EQ(options.postgres, "postgresql://u@h/n");
  EXPECT_EQ(options.address_file, "/a");
  EXPECT_TRUE(options.insecure_allow_remote);
  EXPECT_EQ(options.tls_certificate, "/c");
  EXPECT_EQ(options.tls_key, "/k");
  EXPECT_EQ(options.tls_client_ca, "/ca");
  EXPECT_EQ(options.tokens, "/t");
  EXPECT_EQ(options.tenant_max_queued_jobs, 21);
  EXPECT_EQ(options.tenant_calls_per_second, 22);
  EXPECT_EQ(options.tenant_max_streams, 23);
  EXPECT_EQ(options.lease, milliseconds(60'000));
  EXPECT_EQ(options.next_call, milliseconds(7'000));
  EXPECT_EQ(options.disconnect_grace, milliseconds(9'000));
  EXPECT_EQ(options.max_queued_jobs, 11);
  EXPECT_EQ(options.retention_time, std::chrono::hours(30 * 24));
  EXPECT_EQ(options.retention_jobs, 13);
  EXPECT_EQ(options.telemetry_full_records, 14);
  EXPECT_EQ(options.priority_worth, milliseconds(300'000));
  EXPECT_EQ(options.reserve_after, milliseconds(90'000));
  EXPECT_EQ(options.preempting_priority, 500);
  EXPECT_EQ(options.drain_timeout, milliseconds(12'000));
  EXPECT_EQ(options.log_format, "json");
  EXPECT_EQ(options.log_level, "error");
  EXPECT_EQ(settings.settings().size(), 27u) << "a new setting wants a line above";
}

TEST(ServerOptionsTest, TheDefaultsAreGood) { EXPECT_TRUE(CheckOptions(ServerOptions()).ok()); }

TEST(ServerOptionsTest, AnAddressThatOthersReachNeedsAnExplicitWord) {
  for (const char* const address : {"0.0.0.0:1", "[::]:1", "192.168.1.2:1", "example.com:1", "[fe80::1]:1"}) {
    ServerOptions options;
    options.listen = address;
    const absl::Status refused = CheckOptions(options);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_NE(refused.message().find("--insecure-allow-remote"), absl::string_view::npos);
    options.insecure_allow_remote = true;
    EXPECT_TRUE(CheckOptions(options).ok()) << address;
    options.insecure_allow_remote = false;
    options.listen = "127.0.0.1:1";
    options.metrics_listen = address;
    EXPECT_FALSE(CheckOptions(options).ok()) << "metrics tell, too: " << address;
  }
  for (const char* const address : {"127.0.0.1:1", "127.8.0.1:1", "localhost:1", "[::1]:1"}) {
    ServerOptions options;
    options.listen = address;
    EXPECT_TRUE(CheckOptions(options).ok()) << address;
  }
}

TEST(ServerOptionsTest, HealthMayBeToldToAnybodyAtAnAddress) {
  ServerOptions options;
  options.health_listen = "0.0.0.0:50052";
  EXPECT_TRUE(CheckOptions(options).ok());
  options.health_listen = "50052";
  EXPECT_NE(CheckOptions(options).message().find("--health-listen"), absl::string_view::npos);
}

TEST(ServerOptionsTest, AnAddressThatOthersReachMayBeUsedByThoseWhoSayWhoTheyAre) {
  ServerOptions options;
  options.listen = "0.0.0.0:1";
  options.tls_certificate = "/c";
  options.tls_key = "/k";
  EXPECT_FALSE(CheckOptions(options).ok()) << "it is encrypted, and everybody may speak";
  options.tokens = "/t";
  EXPECT_TRUE(CheckOptions(options).ok());
  options.tokens = "";
  options.tls_client_ca = "/ca";
  EXPECT_TRUE(CheckOptions(options).ok());
  options.metrics_listen = "0.0.0.0:2";
  EXPECT_FALSE(CheckOptions(options).ok()) << "nobody is asked there";
}

TEST(ServerOptionsTest, WhoAsksWhoCallsNeedsTls) {
  for (const char* const setting : {"--tokens", "--tls-client-ca"}) {
    ServerOptions options;
    (std::string(setting) == "--tokens" ? options.tokens : options.tls_client_ca) = "/f";
    const absl::Status refused = CheckOptions(options);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(refused.message().find(setting), 0u) << refused;
    options.tls_certificate = "/c";
    EXPECT_EQ(CheckOptions(options).message().find("--tls-key: is missing"), 0u);
    options.tls_key = "/k";
    EXPECT_TRUE(CheckOptions(options).ok());
    options.tls_certificate = "";
    EXPECT_EQ(CheckOptions(options).message().find("--tls-certificate: is missing"), 0u);
  }
}

TEST(ServerOptionsTest, ALeaseThatAFewLostCallsWouldEndIsRefused) {
  ServerOptions options;
  options.next_call = milliseconds(1000);
  options.lease = milliseconds(6000);
  EXPECT_TRUE(CheckOptions(options).ok());
  options.lease = milliseconds(5999);
  const absl::Status refused = CheckOptions(options);
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find("6s"), absl::string_view::npos) << refused;
  options.next_call = milliseconds(0);
  EXPECT_FALSE(CheckOptions(options).ok());
}

TEST(ListenAddressTest, IsReadAndWritten) {
  const auto v4 = ParseListenAddress("127.0.0.1:50051");
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->host, "127.0.0.1");
  EXPECT_EQ(v4->port, 50051);
  EXPECT_EQ(v4->WithPort(7), "127.0.0.1:7");
  const auto v6 = ParseListenAddress("[::1]:0");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->WithPort(7), "[::1]:7");
}

TEST(ListenAddressTest, WhatIsNoneIsRefused) {
  for (const char* const text : {"", ":", "50051", ":50051", "host:", "host:x", "host:-1", "host:65536", "::1:50051",
                                 "host:1 ", "host:99999999999999999999"}) {
    EXPECT_FALSE(ParseListenAddress(text).ok()) << text;
  }
}

TEST(ServerOptionsTest, WhatTheSchedulerDecidesByArrivesThere) {
  ServerOptions options;
  options.lease = milliseconds(1);
  options.next_call = milliseconds(2);
  options.disconnect_grace = milliseconds(3);
  options.max_queued_jobs = 4;
  options.tenant_max_queued_jobs = 5;
  options.priority_worth = milliseconds(6);
  options.reserve_after = milliseconds(7);
  options.preempting_priority = 1'000;
  const SchedulerOptions scheduler = SchedulerOptionsOf(options, 8);
  EXPECT_EQ(scheduler.lease, milliseconds(1));
  EXPECT_EQ(scheduler.next_call, milliseconds(2));
  EXPECT_EQ(scheduler.disconnect_grace, milliseconds(3));
  EXPECT_EQ(scheduler.max_queued_jobs, 4);
  EXPECT_EQ(scheduler.max_queued_jobs_per_tenant, 5);
  EXPECT_EQ(scheduler.priority_worth, milliseconds(6));
  EXPECT_EQ(scheduler.reserve_after, milliseconds(7));
  EXPECT_EQ(scheduler.preempting_priority, 1'000);
  EXPECT_EQ(scheduler.epoch, 8);
  EXPECT_EQ(SchedulerOptionsOf(ServerOptions(), 8).preempting_priority, std::nullopt)
      << "nobody, unless it is asked for";
}

}  // namespace
}  // namespace mantissa::server
