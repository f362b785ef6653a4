"""Dashboards, rules and runbooks against a real Prometheus that scrapes a live server and worker."""
import json
import re
import warnings

import pytest

from conftest import ROOT, until
from live_prometheus import Viewer
from observed import observed, observed_with_a_driver, text_of  # noqa: F401 (fixtures)

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
# Panels of `devices` that have nothing to show where no NVIDIA driver is.
OF_A_GPU = {"Which GPUs are there?", "Are the GPUs busy?", "Is there memory left?", "How much power do they draw?",
            "Are they cool enough?"}


def without_a_driver(observed):
    """The queries that may show nothing: of a GPU, where there is none."""
    if "mantissa_worker_device_info" in text_of(observed.worker_metrics):
        return set()
    warnings.warn(f"NO NVIDIA DRIVER HERE: that {sorted(OF_A_GPU)} show something of a real GPU was not tested.")
    of_a_gpu = {target["expr"] for panel in DASHBOARDS["devices"]["panels"] if panel["title"] in OF_A_GPU
                for target in panel["targets"]}
    assert all("mantissa_worker_device_" in query for query in of_a_gpu)
    return of_a_gpu


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
    of_a_gpu = without_a_driver(observed)
    of_tls = {query for _, query, _ in viewers["fleet"].queries() if "worker_certificate" in query}
    missing = {"devices": of_a_gpu, "fleet": of_tls}
    for name, viewer in viewers.items():
        nothing_empty(viewer, but=missing.get(name, frozenset()))
    assert {query for _, query in viewers["devices"].empty()} == of_a_gpu, "these, and only where there is no GPU"
    assert {query for _, query in viewers["fleet"].empty()} == of_tls != set(), "this worker shows no certificate"
    # One worker rather than all of them.
    nothing_empty(Viewer(prometheus, DASHBOARDS["devices"], begin, worker=observed.worker_metrics), but=of_a_gpu)
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


def test_panels_of_gpus_show_what_their_driver_says(observed_with_a_driver):
    observed = observed_with_a_driver
    viewer = Viewer(observed.prometheus, DASHBOARDS["devices"], observed.prometheus.began)
    panels = {panel["title"]: panel for panel in viewer.dashboard["panels"] if panel["title"] in OF_A_GPU}
    assert set(panels) == OF_A_GPU, "each is there"

    def shown(title):
        return {number for target in panels[title]["targets"]
                for number in viewer.numbers(target["expr"], target["instant"])}

    until(lambda: all(shown(title) for title in OF_A_GPU), "all show something", 30)
    assert {title: shown(title) for title in OF_A_GPU} == {
        "Which GPUs are there?": {1}, "Are the GPUs busy?": {0.5}, "Is there memory left?": {20e9, 80e9},
        "How much power do they draw?": {350.5, 351.5}, "Are they cool enough?": {61}}


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
