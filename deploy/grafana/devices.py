"""The machines: do workers reach the server, are their devices used, and does what they make arrive?"""
from panels import BLUE, GREEN, RED, YELLOW, Query, answer, board, chosen, graph, row, rows, shown, steps

NO_GPU = "no GPU with a driver"
# Every panel follows the choice of workers at the top.
OURS = 'instance=~"$worker"'


def of(family, more=""):
    return f"{family}{{{OURS}{', ' + more if more else ''}}}"


def grown(family, by="instance", more=""):
    return f"sum by ({by}) (increase({of(family, more)}[$__rate_interval]))"


def per_worker(expr):
    return Query(f"sum by (instance) ({expr})", instant=True)


def first_row():
    held = f"sum({of('mantissa_worker_attempts')})"
    return [
        answer("Do these workers reach the server?",
               "Those whose newest call was answered, and those that are cut off and train on, unseen, for a while: "
               "deploy/runbooks/worker_gone.md.", "short",
               [Query(f"sum({of('mantissa_worker_connected')}) or vector(0)", "connected", instant=True),
                Query(f"count({of('mantissa_worker_connected')} == 0) or vector(0)", "cut off", instant=True)],
               steps(RED, (1, GREEN)), width=6, spark=False)
        .override_by_name("cut off", shown(thresholds=steps(GREEN, (1, RED)))),
        answer("What do they offer?", "Devices that the server may place jobs on, by kind.", "short",
               [Query(f"sum by (kind) ({of('mantissa_worker_devices')})", "{{kind}}", instant=True)],
               steps(BLUE), width=6, spark=False),
        answer("How many devices have work?",
               "Attempts held, of the devices offered. Low while jobs wait: they ask for something that these workers "
               "do not have; `mantissa get JOB` says what.", "percentunit",
               [Query(f"{held} / sum({of('mantissa_worker_devices')})", instant=True)], steps(BLUE), width=6,
               spark=False),
        answer("How often did a trainer have to be replaced?",
               "Trainer processes started in the place of another, in the time shown. Each cost at most one attempt.",
               "short", [Query(f"sum(increase({of('mantissa_worker_trainer_restarts_total')}[$__range]))")],
               steps(GREEN, (1, YELLOW), (10, RED)), width=6, decimals=0),
    ]


def workers():
    return rows("Which workers are there?", "One line a worker that Prometheus scrapes.",
                [per_worker(of("mantissa_worker_connected")), per_worker(of("mantissa_worker_devices", 'kind="cpu"')),
                 per_worker(of("mantissa_worker_devices", 'kind="cuda"')), per_worker(of("mantissa_worker_attempts")),
                 per_worker(of("mantissa_worker_telemetry_buffered_bytes"))],
                [("Connected", "bool_yes_no", steps(RED, (1, GREEN)), []), ("CPU slots", "short", steps(BLUE), []),
                 ("GPUs", "short", steps(BLUE), []), ("Attempts held", "short", steps(BLUE), []),
                 ("Telemetry not yet stored", "bytes", steps(GREEN, (1 << 20, YELLOW), (16 << 20, RED)), [])],
                {"instance": ("Worker", None)}, height=7)


def gpus():
    return rows("Which GPUs are there?",
                "One line a GPU of the machines, by the number that nvidia-smi has for it; `device` is the worker's name "
                "for it, empty where the worker does not use it. Only where there is an NVIDIA driver.",
                [Query(f"max by (instance, gpu, model, driver, device, uuid) ({of('mantissa_worker_device_info')})",
                       instant=True)],
                [("Seen", "bool_yes_no", steps(GREEN), [])],
                {"instance": ("Worker", None), "gpu": ("GPU", None), "device": ("Device", None),
                 "model": ("Model", None), "driver": ("Driver", None), "uuid": ("UUID", None)}, height=6)


def of_gpu(family, legend=""):
    return Query(f"max by (instance, gpu) ({of(family)})", f"{{{{instance}}}} GPU {{{{gpu}}}}{legend}")


