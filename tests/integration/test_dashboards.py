"""Dashboards, rules and series against a real Prometheus that scrapes a live server and worker.

MANTISSA_PASSING_JOBS: how many jobs come and go (200; P21's figure is of 10000)."""
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request

import pytest

from conftest import ROOT, Cluster, Program, until
from live_prometheus import Prometheus, Viewer

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
PASSING_JOBS = int(os.environ.get("MANTISSA_PASSING_JOBS", "200"))
SLOTS = 4
FOR_EVER = 50_000_000
# P21.
BASE_SERIES, SERIES_PER_JOB, MAX_LIVE_JOBS, LEFT_OVER_SECONDS = 600, 12, 200, 60


class Observed(Cluster):
    """A server and a worker that Prometheus scrapes, from before the first job on."""

    def start_worker(self, name="ws-1"):
        worker = Program(name, ["mantissa-worker", "--server", self.address, "--metrics-listen", "127.0.0.1:0",
                                "--state-dir", self.folder / name, "--worker-id", name, "--cpu-slots", SLOTS,
                                "--threads", 1, "--root", f"data={self.data}", "--root",
                                f"checkpoints={self.checkpoints}"], self.folder)
        self.workers[name] = worker
        self.worker_metrics = "127.0.0.1:" + until(
            lambda: re.search(r'"metrics_port":"?(\d+)', worker.log_text()), "the worker says its port").group(1)
        until(lambda: any(w.connected for w in self.admin().ListWorkers(
            self.pb("admin_service").ListWorkersRequest()).workers), "the worker is connected")

    def start_prometheus(self):
        self.prometheus = Prometheus(self.folder, {"mantissa-server": [self.metrics],
                                                   "mantissa-worker": [self.worker_metrics]})

    def fp16_that_overflows_at_first(self):
        spec = self.digits(iterations=FOR_EVER, precision="FP16", checkpoint_every=2_000)
        spec.name = "overflows"
        spec.training.precision.loss_scale.init = 2.0 ** 24
        spec.training.precision.loss_scale.growth_interval = 1_000
        return self.submit(spec)

    def bf16_that_runs(self):
        spec = self.digits(iterations=FOR_EVER, precision="BF16")
        spec.name = "runs"
        return self.submit(spec)

    def close(self):
        if hasattr(self, "prometheus"):
            self.prometheus.close()
        super().close()


@pytest.fixture
def observed(tmp_path):
    it = Observed(tmp_path)
    try:
        it.start_server()
        it.start_worker()
        it.start_prometheus()
        yield it
    finally:
        it.close()
        for program in [it.server, *it.workers.values()]:
            if program is not None:
                print(f"---- {program.name}\n{program.log_text()[-4000:]}")


