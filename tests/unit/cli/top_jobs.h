// Jobs, workers and frames of a server that is busy, built by hand.
#pragma once

#include <string>

#include "client/cli/top/top_model.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {

inline process::WallTime AtNoon(int seconds = 0) { return process::WallTime(std::chrono::seconds(kNoon + seconds)); }

inline v1::Job TopJob(const std::string& id, const std::string& name, v1::Job::State state) {
  v1::Job job;
  job.set_id(id);
  job.set_name(name);
  job.set_state(state);
  job.mutable_state_time()->set_seconds(kNoon - 180);
  job.mutable_create_time()->set_seconds(kNoon - 600);
  return job;
}

inline v1::Job RunningTopJob(const std::string& id, const std::string& name, int iteration, int total,
                             const std::string& worker, const std::string& device) {
  v1::Job job = TopJob(id, name, v1::Job::RUNNING);
  job.set_attempt(1);
  job.mutable_start_time()->set_seconds(kNoon - 41);
  v1::JobProgress& progress = *job.mutable_progress();
  progress.set_worker_id(worker);
  progress.set_device(device);
  progress.set_iteration(iteration);
  progress.set_total_iterations(total);
  progress.set_loss(0.0812);
  progress.set_samples_per_second(14'200);
  progress.mutable_time()->set_seconds(kNoon);
  return job;
}

inline v1::Job EndedTopJob(const std::string& id, const std::string& name, v1::Job::State state, int seconds_ago) {
  v1::Job job = TopJob(id, name, state);
  job.mutable_end_time()->set_seconds(kNoon - seconds_ago);
  return job;
}

inline v1::WatchJobsResponse JobsFrame(const std::vector<v1::Job>& jobs) {
  v1::WatchJobsResponse frame;
  for (const v1::Job& job : jobs) *frame.add_jobs() = job;
  return frame;
}

inline v1::Worker TopWorker(const std::string& id, const std::string& device, const std::string& model, int gib) {
  v1::Worker worker;
  worker.set_id(id);
  worker.set_connected(true);
  worker.mutable_last_seen_time()->set_seconds(kNoon - 1);
  v1::Device& added = *worker.add_devices();
  added.set_id(device);
  added.set_kind(device.rfind("cuda", 0) == 0 ? v1::Device::CUDA : v1::Device::CPU);
  added.set_model(model);
  added.set_memory_bytes(std::int64_t{gib} << 30);
  return worker;
}

// Three workers, of which one is away; two jobs run, one winds down, three wait, three have ended.
inline TopModel BusyServer() {
  TopModel model("127.0.0.1:50051");
  v1::ListWorkersResponse workers;
  v1::Worker& gpu = *workers.add_workers() = TopWorker("gpu-1", "cuda-0", "NVIDIA H100 80GB HBM3", 80);
  for (const char* const id : {"cuda-1", "cuda-2"}) {
    *gpu.add_devices() = TopWorker("", id, "NVIDIA H100 80GB HBM3", 80).devices(0);
  }
  *gpu.add_devices() = TopWorker("", "cpu-0", "Intel Xeon 8480C", 256).devices(0);
  v1::Worker& away = *workers.add_workers() = TopWorker("old", "cpu-0", "", 16);
  away.set_connected(false);
  away.mutable_last_seen_time()->set_seconds(kNoon - 130);
  *workers.add_workers() = TopWorker("ws-1", "cpu-0", "AMD EPYC 9B14", 31);
  model.SetWorkers(workers);

  v1::Job digits = RunningTopJob("01jdgts00000000000000000aa", "digits-fp16", 412, 690, "ws-1", "cpu");
  digits.mutable_progress()->set_loss_scale(16'384);
  digits.mutable_progress()->set_skipped_iterations(2);
  digits.mutable_progress()->mutable_precision()->set_verdict(v1::PrecisionStats::STABLE);
  v1::Job gpt =
      RunningTopJob("01jdgts10000000000000000aa", "gpt-text-bf16", 1'200, 60'000, "gpu-1", "NVIDIA H100 80GB HBM3");
  gpt.mutable_progress()->set_loss(5.21);
  gpt.mutable_progress()->mutable_precision()->set_verdict(v1::PrecisionStats::UNSTABLE);
  v1::Job stopping = RunningTopJob("01jdgts20000000000000000aa", "sweep", 3, 0, "gpu-1", "cuda-1");
  stopping.set_state(v1::Job::CANCELLING);
  v1::Job first = TopJob("01jdgts30000000000000000aa", "sweep", v1::Job::QUEUED);
  first.set_state_message("waits for a worker with 80 GiB of free memory on a device of compute capability 9.0");
  v1::Job second = TopJob("01jdgts40000000000000000aa", "digits-fp16", v1::Job::QUEUED);
  second.set_reason(v1::Reason::WAITING_FOR_WORKER);
  v1::Job paused = TopJob("01jdgts25000000000000000aa", "night-run", v1::Job::PAUSED);
  paused.set_state_message("paused at iteration 77");
  model.BeginAnew();
  model.Apply(JobsFrame({second, first, paused, stopping, gpt, digits}), AtNoon());

  v1::Job good = EndedTopJob("01jdgts0a000000000000000aa", "digits-fp16", v1::Job::SUCCEEDED, 120);
  good.mutable_result()->set_eval_accuracy(0.9583);
  good.mutable_result()->set_loss(0.0312);
  v1::Job bad = EndedTopJob("01jdgts0b000000000000000aa", "digits-fp16", v1::Job::FAILED, 3);
  bad.set_reason(v1::Reason::SCALE_AT_MINIMUM);
  bad.set_state_message("50 iterations in a row overflowed at the smallest scale; lower the learning rate");
  v1::Job gone = EndedTopJob("01jdgts0c000000000000000aa", "oops", v1::Job::CANCELLED, 7'200);
  v1::ListJobsResponse ended;
  *ended.add_jobs() = good;
  *ended.add_jobs() = gone;
  model.AddListed(ended);
  model.Apply(JobsFrame({bad}), AtNoon());
  return model;
}

}  // namespace mantissa::cli
