#include "worker/agent/devices/dcgm_feed.h"

#include <utility>

#include "process/log.h"

namespace mantissa::agent {

DcgmFeed::DcgmFeed(std::string folder, std::chrono::milliseconds interval, Inbox& inbox)
    : wanted_(!folder.empty()), interval_(interval), inbox_(inbox), mapping_(std::move(folder)) {}

void DcgmFeed::Show(std::map<unsigned, std::string> jobs, WorkThread& disk, process::SteadyTime now) {
  if (jobs == shown_ && now < again_at_) return;
  shown_ = std::move(jobs);
  again_at_ = now + interval_;
  ++open_;
  disk.Post([this, jobs = shown_] { inbox_.Post([this, shown = mapping_.Show(jobs)] { OnShown(shown); }); });
}

void DcgmFeed::OnShown(const absl::Status& shown) {
  --open_;
  if (!shown.ok() && !fails_) {
    process::Log(process::Level::kWarning,
                 "dcgm-exporter can't be told which jobs its GPUs work for; jobs go on, and it is tried again",
                 {{"error", shown}});
  }
  fails_ = !shown.ok();
}

}  // namespace mantissa::agent
