"""Speed and memory of each precision against FP32: what a precision comparison found, what recorded iterations took, and
the same work in PyTorch, side by side.

    compare_studies.py PEERS [STUDY...]    PEERS: lines of peer_bench.py; STUDY: WORK_precisions.json, a report of studies.py

Prints a table for each work that has FP32 among its precisions. Only measurements of one device are set side by side.
Where a work was measured more than once, its median counts; ratios are those of medians, but a study has its own.
"""
import json
import pathlib
import statistics
import sys

GIB = 2**30
PRECISIONS = ("FP32", "TF32", "BF16", "FP16")
OURS = "recorded"
LABELS = {"study": "study", OURS: "recorded", "eager": "PyTorch eager", "compile": "PyTorch compile",
          "compile-graph": "PyTorch compile-graph"}
WAYS = tuple(LABELS)
NOTE = ("Ours holds its training data on the GPU and counts them; PyTorch's batch is left out. A study runs operation by "
        "operation.")


class Table:
    """ms and GiB by way and precision of one work."""

    def __init__(self):
        self.values = {}

    def add(self, way, precision, metric, value):
        self.values.setdefault((way, precision, metric), []).append(value)

    def value(self, way, precision, metric):
        found = self.values.get((way, precision, metric))
        return statistics.median(found) if found else None

    def has(self, precision):
        return any(key[1] == precision for key in self.values)

    def relative(self, way, precision, metric):
        """To FP32's; None where one of them is missing."""
        value, fp32 = self.value(way, precision, metric), self.value(way, "FP32", metric)
        return None if value is None or fp32 is None else value / fp32


def read_peers(path):
    """Tables by work, and what they were measured on."""
    tables, devices, versions = {}, set(), set()
    for line in path.read_text().splitlines():
        said = json.loads(line)
        metric = {"step_ms": "ms", "peak_gib": "GiB"}.get(said["metric"])
        if metric is None:
            continue
        way = said["peer"].removeprefix("pytorch-").split(" ")[0] if "peer" in said else OURS
        work, _, precision = said["case"].rpartition("_")
        tables.setdefault(work, Table()).add(way, precision.upper(), metric, said["value"])
        devices.add(said["device"])
        versions.add(said.get("peer", said.get("beside", "")).split(" ")[-1])
    return tables, devices, versions


def add_study(table, report):
    """Its rows; speed-ups with their intervals by precision."""
    speedups = {}
    for row in report["precision_comparison"]["precisions"]:
        if "median_seconds" in row:
            table.add("study", row["precision"], "ms", 1e3 * row["median_seconds"])
        if "peak_memory_bytes" in row:
            table.add("study", row["precision"], "GiB", int(row["peak_memory_bytes"]) / GIB)
        if "speedup" in row:
            speedups[row["precision"]] = f"{row['speedup']:.2f}"
            if "speedup_low" in row:
                speedups[row["precision"]] += f" [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]"
    return speedups


def cell(value):
    return "-" if value is None else f"{value:.2f}"


def rows_of(table, speedups):
    """A row for each way that was measured in a precision."""
    rows = [["PRECISION", "WAY", "ms", "SPEEDUP", "GiB", "OF FP32"]]
    for precision in PRECISIONS:
        for way in WAYS:
            ms, gib = table.value(way, precision, "ms"), table.value(way, precision, "GiB")
            if ms is None and gib is None:
                continue
            slower = table.relative(way, precision, "ms")
            speedup = cell(None if slower is None else 1 / slower)
            rows.append([precision, LABELS[way], cell(ms), speedups.get(precision, speedup) if way == "study" else speedup,
                         cell(gib), cell(table.relative(way, precision, "GiB"))])
    return rows


def text_of(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join([*(text.ljust(width) for text, width in zip(row[:2], widths)),
                                *(text.rjust(width) for text, width in zip(row[2:], widths[2:]))]) for row in rows)


def compare(peers, studies):
    """The text of all tables. Raises SystemExit where two devices would be set side by side."""
    tables, devices, versions = read_peers(peers)
    speedups = {}
    for path in studies:
        report = json.loads(path.read_text())
        if devices != {report["device"]}:
            raise SystemExit(f"{path} was measured on {report['device']}, and PyTorch on "
                             f"{', '.join(sorted(devices)) or 'nothing'}: measure both on one device")
        work = path.stem.removesuffix("_precisions")
        speedups[work] = add_study(tables.setdefault(work, Table()), report)
    head = f"on {', '.join(sorted(devices))}, PyTorch {', '.join(sorted(versions))}"
    return "\n".join(f"==== {work} {head}\n{text_of(rows_of(table, speedups.get(work, {})))}\n"
                     for work, table in tables.items() if table.has("FP32")) + f"\n{NOTE}\n"


if __name__ == "__main__":
    print(compare(pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]), end="")
