"""Studies from the spec to what the command line prints: submitted, watched, and read again after a restart."""
import csv
import io
import json

import grpc
import pytest
import yaml
from conftest import EXAMPLES, until, watch

FP16_SMALLEST = 2.0 ** -24


def report_of(cluster, job_id, section=""):
    pb = cluster.pb("job_service")
    return cluster.jobs().GetReport(pb.GetReportRequest(job_id=job_id, section=section), wait_for_ready=True).report


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def study_spec(cluster, text):
    from google.protobuf import json_format
    return json_format.ParseDict(yaml.safe_load(text), cluster.pb("job").JobSpec())


COMPARISON = """
name: two-precisions
study:
  precision_comparison:
    training:
      model: { mlp: { hidden: [32] } }
      data: { train: { idx: { images: digits/train-images.idx, labels: digits/train-labels.idx } } }
      iterations: 40
    precisions: [FP32, BF16]
    seeds: 2
    warm_up_iterations: 2
"""


def end_by_hand(cluster, job, fill):
    """Takes the job as a worker made of stubs, and ends it with the report that `fill` writes."""
    from mantissa.v1 import worker_service_pb2_grpc
    stub = worker_service_pb2_grpc.WorkerServiceStub(cluster.channel())
    pb, job_pb = cluster.pb("worker_service"), cluster.pb("job")
    request = pb.SynchronizeRequest(worker_id="by-hand", session_id="session")
    request.devices.add(id="cpu-0", kind="CPU", cpu_threads=1)
    request.features.extend(cluster.admin().GetServerInfo(cluster.pb("admin_service").GetServerInfoRequest()).features)
    request.max_hang.SetInParent()

    def synchronize():
        request.report_number += 1
        answer = stub.Synchronize(request, timeout=5)
        request.applied_revision = answer.desired_revision
        return [it for it in answer.attempts if it.ref.job_id == job.id and it.HasField("assignment")]

    attempt = request.attempts.add(ref=until(synchronize, "the study is assigned")[0].ref, state="RUNNING")
    synchronize()
    fill(attempt.report)
    attempt.state = job_pb.Attempt.SUCCEEDED
    synchronize()
    return cluster.get(job.id)


