"""Statistics of pairs: machines are noisy, so a claim is a ratio of two things measured side by side, many times."""
import functools
import json
import os
import pathlib
import random
import statistics
import subprocess


def median_ratio(pairs, seed=0, rounds=2000):
    """Median of a/b over (a, b) pairs with a bootstrap 95 % interval: (median, low, high)."""
    ratios = [a / b for a, b in pairs]
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return statistics.median(ratios), medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]


@functools.cache
def commit():
    """What was measured, as far as it is committed; where there is no repository, as MANTISSA_COMMIT says."""
    if told := os.environ.get("MANTISSA_COMMIT"):
        return told
    described = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], text=True,
                               cwd=pathlib.Path(__file__).parent, capture_output=True)
    return described.stdout.strip() or "unknown"


def emit(bench, case, metric, value, unit, **more):
    print(json.dumps({"bench": bench, "case": case, "metric": metric, "value": round(value, 6), "unit": unit, **more,
                      "commit": commit()}), flush=True)
