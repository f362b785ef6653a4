"""The rules that hold the house up: names say what a thing is, and includes point one way."""
import os
import pathlib
import re
import unittest

ROOT = pathlib.Path(os.environ.get("MANTISSA_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
PARTS = ("process", "proto", "server", "worker", "client", "tests", "deploy", "cmake")
CODE = {".h", ".cc", ".cu", ".cuh"}

# A name that would fit anything tells a reader nothing.
VAGUE = {"common", "util", "utils", "utility", "utilities", "helper", "helpers", "manager", "managers", "misc"}

MESSAGES = "mantissa/v1/"
SPEC = "proto/spec/"
# The written form of paths, which proto/spec checks too.
ROOTED_PATH = "process/rooted_path.h"
# What was probably meant where a name is wrong.
NEAREST_NAME = "process/nearest_name.h"
# The text of tokens, and how two are compared.
IDS = "process/ids.h"
# Where a text may be cut.
UTF8 = "process/utf8.h"

# What a study may use of the trainer: the library mantissa_engine, and the few headers without code.
def engine_headers():
    text = (ROOT / "worker/trainer/CMakeLists.txt").read_text()
    sources = re.search(r"add_library\(mantissa_engine STATIC(.*?)\)", text, re.DOTALL).group(1).split()
    headers = [source.removesuffix(".cc") + ".h" for source in sources] + ["device_api.h", "engine.h", "fault_location.h"]
    return tuple("worker/trainer/" + header for header in headers)


# folder -> what its files may include of ours; the longest folder that fits a file decides.
ARROWS = {
    "process/": ("process/",),
    "proto/spec/": (SPEC, MESSAGES, ROOTED_PATH, NEAREST_NAME),
    "server/core/": ("server/core/", SPEC, MESSAGES, ROOTED_PATH, IDS, UTF8),
    "server/store/": ("server/store/", "server/core/", "process/", SPEC, MESSAGES),
    "server/telemetry/": ("server/telemetry/", "server/store/", "server/core/", "process/", SPEC, MESSAGES),
    # Metrics of jobs hear what was committed.
    "server/metrics/": ("server/metrics/", "server/store/", "server/core/", "process/", SPEC, MESSAGES),
    "server/": ("server/", "process/", SPEC, MESSAGES),
    "worker/agent/": ("worker/agent/", "process/", SPEC, MESSAGES),
    "worker/studies/": ("worker/studies/", "worker/amp/", "worker/data/", "worker/kernels/", "worker/models/",
                        "worker/optim/", *engine_headers(), "process/", SPEC, MESSAGES),
    "worker/": ("worker/", "process/", SPEC, MESSAGES),
    "client/cli/": ("client/cli/", "process/", SPEC, MESSAGES),
}
OURS = ("process/", "proto/", "server/", "worker/", "client/", "tests/", MESSAGES)

GRPC = r'[<"](grpc|grpcpp|grpc\+\+)/|\.grpc\.pb\.h"'
TORCH = r'[<"](ATen|c10|torch)/'
SQL = r"<(sqlite3|libpq-fe)\.h>"
PROMETHEUS = r'[<"]prometheus/'
THREADS = r"<(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier|stop_token)>"
# folder -> includes from outside that may not appear below it.
FORBIDDEN = {
    "process/": (GRPC, TORCH, SQL, PROMETHEUS),
    "proto/spec/": (GRPC, TORCH, SQL, PROMETHEUS, THREADS),
    "server/core/": (GRPC, TORCH, SQL, PROMETHEUS, THREADS),
    "server/store/": (GRPC, TORCH, PROMETHEUS),
    "server/telemetry/": (GRPC, TORCH, SQL, PROMETHEUS),
    "server/metrics/": (GRPC, TORCH, SQL),
    "server/": (TORCH,),
    "worker/agent/": (TORCH, SQL),
    "worker/": (GRPC, SQL, PROMETHEUS),
    "client/": (TORCH, SQL, PROMETHEUS),
}
# Time is an argument in what decides.
CLOCK_FREE = ("server/core/", "proto/spec/")
CLOCK = re.compile(r"(steady|system|high_resolution|utc)_clock::now|absl::Now\b|\b(clock_)?gettime(ofday)?\(|\bstd::time\(")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])', re.MULTILINE)


def files():
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def code():
    for path in files():
        if path.suffix in CODE:
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def rule(table, name):
    """What the longest folder of the table says that the file lies in."""
    folders = [folder for folder in table if name.startswith(folder)]
    return table[max(folders, key=len)] if folders else None


