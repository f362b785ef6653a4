"""Figures that a test reached, as JSON lines: on its output, and appended to the file that MANTISSA_FIGURES names."""
import json
import os

LENGTHS = ("MANTISSA_ROUNDS", "MANTISSA_WAKES", "MANTISSA_SECONDS", "MANTISSA_PASSING_JOBS")


def emit(test, figure, value, unit, rounds, seed, command):
    line = json.dumps({"test": test, "figure": figure, "value": value, "unit": unit, "rounds": rounds, "seed": seed,
                       "command": command})
    print(line, flush=True)
    if path := os.environ.get("MANTISSA_FIGURES"):
        with open(path, "a") as file:
            file.write(line + "\n")


def tell(rounds, seed, **figures):
    """Of the test that runs; `figures`: name=(value, unit)."""
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    lengths = [f"{name}={os.environ[name]}" for name in LENGTHS if name in os.environ]
    command = " ".join([*lengths, "python -m pytest", test.split("::")[0]])
    for figure, (value, unit) in figures.items():
        emit(test.split("::")[1], figure, value, unit, rounds, seed, command)
