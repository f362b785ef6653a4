// Event files for TensorBoard.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "process/clock.h"
#include "process/file_descriptor.h"
#include "worker/agent/exporters/exporter.h"

namespace mantissa::agent {

// FOLDER/<job id>/attempt-<number>/events.out.tfevents.<seconds>.<host>.<pid>.<n>: a job is a folder of runs, one an
// attempt, so that a resumed one is drawn beside what it went on from. Step is the iteration.
//
// A record is whole in its file or not there: what a full disk cut short is cut off again. A file or folder that was
// removed is made again, and goes on with what is new. Errors of the disk are UNAVAILABLE, for disks are mended.
class TensorboardExporter final : public Exporter {
 public:
  // `clock` must outlive it.
  TensorboardExporter(std::string folder, std::string host_name, const process::Clock& clock)
      : folder_(std::move(folder)), host_name_(std::move(host_name)), clock_(clock) {}

  const char* name() const override { return "tensorboard"; }
  absl::Status Begin(const ExportedAttempt& attempt) override;
  absl::Status Add(const AttemptKey& key, const std::vector<ExportPoint>& points) override;
  absl::Status End(const AttemptKey& key, v1::Attempt::State state) override;

 private:
  struct EventFile {
    process::FileDescriptor descriptor;
    std::string path;
    std::int64_t size = 0;  // of whole records
  };

  absl::Status Open(const AttemptKey& key, EventFile& file);
  static absl::Status Append(const std::string& bytes, EventFile& file);

  const std::string folder_;
  const std::string host_name_;
  const process::Clock& clock_;
  std::map<AttemptKey, EventFile> files_;
  int opened_ = 0;
};

}  // namespace mantissa::agent
