"""What a test measured: printed, and kept where MANTISSA_RESULTS names a file of JSON lines."""
import json
import os

LENGTHS = ("MANTISSA_ROUNDS", "MANTISSA_WAKES", "MANTISSA_SECONDS")


def tell(rounds, seed, **figures):
    """`figures`: name=(value, unit)."""
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    lengths = [f"{name}={os.environ[name]}" for name in LENGTHS if name in os.environ]
    command = " ".join([*lengths, "python -m pytest", test.split("::")[0]])
    for figure, (value, unit) in figures.items():
        line = json.dumps({"test": test.split("::")[1], "figure": figure, "value": value, "unit": unit, "rounds": rounds,
                           "seed": seed, "command": command})
        print(line)
        if "MANTISSA_RESULTS" in os.environ:
            with open(os.environ["MANTISSA_RESULTS"], "a") as file:
                file.write(line + "\n")
