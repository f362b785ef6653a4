"""A Prometheus of its own with the committed configuration, and queries filled in as Grafana fills them."""
import json
import pathlib
import re
import shutil
import time
import urllib.parse
import urllib.request

import pytest
import yaml

from conftest import ROOT, Program, until

FOLDER = ROOT / "deploy/prometheus"
SCRAPE_SECONDS = 1
# Points that a graph asks for; Grafana takes the width of the panel in pixels.
MAX_POINTS = 1000


class Prometheus:
    """Scrapes every second what it is told to; everything else is as committed."""

    def __init__(self, folder, targets):
        program = shutil.which("prometheus")
        if program is None:
            pytest.fail("prometheus is not here: deploy/setup.sh --tests fetches it")
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        config["rule_files"] = [str(FOLDER / pattern) for pattern in config["rule_files"]]
        for scrape in config["scrape_configs"]:
            del scrape["file_sd_configs"]
            scrape["static_configs"] = [{"targets": targets[scrape["job_name"]]}]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self.began = time.time()  # before the first scrape: an increase is counted from there
        self.program = Program("prometheus", [pathlib.Path(program), f"--config.file={file}",
                                              f"--storage.tsdb.path={folder / 'prometheus'}",
                                              "--web.listen-address=127.0.0.1:0"], folder)
        listens = re.compile(r'msg="Listening on" address=(\S+)')
        self.address = until(lambda: listens.search(self.program.log_text()), "Prometheus listens", 30).group(1)
        wanted = sum(len(addresses) for addresses in targets.values())
        until(lambda: self.is_ready() and len(self.instant("up == 1")) == wanted, "it scrapes them all", 30)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def instant(self, query, at=None):
        return self.get("query", query=query, **({"time": at} if at else {}))["result"]

    def value(self, query):
        """Of a query that has one."""
        found = self.instant(query)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def range(self, query, begin, end, step):
        return self.get("query_range", query=query, start=begin, end=end, step=step)["result"]

    def close(self):
        self.program.kill()


class Viewer:
    """Someone who looks at a dashboard from `begin` on: knows the values of its variables, and asks what it asks."""

    def __init__(self, prometheus, dashboard, begin, **chosen):
        self.prometheus, self.dashboard, self.begin = prometheus, dashboard, begin
        self.variables = {}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                self.variables[variable["name"]] = self.value_of(variable, chosen.get(variable["name"]))

    def fill(self, text, seconds):
        """Variables, as Grafana replaces them. The longest name first: $__range is the beginning of $__range_s."""
        interval = max(seconds / MAX_POINTS, SCRAPE_SECONDS)
        values = {**self.variables, "__interval": f"{interval:.0f}s", "__range": f"{seconds:.0f}s",
                  "__rate_interval": f"{max(interval + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS):.0f}s"}
        for name in sorted(values, key=len, reverse=True):
            text = text.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
        assert "$" not in text, f"nobody knows a variable of {text}"
        return text

    def value_of(self, variable, wanted):
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        match, label = self.fill(asked[1], 60), asked[2]
        values = until(lambda: self.prometheus.get(f"label/{label}/values", **{"match[]": match, "start": self.begin}),
                       f"values of ${variable['name']}", 30)
        if variable.get("includeAll") and wanted is None:
            return variable["allValue"]
        assert wanted is None or wanted in values, f"{wanted} among {values}"
        return wanted or sorted(values, reverse=variable["sort"] == 2)[0]

    def queries(self):
        """(title, query, instant) of every panel, and of the annotations."""
        for panel in self.dashboard["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"], target["instant"]
        for annotation in self.dashboard["annotations"].get("list", []):
            yield f"annotation {annotation['name']}", annotation["expr"], False

    def numbers(self, query, instant):
        """What a query shows: its numbers, NaN left out as a panel does."""
        now = time.time()
        seconds = now - self.begin
        filled = self.fill(query, seconds)
        if instant:
            samples = [series["value"] for series in self.prometheus.instant(filled)]
        else:
            step = max(seconds / MAX_POINTS, SCRAPE_SECONDS)
            samples = [value for series in self.prometheus.range(filled, self.begin, now, step)
                       for value in series["values"]]
        return [float(value) for _, value in samples if value != "NaN"]

    def empty(self):
        """Titles and queries that show nothing."""
        return [(title, query) for title, query, instant in self.queries() if not self.numbers(query, instant)]