def wrong_includes(name, text):
    """Why each include of a file may not be there."""
    allowed, forbidden = rule(ARROWS, name), rule(FORBIDDEN, name) or ()
    if name.startswith("worker/") and not name.startswith("worker/agent/"):
        if any(i.strip('"').startswith("worker/agent/") for i in INCLUDE.findall(text)):
            yield f"{name} includes worker/agent/, which is another program"
    for include in INCLUDE.findall(text):
        path = include.strip('<>"')
        if allowed is not None and include[0] == '"' and path.startswith(OURS) and not path.startswith(allowed):
            yield f"{name} includes {path}; it may include {', '.join(allowed)}"
        for pattern in forbidden:
            if re.search(pattern, include):
                yield f"{name} includes {include}, which has no place there"


class House(unittest.TestCase):
    def test_names_say_what_a_thing_is(self):
        vague = [path.relative_to(ROOT).as_posix() for path in files()
                 if VAGUE & set(re.split(r"[/_.\-]", path.relative_to(ROOT).as_posix().lower()))]
        self.assertEqual(vague, [])

    def test_includes_point_one_way(self):
        self.assertEqual([why for name, text in code() for why in wrong_includes(name, text)], [])

    def test_what_decides_has_no_clock(self):
        clocks = [name for name, text in code() if name.startswith(CLOCK_FREE) and CLOCK.search(text)]
        self.assertEqual(clocks, [], "time is an argument here")

    def test_headers_are_included_once_by_pragma(self):
        without = [name for name, text in code() if name.endswith((".h", ".cuh")) and "#pragma once" not in text]
        self.assertEqual(without, [])

    def test_every_kernel_may_begin_early_and_waits_first(self):
        kernels = re.compile(r"__global__[^;{]*\{\s*([^\n]*)")
        wrong = [(name, first) for name, text in code() for first in kernels.findall(text)
                 if first != "WaitForPrevious();"]
        self.assertEqual(wrong, [], "launch.cuh lets it begin before the one ahead of it has ended")
        wrong = [name for name, text in code() if name.endswith((".cu", ".cuh")) and "<<<" in text
                 and not name.endswith("/launch.cuh")]
        self.assertEqual(wrong, [], "LaunchKernel launches")

    def test_wrong_includes_are_noticed(self):
        for name, line in [
            ("server/core/a.cc", "#include <grpcpp/grpcpp.h>"),
            ("server/core/a.cc", "#include <thread>"),
            ("server/core/a.cc", '#include "server/store/job_store.h"'),
            ("server/core/a.cc", '#include "mantissa/v1/job_service.grpc.pb.h"'),
            ("server/rpc/a.cc", '#include "worker/agent/a.h"'),
            ("server/rpc/a.cc", '#include "client/cli/a.h"'),
            ("server/store/a.cc", '#include "server/rpc/a.h"'),
            ("server/store/a.cc", '#include "server/metrics/a.h"'),
            ("server/core/a.cc", '#include "process/clock.h"'),
            ("worker/trainer/a.cc", '#include "worker/agent/a.h"'),
            ("worker/trainer/a.cc", '#include "mantissa/v1/worker_service.grpc.pb.h"'),
            ("worker/studies/a.cc", '#include "worker/trainer/training_run.h"'),
            ("worker/studies/run/a.cc", '#include "worker/trainer/report/frame_channel.h"'),
            ("worker/agent/a.cc", "#include <ATen/ATen.h>"),
            ("worker/agent/a.cc", '#include "worker/trainer/a.h"'),
            ("client/cli/a.cc", '#include "server/core/a.h"'),
            ("process/a.cc", '#include "mantissa/v1/job.pb.h"'),
        ]:
            with self.subTest(name=name, line=line):
                self.assertEqual(len(list(wrong_includes(name, line))), 1)

    def test_right_includes_pass(self):
        for name, line in [
            ("server/core/a.cc", '#include "server/core/a.h"\n#include "mantissa/v1/job.pb.h"\n#include <chrono>'),
            ("server/rpc/a.cc", '#include "server/core/a.h"\n#include <grpcpp/grpcpp.h>'),
            ("worker/trainer/a.cc", '#include "worker/amp/a.h"\n#include <ATen/ATen.h>'),
            ("worker/studies/run/a.cc", '#include "worker/trainer/engine.h"\n#include "worker/models/model.h"'),
        ]:
            with self.subTest(name=name):
                self.assertEqual(list(wrong_includes(name, line)), [])


if __name__ == "__main__":
    unittest.main()
