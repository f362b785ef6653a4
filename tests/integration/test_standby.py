"""Two servers on one PostgreSQL: the active one is killed, or stopped and woken, in the middle of the work; the other
serves, nothing that was acknowledged is lost, and no attempt is stopped by it."""
import os
import re
import signal
import time

import grpc
import pytest

from clients import Client
from conftest import iterations, until, watch
from observed import text_of, value_in
from standby_pair import Pair, started

LONG = 60_000


class Submitter(Client):
    """Submits one job after another; remembers what it was told."""

    def __init__(self, cluster, name):
        super().__init__(cluster, name, seed=0)
        self.serial, self.acknowledged = 0, {}

    def once(self):
        self.serial += 1
        spec = self.cluster.digits(iterations=10)
        spec.resources.worker_selector["never"] = "placed"
        request = self.pb.SubmitJobRequest(spec=spec, request_id=f"{self.name}-{self.serial}")
        job = self.ask(self.jobs.SubmitJob, request)
        if job is not None:
            self.acknowledged[request.request_id] = job.id


@pytest.fixture
def pair(tmp_path):
    with started(Pair, tmp_path) as it:
        yield it


def families(server):
    """Ours that a server shows."""
    address = re.search(r'"metrics":"([^"]+)"', server.log_text()).group(1)
    return set(re.findall(r"^# TYPE (mantissa_\w+)", text_of(address), re.MULTILINE)), text_of(address)


def test_who_stands_by_shows_that_and_its_process_and_all_the_rest_once_it_serves(pair):
    active = pair.active()
    shown, text = families(pair.servers[1 - active])
    assert shown == {"mantissa_ended_connections_total", "mantissa_server_active", "mantissa_server_build_info",
                     "mantissa_server_certificate_expiry_timestamp_seconds"}
    assert value_in(text, "mantissa_server_active") == 0 and value_in(text, "process_resident_memory_bytes") > 0
    shown, text = families(pair.servers[active])
    assert value_in(text, "mantissa_server_active") == 1 and "mantissa_jobs" in shown
    assert "mantissa_store_wal_bytes" not in shown, "that is SQLite's"
    pair.servers[active].kill()
    until(lambda: pair.answers(1 - active), "the standby serves", 10)
    shown, text = families(pair.servers[1 - active])
    assert value_in(text, "mantissa_server_active") == 1 and "mantissa_jobs" in shown


def stored_jobs(cluster):
    pb, jobs, token = cluster.pb("job_service"), [], ""
    while True:
        page = cluster.jobs().ListJobs(pb.ListJobsRequest(page_size=1000, page_token=token), wait_for_ready=True)
        jobs += [job.id for job in page.jobs]
        token = page.next_page_token
        if not token:
            return jobs


@pytest.mark.parametrize("blow", ["kill", "stop"])
def test_the_standby_takes_over_and_nothing_acknowledged_is_lost(pair, blow):
    pair.start_worker()
    job = pair.submit(pair.digits(iterations=LONG))
    pair.wait_iteration(job.id, 500)
    submitters = [Submitter(pair, f"s{number}") for number in range(4)]
    for submitter in submitters:
        submitter.start()
    rounds = []
    for _ in range(int(os.environ.get("MANTISSA_TAKEOVERS", "3"))):
        time.sleep(0.5)  # load, not a condition: work that the blow may hit
        old = pair.active()
        epoch = pair.answers(old)
        began = time.monotonic()
        process = pair.servers[old].process
        if blow == "kill":
            pair.servers[old].kill()
        else:
            os.kill(process.pid, signal.SIGSTOP)
        newer = until(lambda: pair.answers(1 - old), "the standby serves", 10)
        rounds.append(round(time.monotonic() - began, 2))
        assert newer > epoch
        if blow == "stop":
            os.kill(process.pid, signal.SIGCONT)
            # Woken it answers nothing and ends; what it might still have written the epoch forbids.
            until(lambda: not pair.servers[old].running, "the old one ends by itself", 10)
        pair.start_one(old)
        until(lambda: pair.active() == 1 - old, "the old one stands by", 10)
    Client.finish(submitters)
    acknowledged = {request: job_id for submitter in submitters for request, job_id in submitter.acknowledged.items()}
    print(f"{blow}: standby serving after {rounds} s, {len(acknowledged)} submits acknowledged")
    assert acknowledged and len(set(acknowledged.values())) == len(acknowledged), "no request made two jobs"
    stored = set(stored_jobs(pair))
    lost = [job_id for job_id in acknowledged.values() if job_id not in stored]
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged jobs are lost"
    assert len(stored) <= len(acknowledged) + 1 + 4, "and no more than were asked for"

    done = pair.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=120)
    assert done.state == pair.pb("job").Job.SUCCEEDED, done.state_message
    assert done.attempt == 1, "no attempt was stopped by it, or assigned twice"
    _, segments = watch(pair, job.id)
    assert iterations(pair, segments) == [(1, number) for number in range(1, LONG + 1)]


def test_a_standby_says_what_it_is_and_the_command_line_finds_the_other(pair):
    standby = 1 - pair.active()
    refused = pair.cli("list", address=pair.addresses[standby])
    assert refused.returncode == 6 and "STANDBY" in refused.stderr, refused
    assert pair.cli("list").returncode == 0
    assert pair.servers[standby].terminate() == 0, "a standby that is told to stop stops"


def test_a_standby_bears_the_pings_of_workers(pair):
    """The fourth ping of a channel that pings as workers do finds it still there."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    options = [("grpc.keepalive_time_ms", 5000), ("grpc.keepalive_timeout_ms", 5000),
               ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(pair.addresses[1 - pair.active()], options=options) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="mantissa.v1.JobService"), timeout=21, wait_for_ready=True)
        with pytest.raises(grpc.RpcError) as ended:
            for answer in watching:
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED, ended.value
