"""One trace id from submit through attempt to checkpoint, in every line of server, worker and trainer that names the job."""
import json

from conftest import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def lines_of(text):
    """Those that are ours: a program may write others to stderr."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"ts"')]


def test_every_line_about_a_job_has_its_trace_id(cluster):
    worker = cluster.start_worker()
    pb = cluster.pb("job_service")
    traced = cluster.jobs().SubmitJob(pb.SubmitJobRequest(spec=cluster.digits(iterations=60, checkpoint_every=20)),
                                      metadata=[("traceparent", TRACEPARENT)])
    paused = cluster.submit(cluster.digits(iterations=50_000_000))
    assert traced.trace_id == TRACE_ID
    assert len(paused.trace_id) == 32 and paused.trace_id != TRACE_ID
    cluster.wait_state(traced.id, "SUCCEEDED")
    # Stopped with a checkpoint, run on, and cancelled: two attempts in one trace.
    cluster.wait_iteration(paused.id, 10)
    cluster.jobs().PauseJob(pb.PauseJobRequest(job_id=paused.id))
    cluster.wait_state(paused.id, "PAUSED")
    cluster.jobs().ResumeJob(pb.ResumeJobRequest(job_id=paused.id))
    cluster.wait_state(paused.id, "RUNNING")
    cluster.jobs().CancelJob(pb.CancelJobRequest(job_id=paused.id))
    cluster.wait_state(paused.id, "CANCELLED")

    traces = {job.id: job.trace_id for job in (traced, paused)}
    programs = {"server": lambda: cluster.server.log_text(), "worker": lambda: worker.log_text()}
    until(lambda: '"state":"CANCELLED"' in programs["worker"](), "the worker has said so")
    said = {}
    for program, text in programs.items():
        for line in lines_of(text()):
            for job_id in traces:
                if job_id in json.dumps(line):
                    assert line.get("trace_id") == traces[job_id], f"{program}: {line}"
                    said.setdefault((program, job_id), []).append(line["msg"])
    for job_id in traces:
        output = cluster.cli("logs", job_id).stdout
        lines = lines_of(output)
        assert lines and all(line["trace_id"] == traces[job_id] for line in lines), output
        assert all(line["job"] == job_id and line["attempt"] >= 1 for line in lines), output
    # Or the check above is one of nothing.
    assert {"job submitted", "job moved", "checkpoint committed"} <= set(said["server", traced.id])
    assert {"attempt assigned", "attempt ended"} <= set(said["worker", traced.id])
    assert said["server", paused.id].count("job moved") >= 7, said["server", paused.id]
    assert "attempt is asked to stop" in said["worker", paused.id]

    assert TRACE_ID in cluster.cli("get", traced.id).stdout
    assert json.loads(cluster.cli("get", traced.id, "-o", "json").stdout)["trace_id"] == TRACE_ID


def test_jobs_that_ran_before_the_server_started_keep_their_trace(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=50_000_000, checkpoint_every=2_000))
    cluster.wait_iteration(job.id, 10)
    cluster.server.kill()
    before = len(cluster.server.log_text())
    cluster.start_server()

    def committed():
        return [line for line in lines_of(cluster.server.log_text()[before:]) if line["msg"] == "checkpoint committed"]

    until(committed, "a checkpoint after the restart")
    assert all((line["job"], line["trace_id"]) == (job.id, job.trace_id) for line in committed())
