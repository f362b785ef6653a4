// Event files, byte by byte, and on disks that fail. That TensorBoard reads them:
// tests/integration/test_tensorboard.py.
#include "worker/agent/exporters/tensorboard_exporter.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "tests/unit/agent/export_segments.h"
#include "worker/agent/exporters/event_record.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::SizeIs;

TEST(EventRecord, HasTheChecksumsOfRfc3720) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(EventRecord, IsAFramedEvent) {
  ExportPoint point;
  point.step = 300;
  point.time_unix_nanos = 1'500'000'000;
  point.scalars = {{"a", 1.0}};
  // Event{wall_time: 1.5, step: 300, summary{value{tag: "a", simple_value: 1}}}, by hand.
  const std::string event(
      "\x09\x00\x00\x00\x00\x00\x00\xF8\x3F"
      "\x10\xAC\x02"
      "\x2A\x0A\x0A\x08\x0A\x01\x61\x15\x00\x00\x80\x3F",
      9 + 3 + 12);
  const std::string record = ScalarsRecord(point);
  EXPECT_EQ(record.size(), 8 + 4 + event.size() + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\x18\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, event.size()), event);
}

// The whole records of a file; nothing when something follows them.
std::optional<std::vector<std::string>> RecordsIn(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  const std::string bytes = text.str();
  std::vector<std::string> records;
  std::size_t at = 0;
  while (at + 12 <= bytes.size()) {
    std::size_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length * 256 + static_cast<unsigned char>(bytes[at + i]);
    if (at + 16 + length > bytes.size()) return std::nullopt;
    records.push_back(bytes.substr(at, 16 + length));
    at += 16 + length;
  }
  return at == bytes.size() ? std::optional(records) : std::nullopt;
}

class TensorboardExporterTest : public testing::Test {
 protected:
  ~TensorboardExporterTest() override { fs::remove_all(folder_); }

  absl::Status Begin() {
    ExportedAttempt attempt;
    attempt.key = key_;
    return exporter_.Begin(attempt);
  }
  absl::Status Add(int first, int last) { return exporter_.Add(key_, PointsOf(ExportRecords(first, last))); }
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "job/attempt-2")) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("tensorboard-" + std::to_string(::getpid()));
  const AttemptKey key_ = {"job", 2};
  process::FakeClock clock_;
  TensorboardExporter exporter_{folder_.string(), "host", clock_};
};

TEST_F(TensorboardExporterTest, WritesARecordForEachPointBehindTheVersion) {
  ASSERT_TRUE(Begin().ok());
  ASSERT_TRUE(Add(1, 3).ok());
  ASSERT_TRUE(Add(4, 4).ok());
  ASSERT_TRUE(exporter_.End(key_, v1::Attempt::SUCCEEDED).ok());
  ASSERT_THAT(Files(), SizeIs(1));
  EXPECT_THAT(Files()[0].filename().string(), HasSubstr(".tfevents."));
  const auto records = RecordsIn(Files()[0]);
  ASSERT_TRUE(records.has_value());
  ASSERT_THAT(*records, SizeIs(5));
  EXPECT_THAT((*records)[0], HasSubstr("brain.Event:2"));
  EXPECT_EQ((*records)[2], ScalarsRecord(PointsOf(ExportRecords(2, 2))[0]));
}

// A limit on the size of files is a disk that fills up, for this process alone.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, SIG_IGN);
    Set(bytes);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  void Set(rlim_t bytes) {
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }

 private:
  rlimit before_ = {};
};

TEST_F(TensorboardExporterTest, WhatAFullDiskCutShortIsCutOffAndWrittenLater) {
  ASSERT_TRUE(Begin().ok());
  ASSERT_TRUE(Add(1, 1).ok());
  const auto whole = fs::file_size(Files()[0]);
  {
    FileSizeLimit limit(whole + 30);  // in the middle of the next record
    const absl::Status failed = Add(2, 3);
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("--tensorboard-dir"));
    EXPECT_EQ(fs::file_size(Files()[0]), whole);
  }
  ASSERT_TRUE(Add(2, 3).ok());
  ASSERT_THAT(Files(), SizeIs(1));
  const auto records = RecordsIn(Files()[0]);
  ASSERT_TRUE(records.has_value()) << "no torn record is left";
  EXPECT_THAT(*records, SizeIs(4));
}

TEST_F(TensorboardExporterTest, AFileThatCannotEvenBeginIsTriedAgain) {
  {
    FileSizeLimit limit(0);
    EXPECT_TRUE(absl::IsUnavailable(Begin()));
  }
  ASSERT_TRUE(Begin().ok());
  ASSERT_THAT(Files(), SizeIs(1)) << "what could not begin is not left behind";
}

TEST_F(TensorboardExporterTest, ARemovedFolderIsMadeAgain) {
  ASSERT_TRUE(Begin().ok());
  ASSERT_TRUE(Add(1, 2).ok());
  fs::remove_all(folder_);
  ASSERT_TRUE(Add(3, 3).ok());
  ASSERT_THAT(Files(), SizeIs(1));
  const auto records = RecordsIn(Files()[0]);
  ASSERT_TRUE(records.has_value());
  EXPECT_THAT(*records, SizeIs(2)) << "the version, and what is new";
}

TEST_F(TensorboardExporterTest, AFileInTheFoldersPlaceIsSaid) {
  std::ofstream(folder_.string()) << "in the way";
  const absl::Status failed = Begin();
  EXPECT_TRUE(absl::IsUnavailable(failed));
  EXPECT_THAT(std::string(failed.message()), HasSubstr("can't make"));
}

}  // namespace
}  // namespace mantissa::agent
