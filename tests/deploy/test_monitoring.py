"""Dashboards, rules and runbooks as they are committed: current, complete, and about metrics that exist."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
GRAFANA, PROMETHEUS, RUNBOOKS = ROOT / "deploy/grafana", ROOT / "deploy/prometheus", ROOT / "deploy/runbooks"
RULES = PROMETHEUS / "rules/mantissa.yml"
CASES = ROOT / "tests/deploy/alerts.yml"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
DECLARED = ("server/metrics/server_metrics.cc", "worker/agent/worker_metrics.cc",
            "worker/agent/certificate_metrics.cc", "worker/agent/devices/device_metrics.cc")
METRIC = re.compile(r"\bmantissa_[a-z0-9_]+")


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments):
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("promtool is not installed: deploy/setup.sh --tests installs it")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def declared():
    """Every family of our programs, and the series that histograms make of theirs."""
    names = set()
    for file in DECLARED:
        names.update(re.findall(r'"(mantissa_[a-z0-9_]+)"', (ROOT / file).read_text()))
    return names | {name + part for name in names if name.endswith(("_seconds", "_commands"))
                    for part in ("_bucket", "_sum", "_count")}


def test_the_page_of_families_has_each_once_and_no_other():
    """tests/integration checks what it says of each against a live server and worker."""
    listed = re.findall(r"^\| `(mantissa_[a-z0-9_]+)`", (PROMETHEUS / "README.md").read_text(), re.MULTILINE)
    sources = "".join((ROOT / file).read_text() for file in DECLARED)
    assert sorted(listed) == sorted(set(re.findall(r'"(mantissa_[a-z0-9_]+)"', sources)))


def test_the_committed_dashboards_are_those_that_the_script_makes(tmp_path):
    subprocess.run([sys.executable, GRAFANA / "make_dashboards.py", tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}
    assert made == committed, "run deploy/grafana/make_dashboards.py"


def test_dashboards_are_told_apart_and_ask_for_their_data_source():
    assert {name: board["uid"] for name, board in DASHBOARDS.items()} == {
        "fleet": "mantissa-fleet", "job": "mantissa-job", "devices": "mantissa-devices"}
    for name, board in DASHBOARDS.items():
        source = board["templating"]["list"][0]
        assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus"), name
        asked = [panel["datasource"] for panel in panels(board)]
        asked += [target["datasource"] for panel in panels(board) for target in panel["targets"]]
        asked += [variable["datasource"] for variable in board["templating"]["list"][1:]]
        asked += [annotation["datasource"] for annotation in board["annotations"].get("list", [])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked), name
        for link in board["links"]:
            assert link["url"] in {f"/d/{other['uid']}" for other in DASHBOARDS.values()}, link


def test_every_panel_says_what_it_shows_in_which_unit_and_from_where_it_is_bad():
    for name, board in DASHBOARDS.items():
        for panel in panels(board):
            where = f"{name}: {panel.get('title')}"
            defaults = panel["fieldConfig"]["defaults"]
            assert panel["title"] and panel["description"] and panel["targets"], where
            assert defaults.get("unit"), where
            assert defaults["unit"] != "none" or defaults["mappings"], f"{where}: a bare number says nothing"
            assert defaults["thresholds"]["steps"], where
            series = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
            known = [target.get("legendFormat") for target in panel["targets"]]
            for transformation in panel.get("transformations", []):
                known += transformation["options"].get("renameByName", {}).values()
            assert set(series) <= set(known), f"{where}: an override of a series that it has not"


def test_panels_fill_their_rows_and_do_not_overlap():
    for name, board in DASHBOARDS.items():
        taken = {}
        for panel in board["panels"]:
            at = panel["gridPos"]
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    assert x < 24 and (x, y) not in taken, f"{name}: {panel['title']} over {taken.get((x, y))}"
                    taken[x, y] = panel["title"]


def test_the_job_dashboard_answers_its_four_questions_first():
    first = [panel["title"] for panel in panels(DASHBOARDS["job"]) if panel["gridPos"]["y"] == 0]
    questions = ["Is it learning?", "Is the scale healthy?", "What overflowed?", "Is it as fast as it should be?"]
    for question, title in zip(questions, first):
        assert title.startswith(question), first
    assert [annotation["name"] for annotation in DASHBOARDS["job"]["annotations"]["list"]] == ["Overflow", "Phase"]


def test_a_loss_that_is_not_finite_is_never_shown_as_learning(tmp_path):
    """Of the very query of the panel: half of the highest, then NaN, then Inf, then finite again."""
    panel = next(panel for panel in panels(DASHBOARDS["job"]) if panel["title"].startswith("Is it learning?"))
    query = panel["targets"][0]["expr"]
    for variable, value in [("$__rate_interval", "30s"), ("$__range", "30m"), ("$job_id", "a")]:
        query = query.replace(variable, value)
    assert panel["fieldConfig"]["defaults"]["mappings"][0]["options"]["-1"]["text"] == "NOT FINITE"
    labels = '{job_id="a"}'
    checks = [{"expr": query, "eval_time": f"{minute}m", "exp_samples": [{"labels": labels, "value": value}]}
              for minute, value in [(0, 1), (1, 0.5), (2, -1), (3, -1), (5, 0.25)]]
    case = tmp_path / "case.yml"
    case.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [{
        "interval": "1m", "promql_expr_test": checks, "input_series": [
            {"series": f"mantissa_job_loss{labels}", "values": "2 1 NaN Inf 0.5 0.5"},
            {"series": f"mantissa_job_iteration{labels}", "values": "1+1x5"}]}]}))
    promtool("test", "rules", case)


def test_queries_and_rules_name_metrics_that_exist():
    exist = declared()
    texts = {name: json.dumps(board) for name, board in DASHBOARDS.items()} | {"rules": RULES.read_text(),
                                                                               "cases": CASES.read_text()}
    missing = {(name, metric) for name, text in texts.items() for metric in METRIC.findall(text) if metric not in exist}
    assert not missing


def test_no_family_is_without_a_panel():
    """What is worth measuring is worth a place, or a reason."""
    # For a person with a question about versions.
    elsewhere = {"mantissa_server_build_info", "mantissa_worker_build_info"}
    shown = {metric for board in DASHBOARDS.values() for metric in METRIC.findall(json.dumps(board))}
    families = {name for name in declared() if not re.search(r"_(seconds|commands)_(bucket|sum|count)$", name)}
    dark = {name for name in families if not shown & {name, f"{name}_bucket", f"{name}_count"}}
    assert dark == elsewhere


def test_provisioning_names_the_folder_and_the_scrape_interval():
    source, = yaml.safe_load((GRAFANA / "provisioning/datasources/mantissa.yml").read_text())["datasources"]
    scrapes = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scrapes["global"]["scrape_interval"], "rates depend on it"
    provider, = yaml.safe_load((GRAFANA / "provisioning/dashboards/mantissa.yml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"] in (ROOT / "README.md").read_text()


def test_promtool_finds_no_fault():
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", RULES)
    promtool("test", "rules", CASES)


def test_every_alert_can_be_acted_on():
    assert 0 < len(rules()) <= 12, "more are not read"
    for rule in rules():
        assert rule["for"] and rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]
        page = (ROOT / rule["annotations"]["runbook_url"]).read_text()
        for part in ("**What it means.**", "**How to look.**", "**What to do.**"):
            assert part in page, f"{rule['annotations']['runbook_url']} lacks {part}"
    index = (RUNBOOKS / "README.md").read_text()
    for rule in rules():
        name = pathlib.Path(rule["annotations"]["runbook_url"]).name
        assert f"| {rule['alert']} | {rule['labels']['severity']} | [{name[:-3]}]({name}) |" in index
    pages = {f"deploy/runbooks/{page.name}" for page in RUNBOOKS.glob("*.md")} - {"deploy/runbooks/README.md"}
    assert pages == {rule["annotations"]["runbook_url"] for rule in rules()}, "a page for each and for nothing else"


def test_every_alert_fires_once_and_stays_silent_once():
    fires, silent = set(), set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        checks = case["alert_rule_test"]
        fires.update(check["alertname"] for check in checks if check["exp_alerts"])
        # Silent to the end of a story of its own, not only before it fires.
        silent.update({check["alertname"] for check in checks} - {c["alertname"] for c in checks if c["exp_alerts"]})
    alerts = {rule["alert"] for rule in rules()}
    assert fires == alerts and silent == alerts