def test_a_report_goes_from_its_worker_to_the_command_line(cluster):
    """Whatever the trainer may find: a megabyte of curves, told by a worker, kept over a restart, printed and drawn."""
    job = cluster.submit(study_spec(cluster, COMPARISON))

    def fill(report):
        report.finding = "BF16 does as well as FP32 here."
        for precision in ("FP32", "BF16"):
            report.precision_comparison.precisions.add(precision=precision, verdict="WITHIN_NOISE")
            for seed in range(2):
                for iteration in range(1, 12_001):
                    report.precision_comparison.curves.add(precision=precision, seed=seed, iteration=iteration,
                                                           loss=2.3 / iteration + 0.1 * seed)
        assert 500_000 < report.ByteSize() < 1 << 20

    ended = end_by_hand(cluster, job, fill)
    assert ended.state == cluster.pb("job").Job.SUCCEEDED, ended.state_message
    assert ended.result.finding == "BF16 does as well as FP32 here."
    before = report_of(cluster, job.id)
    assert cluster.server.terminate() == 0
    cluster.start_server()
    assert report_of(cluster, job.id) == before
    shown = cluster.cli("report", job.id)
    assert shown.returncode == 0 and "and 47980 rows more: mantissa report" in shown.stdout, shown.stdout[-2000:]
    rows = cluster.cli("report", job.id, "--section", "curves", "-o", "csv").stdout.splitlines()
    assert rows[0] == "precision,seed,iteration,loss" and len(rows) == 48_001 and rows[1] == "FP32,0,1,2.3"
    assert cluster.cli("report", job.id, "--png", cluster.folder / "curves.png").returncode == 0
    assert (cluster.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "its report: mantissa report" in cluster.cli("watch", job.id).stdout
    assert cluster.cli("delete", job.id).returncode == 0
    assert refusal(lambda: report_of(cluster, job.id))[0] == grpc.StatusCode.NOT_FOUND


def test_a_report_that_is_too_large_ends_the_study_and_nothing_else(cluster):
    job = cluster.submit(study_spec(cluster, COMPARISON))

    def fill(report):
        report.precision_comparison.SetInParent()
        report.finding = "x" * (1 << 20)

    ended = end_by_hand(cluster, job, fill)
    pb = cluster.pb("job")
    assert (ended.state, ended.reason) == (pb.Job.FAILED, pb.Reason.INTERNAL_ERROR), ended.state_message
    assert "1048576 are allowed" in ended.state_message


@pytest.fixture
def working(cluster):
    cluster.start_worker()
    return cluster


def test_the_format_table_is_computed_and_outlives_the_server(working):
    cluster = working
    submitted = cluster.cli("submit", EXAMPLES / "studies/format_table.yaml", "--watch")
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(cluster.cli("get", "formats", "-o", "json").stdout)
    assert job["state"] == "SUCCEEDED" and job["result"]["finding"]
    assert f"mantissa report {job['id']}" in submitted.stdout + submitted.stderr
    before = report_of(cluster, job["id"])
    assert cluster.server.terminate() == 0
    cluster.start_server()
    report = report_of(cluster, job["id"])
    assert report == before and report.finding == job["result"]["finding"]

    code = cluster.pb("study").NumberFormat.Code
    rows = {code.Name(row.format): row for row in report.format_table.formats}
    assert rows["FP16"].smallest_subnormal == FP16_SMALLEST
    assert rows["FP16"].smallest_normal == 2.0 ** -14
    assert rows["FP16"].largest == 65504
    assert rows["FP8_E4M3"].largest == 448 and not rows["FP8_E4M3"].has_infinity
    assert rows["FP8_E5M2"].largest == 57344 and rows["FP8_E5M2"].has_infinity
    assert rows["BF16"].epsilon == 2.0 ** -7 and rows["TF32"].epsilon == 2.0 ** -10
    outcome = cluster.pb("report").RoundedValue.Outcome
    rounded = {(code.Name(row.format), row.value): row for row in report.format_table.values}
    assert rounded["FP16", FP16_SMALLEST].rounded == FP16_SMALLEST
    assert outcome.Name(rounded["FP16", FP16_SMALLEST / 2].outcome) == "UNDERFLOW", "a tie, to the even one"
    assert outcome.Name(rounded["FP16", 65520.0].outcome) == "OVERFLOW"
    assert outcome.Name(rounded["FP16", 65504.0].outcome) == "EXACT"
    gradients = {code.Name(row.format): row for row in report.format_table.gradients}
    assert gradients["FP32"].underflow_share == 0
    assert 0 <= gradients["FP16"].scaled_underflow_share <= gradients["FP16"].underflow_share <= 1


def test_the_command_line_prints_a_report_in_every_form(working):
    cluster = working
    job = cluster.submit(study_spec(cluster, "study: { format_table: { iterations: 0, formats: [FP16, BF16] } }"))
    assert job.name == "format_table"
    cluster.wait_state(job.id, "SUCCEEDED")
    text = cluster.cli("report", job.id)
    assert text.returncode == 0, text.stderr
    assert all(len(line) <= 80 for line in text.stdout.splitlines()), text.stdout
    assert "FP16" in text.stdout and "BF16" in text.stdout
    table = list(csv.DictReader(io.StringIO(cluster.cli("report", job.id, "-o", "csv").stdout)))
    assert {row["format"]: float(row["smallest_subnormal"]) for row in table}["FP16"] == FP16_SMALLEST
    values = list(csv.DictReader(io.StringIO(
        cluster.cli("report", job.id, "-o", "csv", "--section", "values").stdout)))
    assert len(values) == 20 and values[0]["outcome"]
    document = json.loads(cluster.cli("report", job.id, "-o", "json").stdout)
    assert document["finding"] and len(document["format_table"]["formats"]) == 2
    assert cluster.cli("report", job.id, "-o", "name").stdout.split() == ["formats", "values"]
    wrong = cluster.cli("report", job.id, "--section", "nonsense")
    assert wrong.returncode == 2 and "formats, values, gradients" in wrong.stderr


def test_precisions_are_compared_case_by_case(working):
    cluster = working
    job = cluster.submit(study_spec(cluster, COMPARISON))
    frames, segments = watch(cluster, job.id)
    assert frames[-1].end and any(segment.HasField("event") and segment.event.reason == "STUDY_CASE"
                                  for segment in segments)
    ended = cluster.get(job.id)
    assert ended.state == cluster.pb("job").Job.SUCCEEDED, ended.state_message
    assert ended.progress.total_iterations > 0
    assert ended.progress.iteration == ended.progress.total_iterations, "it counts cases"
    report = report_of(cluster, job.id)
    mode, verdict = cluster.pb("training").PrecisionSpec.Mode, cluster.pb("report").PrecisionComparisonReport.Verdict
    rows = {mode.Name(row.precision): row for row in report.precision_comparison.precisions}
    assert set(rows) == {"FP32", "BF16"}
    assert verdict.Name(rows["FP32"].verdict) == "REFERENCE"
    assert verdict.Name(rows["BF16"].verdict) in ("WITHIN_NOISE", "DIFFERENT")
    assert rows["BF16"].median_seconds > 0 and rows["BF16"].p95_seconds >= rows["BF16"].median_seconds
    assert rows["FP32"].parameter_bytes == 4 * (64 * 32 + 32 + 32 * 10 + 10)
    assert {point.seed for point in report.precision_comparison.curves} == {0, 1}
    assert "BF16" in report.finding or "FP32" in report.finding
    only = report_of(cluster, job.id, "curves").precision_comparison
    assert len(only.curves) and not only.precisions
    shown = cluster.cli("report", job.id)
    assert shown.returncode == 0 and "rows more: mantissa report" in shown.stdout, shown.stdout


def test_a_cancelled_study_says_so_and_the_worker_goes_on(working):
    cluster = working
    long = study_spec(cluster, COMPARISON.replace("iterations: 40", "iterations: 1000000"))
    job = cluster.submit(long)
    cluster.wait_state(job.id, "RUNNING")
    cluster.jobs().CancelJob(cluster.pb("job_service").CancelJobRequest(job_id=job.id))
    cluster.wait_state(job.id, "CANCELLED")
    after = cluster.submit(study_spec(cluster, "study: { format_table: { iterations: 0 } }"))
    cluster.wait_state(after.id, "SUCCEEDED")


def test_advice_is_given_by_short_studies_of_the_training(working):
    """Through server, worker and trainers: six studies, six rules answered, and changes that make a good spec."""
    cluster = working
    spec = cluster.folder / "advised.yaml"
    spec.write_text("""
name: advised
training:
  model: { mlp: { hidden: [31] } }
  data: { train: { synthetic: { samples: 256 } } }
  precision: { mode: FP16 }
  iterations: 500
""")
    advised = cluster.cli("advise", spec, "--iterations", "12", "--seeds", "2", "-o", "json")
    assert advised.returncode == 0, advised.stderr
    assert "scaler_study" in advised.stderr and "SUCCEEDED" in advised.stderr
    advice = json.loads(advised.stdout)
    assert advice["device"] == "cpu"
    assert {study["study"] for study in advice["studies"]} == {
        "precision_comparison", "gradient_analysis", "scaler_study", "memory_plan", "tensor_core", "failure_modes"}
    assert all(study["finding"] for study in advice["studies"]), advice["studies"]
    label = json.loads(cluster.cli("get", advice["studies"][0]["job_id"], "-o", "json").stdout)["labels"]["advice"]
    listed = json.loads(cluster.cli("list", "--label", f"advice={label}", "-o", "json").stdout)["jobs"]
    assert {job["id"] for job in listed} == {study["job_id"] for study in advice["studies"]}
    rules = advice["rules"]
    assert [rule["number"] for rule in rules] == [1, 2, 3, 4, 5, 6]
    assert all(rule["reason"] and (rule["answer"] == "CHANGE") == bool(rule["changes"]) for rule in rules)
    assert rules[5]["answer"] == "AS_IT_IS" and any("FP32" in line for line in rules[5]["evidence"])
    assert any("no tensor cores" in line for line in rules[2]["evidence"]), "a CPU cannot tell"
    changes = [f"{change['field']}={change['to']}" for rule in rules for change in rule["changes"]]
    answer = cluster.cli("validate", spec, "--server", *(word for change in changes for word in ("--set", change)))
    assert answer.returncode == 0, (changes, answer.stderr)


def test_what_is_no_study_or_not_there_has_no_report(cluster):
    training = cluster.submit(cluster.digits())
    code, details = refusal(lambda: report_of(cluster, training.id))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "only studies" in details
    waiting = cluster.submit(study_spec(cluster, "study: { tensor_core: {} }"))
    code, details = refusal(lambda: report_of(cluster, waiting.id))
    assert code == grpc.StatusCode.NOT_FOUND and "QUEUED" in details
    for arguments in (("report", training.id), ("report", waiting.id), ("plot", waiting.id)):
        assert cluster.cli(*arguments).returncode != 0
    for arguments in (("get", waiting.id), ("list",), ("events", waiting.id), ("history", waiting.id),
                      ("top", "--once")):
        answer = cluster.cli(*arguments)
        assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("example", sorted(path.name for path in (EXAMPLES / "studies").glob("*.yaml")))
def test_every_example_is_good(cluster, example):
    answer = cluster.cli("validate", EXAMPLES / "studies" / example, "--server")
    assert answer.returncode == 0, answer.stderr