def make():
    made = board("mantissa-devices", "Mantissa: devices", "Are the machines used, and does what they make arrive?",
                 "3h", {"mantissa-fleet": "Fleet", "mantissa-job": "Job"})
    made.with_variable(chosen("worker", "Worker", "label_values(mantissa_worker_connected, instance)", multi=True))
    for panel in first_row():
        made.with_panel(panel)
    made.with_panel(workers())
    made.with_row(row("Are the devices used?"))
    made.with_panel(graph("How many devices have work?", "Attempts held by each worker, those that wind down included; "
                          "and what it offers.", "short",
                          [Query(f"sum by (instance) ({of('mantissa_worker_attempts')})", "{{instance}} holds"),
                           Query(f"sum by (instance) ({of('mantissa_worker_devices')})", "{{instance}} offers")],
                          floor=0))
    made.with_panel(graph("How do attempts end here?", "Per point of the graph. Stopped: given back with a checkpoint, "
                          "because the worker was told to stop or the job to move.", "short",
                          [Query(grown("mantissa_worker_attempts_total", "instance, outcome"),
                                 "{{instance}} {{outcome}}")],
                          bars=True, stacked=True, floor=0))
    made.with_panel(graph("Do trainers last?", "Trainer processes, per point of the graph: started, and started in the "
                          "place of another that failed, was cancelled or had run many attempts.", "short",
                          [Query(grown("mantissa_worker_trainers_started_total"), "{{instance}} started"),
                           Query(grown("mantissa_worker_trainer_restarts_total"), "{{instance}} replaced")], bars=True,
                          floor=0))
    made.with_panel(graph("Do they reach the server?", "1 while the newest call was answered.", "bool_on_off",
                          [Query(f"min by (instance) ({of('mantissa_worker_connected')})", "{{instance}}")], floor=0,
                          ceiling=1))
    made.with_row(row("How are the GPUs?"))
    made.with_panel(gpus())
    made.with_panel(graph("Are the GPUs busy?", "Share of the time with a kernel at work. A GPU with a job and little "
                          "to do waits for its data or its launches; compare samples/s of the job. Not told in MIG mode.",
                          "percentunit", [of_gpu("mantissa_worker_device_utilisation_ratio")], floor=0, ceiling=1,
                          empty=NO_GPU))
    made.with_panel(graph("Is there memory left?", "Taken on each GPU, by whatever program, and what it has.", "bytes",
                          [of_gpu("mantissa_worker_device_memory_used_bytes"),
                           of_gpu("mantissa_worker_device_memory_total_bytes", " has")], floor=0, empty=NO_GPU))
    made.with_panel(graph("How much power do they draw?", "One that draws little under load is throttled, or waits.",
                          "watt", [of_gpu("mantissa_worker_device_power_watts")], floor=0, empty=NO_GPU))
    made.with_panel(graph("Are they cool enough?", "Of the chip. Most slow themselves down from 85 to 90 °C.", "celsius",
                          [of_gpu("mantissa_worker_device_temperature_celsius")],
                          thresholds=steps(GREEN, (85, RED)), empty=NO_GPU))
    made.with_row(row("Does what they make arrive?"))
    made.with_panel(graph("How many calls to the server fail?", "Per point of the graph: failed, or not answered in "
                          "time.", "short",
                          [Query(grown("mantissa_worker_synchronize_failures_total"), "{{instance}}")], bars=True,
                          floor=0))
    made.with_panel(graph("How much telemetry waits?", "Kept by the worker until the server has stored it. It grows "
                          "while the server is away; when it is full, records become an explicit gap.", "bytes",
                          [Query(f"sum by (instance) ({of('mantissa_worker_telemetry_buffered_bytes')})",
                                 "{{instance}}")],
                          floor=0))
    acknowledged = of("mantissa_worker_telemetry_acknowledged_total")
    made.with_panel(graph("How much telemetry is stored?", "Records and events acknowledged by the server, per second.",
                          "cps", [Query(f"sum by (instance) (rate({acknowledged}[$__rate_interval]))", "{{instance}}")],
                          floor=0))
    made.with_panel(graph("Was telemetry lost?", "Gaps made here, per point of the graph: the buffer was full, or a "
                          "trainer left a hole.", "short",
                          [Query(grown("mantissa_worker_telemetry_gaps_total"), "{{instance}}")], bars=True, floor=0,
                          thresholds=steps(GREEN, (1, RED))))
    made.with_panel(graph("Are checkpoints committed?", "Per point of the graph: by what the server answered, and "
                          "commits that had to be asked for again.", "short",
                          [Query(grown("mantissa_worker_checkpoints_total", "instance, outcome"),
                                 "{{instance}} {{outcome}}"),
                           Query(grown("mantissa_worker_checkpoint_commit_retries_total"), "{{instance}} asked again")],
                          bars=True, floor=0))
    written = f"rate({of('mantissa_worker_checkpoint_seconds_bucket')}[$__rate_interval])"
    made.with_panel(graph("How long does a checkpoint take?", "Until it is durable on the worker's disk; training waits "
                          "for it.", "s",
                          [Query(f"histogram_quantile({share}, sum by (le, instance) ({written}))",
                                 f"{{{{instance}}}} {text}")
                           for share, text in [(0.5, "half take less"), (0.95, "95 of 100 take less")]], floor=0,
                          empty="none written"))
    made.with_panel(graph("Do checkpoints fail?", "Per point of the graph: those that could not be written, for which "
                          "training goes on, and damaged ones that a resume passed over for an older one. "
                          "deploy/runbooks/checkpoints_fail.md.", "short",
                          [Query(grown("mantissa_worker_checkpoint_save_failures_total"), "{{instance}} not written"),
                           Query(grown("mantissa_worker_checkpoint_fallbacks_total"), "{{instance}} passed over")],
                          bars=True, floor=0, thresholds=steps(GREEN, (1, RED))))
    made.with_panel(graph("Is there room for them?", "Free space of each root, looked at every half minute.", "bytes",
                          [Query(f"min by (instance, root) ({of('mantissa_worker_root_free_bytes')})",
                                 "{{instance}} {{root}}")], floor=0))
    made.with_panel(graph("Do old checkpoints go?", "Per point of the graph: deleted because the server named them, "
                          "and those that could not be. They fill the disk.", "short",
                          [Query(grown("mantissa_worker_checkpoints_deleted_total"), "{{instance}} deleted"),
                           Query(grown("mantissa_worker_checkpoint_deletion_failures_total"), "{{instance}} failed")],
                          bars=True, floor=0))
    made.with_panel(graph("Do models and bundles arrive?", "Files per point of the graph: uploaded, and uploads that "
                          "failed and are tried again.", "short",
                          [Query(grown("mantissa_worker_artifacts_uploaded_total"), "{{instance}} uploaded"),
                           Query(grown("mantissa_worker_artifact_upload_failures_total"), "{{instance}} failed")],
                          bars=True, floor=0))
    made.with_panel(graph("Do exports arrive?", "To TensorBoard and MLflow, per point of the graph: calls that failed and "
                          "are tried again, and records that were not exported. No job is touched by either.", "short",
                          [Query(grown("mantissa_worker_export_failures_total", "instance, exporter"),
                                 "{{instance}} {{exporter}} failed"),
                           Query(grown("mantissa_worker_export_dropped_records_total", "instance, exporter"),
                                 "{{instance}} {{exporter}} records dropped")],
                          bars=True, floor=0))
    return made
