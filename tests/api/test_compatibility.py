"""The API keeps to buf's rules, and to what was released (proto/baseline.binpb)."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

PROTO = pathlib.Path(os.environ["MANTISSA_SOURCE_DIR"]) / "proto"
BASELINE = PROTO / "baseline.binpb"
BUF = pathlib.Path(sys.executable).parent / "buf"


@pytest.fixture
def buf(tmp_path):
    def run(*arguments, folder=PROTO):
        environment = dict(os.environ, BUF_CACHE_DIR=str(tmp_path / "cache"))
        return subprocess.run([BUF, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True)
    return run


@pytest.fixture
def edited(tmp_path):
    """A copy of the protos in which one text is replaced."""
    def edit(file, old, new):
        copy = tmp_path / "proto"
        shutil.copytree(PROTO, copy, ignore=shutil.ignore_patterns("spec", "*.txt", "*.sh"))
        path = copy / file
        text = path.read_text()
        assert text.count(old) >= 1, f"{file} no longer has {old!r}: give this test another example"
        path.write_text(text.replace(old, new, 1))
        return copy
    return edit


def test_lint_is_clean(buf):
    result = buf("lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_released_is_broken(buf):
    result = buf("breaking", "--against", BASELINE)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("old,new,said", [
    ("string trace_id = 18;", "", 'Previously present field "18"'),
    ("string trace_id = 18;", "string trace_id = 99;", 'Previously present field "18"'),
    ("string trace_id = 18;", "bytes trace_id = 18;", "changed type"),
])
def test_a_broken_field_is_noticed(buf, edited, old, new, said):
    result = buf("breaking", "--against", BASELINE, folder=edited("mantissa/v1/job.proto", old, new))
    assert result.returncode == 100 and said in result.stdout, result.stdout + result.stderr


def test_a_removed_call_is_noticed(buf, edited):
    folder = edited("mantissa/v1/job_service.proto", "  rpc GetJob(GetJobRequest) returns (Job);\n", "")
    result = buf("breaking", "--against", BASELINE, folder=folder)
    assert result.returncode == 100 and "GetJob" in result.stdout, result.stdout + result.stderr


def test_a_bad_name_is_noticed(buf, edited):
    result = buf("lint", folder=edited("mantissa/v1/job.proto", "string trace_id", "string traceId"))
    assert result.returncode == 100 and "lower_snake_case" in result.stdout, result.stdout + result.stderr