def text_of(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_every_query_of_every_dashboard_returns_data(observed):
    prometheus = observed.prometheus
    scaled, plain = observed.fp16_that_overflows_at_first(), observed.bf16_that_runs()
    short = observed.submit(observed.digits(iterations=20))
    observed.wait_state(short.id, "SUCCEEDED")
    for job in (scaled, plain):
        observed.wait_iteration(job.id, 3_000)  # the statistics window is full

    def nothing_empty(viewer, but=frozenset()):
        def settled():
            observed.get(plain.id)  # what counts and times calls has some to show
            return {query for _, query in viewer.empty()} <= but

        try:
            until(settled, "data", 60)
        except AssertionError:
            raise AssertionError(f"{viewer.dashboard['title']} has panels without data: {viewer.empty()}") from None

    begin = prometheus.began
    viewers = {"fleet": Viewer(prometheus, DASHBOARDS["fleet"], begin),
               "devices": Viewer(prometheus, DASHBOARDS["devices"], begin),
               "job": Viewer(prometheus, DASHBOARDS["job"], begin, name="overflows", job_id=scaled.id)}
    assert set(viewers) == set(DASHBOARDS), "each is looked at"
    for viewer in viewers.values():
        nothing_empty(viewer)
    # One worker rather than all of them.
    nothing_empty(Viewer(prometheus, DASHBOARDS["devices"], begin, worker=observed.worker_metrics))
    # A job without a loss scale lacks what is about it, and nothing else.
    job = Viewer(prometheus, DASHBOARDS["job"], begin, name="runs")
    assert job.variables["job_id"] == plain.id
    of_the_scale = {query for _, query, _ in job.queries() if "loss_scale" in query or "overflows" in query}
    nothing_empty(job, but=of_the_scale)
    assert {query for _, query in job.empty()} == of_the_scale

    # What the first seconds brought is seen, although it was there before the first scrape of the job.
    overflowed = {title: numbers for title, query, instant in viewers["job"].queries()
                  if "overflows" in query for numbers in [viewers["job"].numbers(query, instant)]}
    assert set(overflowed) == {"When did it overflow?", "annotation Overflow"}
    assert all(max(numbers) >= 1 for numbers in overflowed.values()), overflowed
    scraped = prometheus.value(f'mantissa_job_overflows_total{{job_id="{scaled.id}"}}')
    assert observed.get(scaled.id).progress.skipped_iterations >= scraped >= 1


def test_rules_evaluate_and_a_healthy_fleet_raises_no_alert(observed):
    observed.fp16_that_overflows_at_first()
    running = observed.bf16_that_runs()
    observed.wait_iteration(running.id, 100)
    prometheus = observed.prometheus
    until(lambda: prometheus.instant("mantissa_job_iteration"), "a scrape with the jobs")

    def rules():
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    before = [rule["lastEvaluation"] for rule in rules()]
    until(lambda: not set(before) & {rule["lastEvaluation"] for rule in rules()}, "every rule is evaluated since then")
    assert [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules() if rule["state"] == "firing"] == []


def test_promtool_finds_no_fault_in_what_server_and_worker_show(observed):
    job = observed.fp16_that_overflows_at_first()
    observed.wait_iteration(job.id, 100)
    until(lambda: job.id in text_of(observed.metrics), "its series")
    for address in (observed.metrics, observed.worker_metrics):
        checked = subprocess.run([shutil.which("promtool"), "check", "metrics"], input=text_of(address),
                                 capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr, checked.stdout + checked.stderr


OF_A_JOB = re.compile(r'^mantissa_job_\w+\{job="(\w+)"', re.MULTILINE)
RUNNING = re.compile(r'^mantissa_jobs\{state="running"\} (\d+)', re.MULTILINE)
ENDED = re.compile(r'^mantissa_jobs_ended_total\{state="(\w+)"\} (\d+)', re.MULTILINE)


def series_in(text):
    return sum(not line.startswith("#") for line in text.splitlines())


class PassingJobs:
    """Keeps some jobs waiting until all have been submitted, and looks at the series the while."""

    def __init__(self, observed):
        self.observed, self.stub = observed, observed.jobs()
        self.submitted, self.most_series, self.most_live, self.seen, self.ended = 0, 0, 0, set(), {}

    def submit_some(self):
        request = self.observed.pb("job_service").SubmitJobsRequest(request_id=f"passing-{self.submitted}")
        for _ in range(min(100, PASSING_JOBS - self.submitted)):
            spec = request.specs.add(name="passes")
            spec.training.model.mlp.hidden.append(8)
            spec.training.data.train.synthetic.samples = 64
            spec.training.precision.mode = "FP16"
            spec.training.iterations = 30
        self.stub.SubmitJobs(request, wait_for_ready=True)
        self.submitted += len(request.specs)

    def look(self):
        """Whether all have ended; P21's bound holds at every look."""
        text = text_of(self.observed.metrics)
        jobs = set(OF_A_JOB.findall(text))
        # Families are collected one after another, and jobs begin and end meanwhile: the larger count.
        active = min(max(int(RUNNING.search(text)[1]), len(jobs)), MAX_LIVE_JOBS)
        series = series_in(text) + series_in(text_of(self.observed.worker_metrics))
        assert series <= BASE_SERIES + SERIES_PER_JOB * active, f"{series} series with {active} active jobs"
        self.most_series, self.most_live = max(self.most_series, series), max(self.most_live, len(jobs))
        self.seen |= jobs
        self.ended = {state: int(count) for state, count in ENDED.findall(text)}
        ended = sum(self.ended.values())
        if self.submitted < PASSING_JOBS and self.submitted - ended < 50:
            self.submit_some()
        return ended >= PASSING_JOBS


def test_series_are_bounded_while_jobs_come_and_go_and_none_is_left_over(observed):
    stays = observed.fp16_that_overflows_at_first()
    passing = PassingJobs(observed)
    began = time.monotonic()
    until(passing.look, f"{PASSING_JOBS} jobs end", 180 + PASSING_JOBS)
    took = time.monotonic() - began
    assert passing.ended == {"succeeded": PASSING_JOBS, "failed": 0, "cancelled": 0}
    assert len(passing.seen) > PASSING_JOBS / 10, "or the jobs passed unseen, and the bound says nothing"

    prometheus = observed.prometheus
    observed.jobs().CancelJob(observed.pb("job_service").CancelJobRequest(job_id=stays.id))
    observed.wait_state(stays.id, "CANCELLED")
    over = time.monotonic()
    until(lambda: not OF_A_JOB.search(text_of(observed.metrics)), "no series of a job is left", LEFT_OVER_SECONDS)
    until(lambda: not prometheus.instant('{job_id!=""}'), "nor in Prometheus, alerts included", LEFT_OVER_SECONDS)
    left = time.monotonic() - over
    # Most come and go between two scrapes; the one that ran all the time Prometheus must have seen.
    known = prometheus.get("label/job_id/values")
    assert stays.id in known
    print(f"{PASSING_JOBS} jobs in {took:.0f} s, {len(passing.seen)} caught with series, at most {passing.most_series} "
          f"series, with up to {passing.most_live} jobs live; none left {left:.1f} s after the end; "
          f"Prometheus knows {len(known)} ids")


def test_runbooks_name_commands_that_exist(observed):
    """Every `mantissa ...` of the pages, in blocks and in sentences: the command, and each of its flags."""
    commands = set()
    for page in (ROOT / "deploy/runbooks").glob("*.md"):
        text = page.read_text()
        for line in re.findall(r"^mantissa .*$", text, re.MULTILINE) + re.findall(r"`(mantissa [^`]*)`", text):
            commands.add(" ".join(line.split()))
    assert len(commands) > 20
    common, helps = observed.cli("--help").stdout, {}
    for command in sorted(commands):
        _, name, *rest = command.split()
        if name not in helps:
            helps[name] = observed.cli(name, "--help")
        assert helps[name].returncode == 0, f"{command}: there is no such command"
        for flag in (word.split("=")[0] for word in rest if word.startswith("-")):
            known = helps[name].stdout + common
            assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", known), f"{command}: no flag {flag}"
