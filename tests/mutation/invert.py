#!/usr/bin/env python3
"""Inverts every branch of the code that decides, one at a time, and asks the unit tests to notice.

    invert.py [--build build/release] [--only TEXT] [--list]

Each condition of an `if`, `while` or `?:` is negated, each `&&` becomes `||` and the other way about. A mutant that
compiles and passes its tests has survived: a branch that nobody tests. Prints a JSON line for each mutant that is not
killed, and a summary; exits with 1 when any survived. The sources are put back as they were, whatever happens; a
checkout with changes in them is refused.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

# File -> (target and program of its tests, which of them). The narrowest that ought to notice.
SUBJECTS = {
    "worker/amp/step_decisions.h": ("amp_test", "*"),
    "worker/amp/loss_scaler.cc": ("amp_test", "*"),
    "worker/amp/verdict.cc": ("amp_test", "*"),
    "worker/amp/precision_monitor.cc": ("amp_test", "*"),
    "worker/amp/precision_statistics.cc": ("amp_test", "*"),
    "worker/amp/running_loss.cc": ("amp_test", "*"),
    "worker/amp/loss_spike_guard.cc": ("amp_test", "*"),
    "proto/spec/lineage.cc": ("spec_test", "*"),
    "proto/spec/module_match.cc": ("spec_test", "*"),
    "proto/spec/parameter_groups.cc": ("spec_test", "*"),
    "proto/spec/module_precision.cc": ("spec_test", "*"),
    "server/core/job_state.cc": ("server_core_test", "*"),
    "server/core/retry_policy.cc": ("server_core_test", "*"),
    "server/core/checkpoint_policy.cc": ("server_core_test", "*"),
    "server/core/scheduler_interventions.cc": ("server_core_test", "*"),
    "server/store/active_lock.cc": ("server_store_test", "ActiveLock*:PostgresFence*"),
    "server/store/migration_history.cc": ("server_store_test", "*Migration*"),
    "server/store/postgres.cc": ("server_store_test", "PostgresErrors*:PostgresConnection*:PostgresFence*"),
    "server/store/postgres_statement.cc": ("server_store_test", "PostgresErrors*:PostgresConnection*:PostgresFence*"),
    "server/store/postgres_store.cc": ("server_store_test", "PostgresStore*:PostgresFence*:*Conformance*/Postgres"),
    "server/store/postgres_load.cc": ("server_store_test", "PostgresStore*:PostgresFence*:*Conformance*/Postgres"),
    "server/rpc/access/reset_judge.cc": ("server_rpc_test", "ResetJudge*"),
    "worker/trainer/lineage_start.cc": ("trainer_test", "*Lineage*:*Interven*:*Rollback*:*Fallback*"),
    "worker/trainer/overflow_cause.cc": ("trainer_test", "*Attribution*:*Cause*:*Replay*:*Overflow*"),
    "worker/trainer/boundary_plan.cc": ("trainer_test", "*Boundar*"),
    "worker/studies/number_format.cc": ("studies_test", "NumberFormat*"),
    "worker/studies/magnitude_counts.cc": ("studies_test", "MagnitudeCounts*"),
    "worker/studies/loss_scale_search.cc": ("studies_test", "LossScaleSearch*"),
    "worker/studies/report/precision_verdict.cc": ("studies_test", "PrecisionVerdict*"),
    "worker/studies/sample_statistics.cc": ("studies_test", "SampleStatistics*"),
    "worker/studies/scaler_trace.cc": ("studies_test", "Scaler*"),
    "worker/studies/report/report_bound.cc": ("studies_test", "ReportBound*"),
    "worker/studies/run/run_history.cc": ("studies_test", "RunHistory*"),
}

# Equivalent mutants: (file, text of the line, reason that no test can tell the difference).
EQUIVALENT = {
    ("server/store/postgres.cc", "if (queued > kQueuedBytes) {"): "how often it is flushed, not what is sent",
    ("server/store/postgres_store.cc", 'if (settings->Bytes(0, 1) == "off") {'): "a warning in the log, and nothing else",
    ("server/store/postgres_store.cc", 'if (status.ok()) MANTISSA_FAILPOINT("store.after_commit");'): "a build of users has no failpoints",
}

TEST_SECONDS = 300

# A mutant that mixes && and || is none the worse for it.
QUIET = '#pragma GCC diagnostic ignored "-Wparentheses"\n'


def blank_comments_and_strings(text):
    """The same length, so that offsets hold."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def closing(text, opening):
    depth = 0
    for i in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    raise ValueError("unbalanced parentheses")


