"""What a real MLflow server shows of a job, and what a server that goes away costs it."""
import json
import math
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from conftest import until
from exported_runs import DEPS, evaluations, history, overflowing_spec, start_exporting_worker, worker_metric


class Mlflow:
    """`mlflow server` on a free port, its runs in a folder of the test's."""

    def __init__(self, folder):
        self.folder, self.log = folder, open(folder / "mlflow.log", "a")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def launch(self):
        self.process = subprocess.Popen(
            [DEPS / "mlflow-venv/bin/mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination",
             self.folder / "artifacts"], stdout=self.log, stderr=self.log, start_new_session=True)

    def start(self):
        self.launch()
        until(self.answers, "mlflow answers", seconds=180)

    def answers(self):
        assert self.process.poll() is None, (self.folder / "mlflow.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        """The server and the processes that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def post(self, call, **body):
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/{call}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def get(self, call, query):
        with urllib.request.urlopen(f"{self.uri}/api/2.0/mlflow/{call}?{query}", timeout=60) as answer:
            return json.load(answer)

    def runs(self, experiment):
        """Of an experiment, its name escaped; none while there is no such experiment."""
        try:
            found = self.get("experiments/get-by-name", f"experiment_name={experiment}")["experiment"]["experiment_id"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return []
        return self.post("runs/search", experiment_ids=[found], max_results=100).get("runs", [])

    def ended_run(self, experiment, status):
        """The only run, once it has ended so."""
        run, = until(lambda: [run for run in self.runs(experiment) if run["info"]["status"] == status],
                     f"the run is {status}", seconds=120)
        assert len(self.runs(experiment)) == 1
        return run

    def metric(self, run, key):
        """{step: value} of every value that was logged, once each."""
        values, token = {}, ""
        while True:
            page = self.get("metrics/get-history", f"run_id={run['info']['run_id']}&metric_key={key}&max_results=1000"
                            + (f"&page_token={token}" if token else ""))
            for metric in page.get("metrics", []):
                step = int(metric.get("step", 0))
                assert step not in values, f"{key} twice at step {step}"
                values[step] = float(metric["value"])
            token = page.get("next_page_token", "")
            if not token:
                return values


@pytest.fixture
def mlflow(tmp_path):
    server = Mlflow(tmp_path)
    try:
        yield server
    finally:
        server.stop()
        print(f"---- mlflow\n{(tmp_path / 'mlflow.log').read_text()[-4000:]}")


def check_run(mlflow, run, tags):
    """A run has every value of an attempt's history, at its iteration."""
    for tag, values in tags.items():
        assert mlflow.metric(run, tag) == values, tag


def test_mlflow_shows_what_history_does(cluster, mlflow):
    mlflow.start()
    worker = start_exporting_worker(cluster, "--mlflow-uri", mlflow.uri, "--mlflow-experiment", "digits of Müller & co")
    job = cluster.submit(overflowing_spec(cluster))
    cluster.wait_state(job.id, "SUCCEEDED")
    run = mlflow.ended_run("digits%20of%20M%C3%BCller%20%26%20co", "FINISHED")
    assert worker.terminate() == 0
    assert run["info"]["run_name"] == "digits"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["mantissa.job_id"] == job.id and tags["mantissa.attempt"] == "1"
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert params["precision.mode"] == "FP16" and params["model"] == "mlp" and params["optimizer"] == "adamw"
    assert params["batch_size"] == "64" and float(params["learning_rate"]) == 1e-3
    check_run(mlflow, run, history(cluster, job.id)[1])
    measured = evaluations(cluster, job.id)
    check_run(mlflow, run, {"eval/loss": {i: e.loss for i, e in measured.items()},
                            "eval/accuracy": {i: e.accuracy for i, e in measured.items()}})


def test_losses_that_are_no_numbers_arrive_and_a_failed_job_is_a_failed_run(cluster, mlflow):
    mlflow.start()
    worker = start_exporting_worker(cluster, "--mlflow-uri", mlflow.uri)
    job = cluster.submit(cluster.diverging())
    cluster.wait_state(job.id, "FAILED")
    run = mlflow.ended_run("mantissa", "FAILED")
    assert worker.terminate() == 0
    losses, wanted = mlflow.metric(run, "train/loss"), history(cluster, job.id)[1]["train/loss"]
    assert losses.keys() == wanted.keys()
    assert any(math.isnan(value) for value in wanted.values())
    for iteration, value in wanted.items():
        # MLflow's SQL store keeps an infinity as the largest number.
        assert losses[iteration] == value or math.isnan(value) and math.isnan(losses[iteration]) or math.isinf(value)


def test_a_server_that_is_away_costs_a_job_nothing_and_gets_what_waited(cluster, mlflow):
    worker = start_exporting_worker(cluster, "--mlflow-uri", mlflow.uri, MLFLOW_TRACKING_TOKEN="canary-token")
    job = cluster.submit(overflowing_spec(cluster))
    ended = cluster.wait_state(job.id, "SUCCEEDED")
    assert ended.attempt == 1
    assert until(lambda: worker_metric(worker, "mantissa_worker_export_failures_total"), "the failures are counted")
    mlflow.start()
    until(lambda: "an exporter works again" in worker.log_text(), "the exporter works again", seconds=120)
    run = mlflow.ended_run("mantissa", "FINISHED")
    assert worker.terminate() == 0
    check_run(mlflow, run, history(cluster, job.id)[1])
    assert "canary-token" not in worker.log_text()
    assert len([line for line in worker.log_text().splitlines() if "an exporter fails" in line]) == 1
