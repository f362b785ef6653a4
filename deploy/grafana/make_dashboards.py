#!/usr/bin/env python3
"""Writes the dashboards as JSON, for Grafana's file provisioning or its import dialog.

    build/deps/venv/bin/python deploy/grafana/make_dashboards.py [FOLDER]

FOLDER is `dashboards` beside this file, whose contents are committed; tests/deploy says when they are not current."""
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402

import devices  # noqa: E402
import fleet  # noqa: E402
import job  # noqa: E402

DASHBOARDS = {"fleet": fleet, "job": job, "devices": devices}


def text_of(dashboard):
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(dashboard) + "\n"


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in DASHBOARDS.items():
        (folder / f"{name}.json").write_text(text_of(module.make().build()))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "dashboards")
