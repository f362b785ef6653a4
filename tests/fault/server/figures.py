"""Figures that a test reached, as JSON lines: on its output, and appended to the file that MANTISSA_FIGURES names."""
import json
import os


def emit(test, figure, value, unit, rounds, seed, command):
    line = json.dumps({"test": test, "figure": figure, "value": value, "unit": unit, "rounds": rounds, "seed": seed,
                       "command": command})
    print(line, flush=True)
    if path := os.environ.get("MANTISSA_FIGURES"):
        with open(path, "a") as file:
            file.write(line + "\n")
