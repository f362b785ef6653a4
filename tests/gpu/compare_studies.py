"""What a precision comparison found, beside the same work in PyTorch: speed and memory of each precision against FP32.

    compare_studies.py PEERS STUDY...      PEERS: what peer_bench.py printed; STUDY: NAME_precisions.json of studies.py

Only measurements of one device are set side by side. Prints a table for each study; PyTorch's figures are medians of its
blocks, and so is their ratio.
"""
import json
import pathlib
import sys

GIB = 2**30
PRECISIONS = ("FP32", "TF32", "BF16", "FP16")
MODES = ("eager", "compile")


def read_peers(path):
    """(work, precision, mode, metric) -> value; and the devices and versions that it is of."""
    values, devices, versions = {}, set(), set()
    for line in path.read_text().splitlines():
        said = json.loads(line)
        if "peer" not in said or said["metric"] not in ("step_ms", "peak_gib"):
            continue
        mode, version = said["peer"].removeprefix("pytorch-").split(" ")
        work, _, precision = said["case"].rpartition("_")
        values[work, precision.upper(), mode, said["metric"]] = said["value"]
        devices.add(said["device"])
        versions.add(version)
    return values, devices, versions


def read_study(path):
    report = json.loads(path.read_text())
    rows = {row["precision"]: row for row in report["precision_comparison"]["precisions"]}
    ours = {}
    for precision, row in rows.items():
        ours[precision, "ms"] = 1e3 * row["median_seconds"] if "median_seconds" in row else None
        ours[precision, "gib"] = int(row["peak_memory_bytes"]) / GIB if "peak_memory_bytes" in row else None
        ours[precision, "speedup"] = row.get("speedup")
        ours[precision, "interval"] = (row.get("speedup_low"), row.get("speedup_high"))
    return report["device"], ours


def cell(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def share(value, of):
    return value / of if value is not None and of else None


def row_of(precision, ours, peers, work):
    low, high = ours.get((precision, "interval"), (None, None))
    row = [precision, cell(ours.get((precision, "ms")), 2),
           cell(ours.get((precision, "speedup")), 2) + (f" [{low:.2f}, {high:.2f}]" if low is not None else ""),
           cell(ours.get((precision, "gib")), 2),
           cell(share(ours.get((precision, "gib")), ours.get(("FP32", "gib"))), 2)]
    for mode in MODES:
        ms, gib = (peers.get((work, precision, mode, metric)) for metric in ("step_ms", "peak_gib"))
        fp32_ms, fp32_gib = (peers.get((work, "FP32", mode, metric)) for metric in ("step_ms", "peak_gib"))
        row += [cell(ms, 2), cell(fp32_ms / ms if ms and fp32_ms else None, 2), cell(gib, 2), cell(share(gib, fp32_gib), 2)]
    return row


def table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                               for i, (text, width) in enumerate(zip(row, widths))) for row in rows)


def main():
    peers, devices, versions = read_peers(pathlib.Path(sys.argv[1]))
    for name in sys.argv[2:]:
        path = pathlib.Path(name)
        work = path.stem.removesuffix("_precisions")
        device, ours = read_study(path)
        if devices != {device}:
            raise SystemExit(f"{name} was measured on {device}, and PyTorch on {', '.join(sorted(devices)) or 'nothing'}: "
                             "measure both on one device")
        head = ["PRECISION", "STUDY ms", "SPEEDUP", "GiB", "OF FP32"]
        for mode in MODES:
            head += [f"PYTORCH {mode.upper()} ms", "SPEEDUP", "GiB", "OF FP32"]
        print(f"==== {work} on {device}, PyTorch {', '.join(sorted(versions))}")
        print(table([head, *(row_of(precision, ours, peers, work) for precision in PRECISIONS)]) + "\n")


if __name__ == "__main__":
    main()
