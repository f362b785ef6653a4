"""What server and worker show at /metrics: every family that deploy/prometheus/README.md lists, as it says, and no other."""
import re
import select
import shutil
import socket
import subprocess

import pytest

from conftest import ROOT, until
from observed import metrics_of, observed, observed_with_a_driver, text_of, value_in  # noqa: F401 (fixture)

PAGE = ROOT / "deploy/prometheus/README.md"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ", re.MULTILINE)
# Of histograms' own, not ours.
PARTS = re.compile(r"_(bucket|sum|count)$")


def families_of(text):
    """{name: (type, labels, help)} of a scrape."""
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    labels = {name: set() for name in types}
    for name, inside in SAMPLE.findall(text):
        family = name if name in types else PARTS.sub("", name)
        labels[family] |= set(re.findall(r'(\w+)="', inside)) - {"le"}
    return {name: (types[name], ", ".join(sorted(labels[name])), helps[name]) for name in types}


def line_of(name, family):
    kind, labels, says = family
    return f"| `{name}` | {kind} | {labels} | {says} |"


def listed(heading):
    """The lines of a section's table."""
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


@pytest.fixture
def busy(observed_with_a_driver):
    """All that can be shown is: a job ended, one that scales its loss runs, with checkpoints."""
    it = observed_with_a_driver
    short = it.submit(it.digits(iterations=20))
    it.wait_state(short.id, "SUCCEEDED")
    running = it.fp16_that_overflows_at_first()
    it.wait_iteration(running.id, 3_000)  # the statistics window is full
    until(lambda: all(f'{family}{{job_id="{running.id}"' in text_of(it.metrics) for family in (
        "mantissa_job_stability_ratio", "mantissa_job_samples_per_second", "mantissa_job_grad_norm")), "its series")
    until(lambda: "mantissa_worker_root_free_bytes" in text_of(it.worker_metrics), "the roots were looked at")
    until(lambda: "mantissa_worker_device_info" in text_of(it.worker_metrics), "the driver was asked")
    return it


def test_who_says_nothing_does_not_keep_others_from_the_metrics(observed):  # noqa: F811
    for address in (observed.metrics, observed.worker_metrics):
        host, port = address.rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(12)]
        for connection in silent:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert "process_resident_memory_bytes" in text_of(address)
        ended, _, _ = select.select(silent, [], [], 0)
        assert not ended, "they were still waited for, all of them"
        for connection in silent:
            connection.close()


def with_a_certificate(cluster):
    """What a worker shows that has a certificate to show. (A server without TLS lets it in nowhere.)"""
    certs = cluster.folder / "certs"
    subprocess.run([ROOT / "deploy/certs.sh", certs, "worker", "ws-2"], check=True, stdout=subprocess.DEVNULL,
                   env={"PATH": "/usr/bin:/bin"})
    worker = cluster.launch_worker("ws-2", MANTISSA_TLS_CA=str(certs / "ca.pem"),
                                   MANTISSA_TLS_CERTIFICATE=str(certs / "worker-ws-2.pem"),
                                   MANTISSA_TLS_KEY=str(certs / "worker-ws-2-key.pem"))
    return text_of(metrics_of(worker))


def test_the_page_lists_every_family_that_is_shown_with_its_labels_and_meaning(busy):
    server, worker = families_of(text_of(busy.metrics)), families_of(text_of(busy.worker_metrics))
    shows = families_of(with_a_certificate(busy))
    only_with_tls = "mantissa_worker_certificate_expiry_timestamp_seconds"
    assert only_with_tls not in worker, "absent where no certificate is shown"
    worker[only_with_tls] = shows[only_with_tls]
    both = server.keys() & worker.keys()
    for heading, shown in [("Of both", {name: server[name] for name in both}),
                           ("Of the server", {name: server[name] for name in server.keys() - both}),
                           ("Of a worker", {name: worker[name] for name in worker.keys() - both})]:
        assert listed(heading) == [line_of(name, shown[name]) for name in sorted(shown)], f"{PAGE}: {heading}"


def test_promtool_finds_no_fault_in_what_server_and_worker_show(busy):
    for address in (busy.metrics, busy.worker_metrics):
        checked = subprocess.run([shutil.which("promtool"), "check", "metrics"], input=text_of(address),
                                 capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr, checked.stdout + checked.stderr


def test_numbers_are_what_they_say(busy):
    server, worker = text_of(busy.metrics), text_of(busy.worker_metrics)
    assert value_in(server, "mantissa_workers", 'state="connected"') == 1
    assert value_in(server, "mantissa_worker_oldest_report_seconds") < 3, "less than a lease"
    assert value_in(server, "mantissa_store_read_only") == 0
    assert value_in(server, "mantissa_store_wal_bytes") > 0
    assert value_in(server, "mantissa_job_oldest_queued_seconds") == 0
    assert value_in(worker, "mantissa_worker_checkpoint_seconds_count") >= 2, "one of each job at least"
    assert 0 < value_in(worker, "mantissa_worker_checkpoint_seconds_sum") < 60
    free = shutil.disk_usage(busy.checkpoints).free
    assert 0.5 < value_in(worker, "mantissa_worker_root_free_bytes", 'root="checkpoints"') / free < 2
    for text, program in ((server, busy.server), (worker, busy.workers["ws-1"])):
        pages = int(open(f"/proc/{program.process.pid}/statm").read().split()[1])
        assert 0.5 < value_in(text, "process_resident_memory_bytes") / (4096 * pages) < 2