def condition_of_question(text, question):
    """Start of the condition before a `?`: back to what can't belong to it."""
    depth, i = 0, question
    while i > 0:
        i -= 1
        if text[i] in ")]":
            depth += 1
        elif text[i] in "([":
            if depth == 0:
                return i + 1
            depth -= 1
        elif depth == 0:
            if text[i] in ";{},?" or (text[i] == ":" and text[i - 1] != ":" and text[i + 1] != ":"):
                return i + 1
            if text[i] == "=" and text[i - 1] not in "=!<>" and text[i + 1] != "=":
                return i + 1
            if text[:i + 1].endswith("return"):
                return i + 1
    return 0


def mutants_of(text):
    """Yields (offset, what, mutated text)."""
    code = blank_comments_and_strings(text)
    for match in re.finditer(r"\b(?:if|while) \(", code):
        opening = match.end() - 1
        end = closing(code, opening)
        # `if (T x = f(); cond)` and `if (const auto x = f())`: only the condition can be negated.
        start = opening + 1 + (code[opening + 1:end].rfind(";") + 1)
        if re.search(r"[^=!<>]=[^=]", code[start:end]):
            continue  # a declaration
        yield start, "negated", f"{text[:start]} !({text[start:end].strip()}){text[end:]}"
    for match in re.finditer(r" \? ", code):
        start = condition_of_question(code, match.start())
        yield start, "negated", f"{text[:start]} !({text[start:match.start()].strip()}){text[match.start():]}"
    for match in re.finditer(r" (&&|\|\|) ", code):
        other = "||" if match.group(1) == "&&" else "&&"
        yield match.start(), f"{match.group(1)} -> {other}", text[:match.start()] + f" {other} " + text[match.end():]


def run(command, **options):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options).returncode


def verdict(build, target, tests):
    if run(["cmake", "--build", str(build), "--target", target, "--", "-k", "0"]) != 0:
        return "does not compile"
    program = next(p for p in (ROOT / build).rglob(target) if p.is_file())
    try:
        failed = run([str(program), f"--gtest_filter={tests}", "--gtest_fail_fast"], timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return "killed"
    return "killed" if failed else "survived"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    options = parser.parse_args()
    files = [file for file in SUBJECTS if options.only in file]
    if not files:
        sys.exit(f"invert.py: --only {options.only!r} names no file; there are {', '.join(SUBJECTS)}")
    if not options.list and run(["git", "diff", "--quiet", "--", *files]) != 0:
        sys.exit("invert.py: the files to be mutated have changes; commit or stash them first")
    counts, began = {}, time.monotonic()
    for file in files:
        target, tests = SUBJECTS[file]
        path = ROOT / file
        original = path.read_text()
        if not options.list and verdict(options.build, target, tests) != "survived":
            sys.exit(f"invert.py: {target} fails without any mutant")
        try:
            for offset, what, mutated in mutants_of(original):
                line = original.count("\n", 0, offset) + 1
                text = original.splitlines()[line - 1].strip()
                if options.list:
                    print(f"{file}:{line}: {what}: {text}")
                    continue
                path.write_text(QUIET + mutated)
                result = verdict(options.build, target, tests)
                if result == "survived" and (file, text) in EQUIVALENT:
                    result = "equivalent"
                counts[result] = counts.get(result, 0) + 1
                if result != "killed":
                    print(json.dumps({"file": file, "line": line, "mutant": what, "text": text, "result": result}), flush=True)
        finally:
            if not options.list:
                path.write_text(original)
    if not options.list:
        print(json.dumps({"mutants": counts, "seconds": round(time.monotonic() - began)}))
        sys.exit(1 if counts.get("survived") else 0)


main()
