"""All jobs and the service itself: the first row says whether anybody is kept from working, the rest why."""
from job import PHASES
from panels import (BLUE, GREEN, GREY, RED, YELLOW, Query, answer, board, graph, names, row, rows, shown, steps)

# One job's page, with the time that is looked at.
JOB_LINK = ("/d/mantissa-job?var-name=${__data.fields.Job}&var-job_id=${__data.fields.Id}"
            "&from=${__from}&to=${__to}&var-datasource=${datasource}")


def quantile(number, family, by="le"):
    return f"histogram_quantile({number}, sum by ({by}) (rate({family}_bucket[$__rate_interval])))"


def rate(family, by=""):
    return f"sum {f'by ({by}) ' if by else ''}(rate({family}[$__rate_interval]))"


def grown(family, by="", over="$__rate_interval"):
    return f"sum {f'by ({by}) ' if by else ''}(increase({family}[{over}]))"


def of_jobs(family):
    return Query(f"max by (name, job_id) ({family})", instant=True)


def first_row():
    ended = "mantissa_jobs_ended_total"
    return [
        answer("Does a server serve?",
               "Servers that serve; one that stands by does not count. None: nobody can submit, but workers train on. "
               "See deploy/runbooks/server_down.md.", "short",
               [Query("sum(mantissa_server_active) or vector(0)", instant=True)],
               steps(RED, (1, GREEN)), width=4, mappings=names({0: ("NO", RED), 1: ("YES", GREEN)}), spark=False),
        answer("Do workers reach it?",
               "Workers whose newest call to the server was answered, and those that are cut off (which train on, "
               "unseen).", "short",
               [Query("sum(mantissa_worker_connected) or vector(0)", "connected", instant=True),
                Query("count(mantissa_worker_connected == 0) or vector(0)", "cut off", instant=True)],
               steps(RED, (1, GREEN)), width=5, spark=False)
        .override_by_name("cut off", shown(thresholds=steps(GREEN, (1, RED)))),
        answer("What runs?", "Jobs that train now.", "short",
               [Query('sum(mantissa_jobs{state="running"})', instant=True)], steps(BLUE), width=3, spark=False),
        answer("Who waits?", "Jobs in the queue now. `mantissa list --state queued` says why each waits.", "short",
               [Query('sum(mantissa_jobs{state="queued"})', instant=True)], steps(GREEN, (1, BLUE), (100, YELLOW)),
               width=3, spark=False),
        answer("How long do jobs wait? (95 of 100 less than)",
               "From submit to the first assignment, of the jobs that began in the time shown.", "s",
               [Query("histogram_quantile(0.95, sum by (le) "
                      "(increase(mantissa_job_queue_wait_seconds_bucket[$__range])))", instant=True)],
               steps(GREEN, (600, YELLOW), (3600, RED)), width=5, empty="none began", spark=False),
        answer("How many jobs fail?", "Of the jobs that ended in the time shown.", "percentunit",
               [Query(f"sum(increase({ended}{{state=\"failed\"}}[$__range])) / sum(increase({ended}[$__range]))",
                      instant=True)],
               steps(GREEN, (0.05, YELLOW), (0.25, RED)), width=4, empty="none ended", spark=False),
    ]


def running_jobs():
    phase = names(PHASES)
    plain = steps(GREY)
    return rows(
        "Which jobs run, and how are they?",
        "One line a running job, at most 200. Click a job to see its page.",
        [of_jobs("mantissa_job_progress_ratio"), of_jobs("mantissa_job_phase"), of_jobs("mantissa_job_loss"),
         of_jobs("mantissa_job_loss_scale"), of_jobs("mantissa_job_window_skipped_ratio"),
         of_jobs("mantissa_job_grad_norm"), of_jobs("mantissa_job_samples_per_second")],
        [("Done", "percentunit", steps(BLUE), []), ("Phase", "none", plain, phase), ("Loss", "short", plain, []),
         ("Loss scale", "short", plain, []),
         ("Skipped lately", "percentunit", steps(GREEN, (0.02, YELLOW), (0.05, RED)), []),
         ("Gradient norm", "short", plain, []), ("Samples/s", "short", plain, [])],
        {"name": ("Job", JOB_LINK), "job_id": ("Id", JOB_LINK)})


def make():
    made = board("mantissa-fleet", "Mantissa: fleet", "Is anybody kept from working? All jobs, and the server.", "3h",
                 {"mantissa-job": "Job", "mantissa-devices": "Devices"})
    for panel in first_row():
        made.with_panel(panel)
    made.with_panel(running_jobs())
    made.with_row(row("Do jobs get through?"))
    made.with_panel(graph("What are the jobs doing?", "Jobs that have not ended, by state.", "short",
                          [Query("sum by (state) (mantissa_jobs)", "{{state}}")], stacked=True, floor=0))
    made.with_panel(graph("How many jobs come, and how do they end?", "Jobs submitted and jobs that ended, per point "
                          "of the graph.", "short",
                          [Query(grown("mantissa_jobs_submitted_total"), "submitted"),
                           Query(grown("mantissa_jobs_ended_total", "state"), "{{state}}")], bars=True, floor=0))
    made.with_panel(graph("How long do jobs wait for their start?", "From submit to the first assignment.", "s",
                          [Query(quantile(0.5, "mantissa_job_queue_wait_seconds"), "half wait less"),
                           Query(quantile(0.95, "mantissa_job_queue_wait_seconds"), "95 of 100 wait less")], floor=0))
    made.with_panel(graph("Why do attempts end?",
                          "By outcome and reason, per point of the graph. LOST and the reasons node_lost, crashed, "
                          "killed and oom_killed are the machines' fault and are retried; the others are the jobs'.",
                          "short",
                          [Query(grown("mantissa_attempts_ended_total", "outcome, reason"), "{{outcome}}: {{reason}}")],
                          bars=True, stacked=True, floor=0))
    made.with_panel(graph("Which workers does the server know?", "Connected; draining, which take no work; and "
                          "disconnected, which have been silent for a lease and are forgotten after a while: "
                          "deploy/runbooks/worker_gone.md.", "short",
                          [Query("sum by (state) (mantissa_workers)", "{{state}}")], stacked=True, floor=0))
    made.with_panel(graph("Does anything stand still?", "How long the job that waits longest has waited, and how long "
                          "the worker that is silent longest has been silent.", "s",
                          [Query("max(mantissa_job_oldest_queued_seconds)", "oldest queued job"),
                           Query("max(mantissa_worker_oldest_report_seconds)", "oldest report of a worker")], floor=0))
    made.with_row(row("Does the server answer?"))
    made.with_panel(graph("How long does a submit take?", "From its arrival to the durable answer.", "s",
                          [Query(quantile(0.5, "mantissa_submit_seconds"), "half take less"),
                           Query(quantile(0.99, "mantissa_submit_seconds"), "99 of 100 take less")],
                          thresholds=steps(GREEN, (0.5, RED)), floor=0))
    made.with_panel(graph("What do calls come to?",
                          "Calls answered per second, by status code. UNAVAILABLE, INTERNAL and RESOURCE_EXHAUSTED are "
                          "the server's, the others the callers' own.", "reqps",
                          [Query(rate("mantissa_rpcs_total", "code"), "{{code}}")], floor=0))
    made.with_panel(graph("Who is not let in?", "Calls refused before anything was done, per point of the graph, by "
                          "reason. RATE_LIMITED and TOO_MANY_STREAMS are a tenant's that has had its share; the others are "
                          "callers whom the server does not know, or who may not. Connections are ended that sent most while "
                          "memory grew too fast, or whose address opens calls only to reset them.", "short",
                          [Query(grown("mantissa_refused_calls_total", "reason"), "{{reason}}"),
                           Query(grown("mantissa_ended_connections_total"), "connections ended")], bars=True, stacked=True,
                          floor=0))
    made.with_panel(graph("When do certificates end?", "What is left of the API's TLS certificate, and of the worker's "
                          "whose ends first; nothing where there is no TLS. New ones are taken up without a restart.", "s",
                          [Query("min(mantissa_server_certificate_expiry_timestamp_seconds) - time()", "a server's"),
                           Query("min(mantissa_worker_certificate_expiry_timestamp_seconds) - time()", "a worker's")],
                          floor=0, empty="no TLS"))
    made.with_panel(graph("Which calls are slow?", "What 99 of 100 calls of a method take less than; calls that hang "
                          "on purpose (Synchronize, watches) are left out.", "s",
                          [Query(quantile(0.99, "mantissa_rpc_seconds", "le, method"), "{{method}}")], floor=0))
    made.with_panel(graph("How long does a commit take?", "One transaction of the store. It is the floor under every "
                          "submit; a slow or busy disk shows here first.", "s",
                          [Query(quantile(0.5, "mantissa_store_commit_seconds"), "half take less"),
                           Query(quantile(0.99, "mantissa_store_commit_seconds"), "99 of 100 take less")],
                          thresholds=steps(GREEN, (0.1, RED)), floor=0))
    commands = "mantissa_store_commit_commands"
    made.with_panel(graph("How many commands share a commit?", "More under load: that is what keeps a slow disk from "
                          "being the limit.", "short",
                          [Query(f"{rate(commands + '_sum')} / {rate(commands + '_count')}", "commands")], floor=0))
    made.with_panel(graph("Did a commit fail?", "Transactions that did not become durable, per point of the graph. Any "
                          "is a full or broken disk, or a lost database: deploy/runbooks/store_commits_fail.md.",
                          "short",
                          [Query(grown("mantissa_store_commit_failures_total"), "failed commits")], bars=True, floor=0,
                          thresholds=steps(GREEN, (1, RED))))
    made.with_panel(graph("Can anything be stored?", "1 while the store takes nothing: reads and watches go on, writes "
                          "are refused, and it is tried again every second.", "bool_yes_no",
                          [Query("max(mantissa_store_read_only)", "read-only")], floor=0, ceiling=1,
                          thresholds=steps(GREEN, (1, RED))))
    made.with_panel(graph("How large is the write-ahead log?", "Of SQLite. It goes up and down by some megabytes; one "
                          "that only grows is kept from being checkpointed by a reader that never ends.", "bytes",
                          [Query("max(mantissa_store_wal_bytes)", "log")], floor=0, empty="not SQLite"))
    made.with_panel(graph("What do the programs take?", "Memory of servers and workers; a slope over days is a leak.",
                          "bytes",
                          [Query("max by (job, instance) (process_resident_memory_bytes{job=~\"mantissa-.*\"})",
                                 "{{job}} {{instance}}")], floor=0))
    made.with_panel(graph("How busy are the programs?", "Processors' time of servers and workers, trainers left out; 1 is "
                          "one processor.", "short",
                          [Query("sum by (job, instance) (rate(process_cpu_seconds_total{job=~\"mantissa-.*\"}"
                                 "[$__rate_interval]))", "{{job}} {{instance}}")], floor=0))
    made.with_row(row("Does everything arrive?"))
    made.with_panel(graph("Telemetry: what comes in, and what goes out to watchers",
                          "Records, events and gaps per second: made durable, and sent.", "cps",
                          [Query(rate("mantissa_telemetry_entries_stored_total"), "stored"),
                           Query(rate("mantissa_telemetry_entries_sent_total"), "sent")], floor=0))
    made.with_panel(graph("Who watches?", "Open watches of jobs.", "short",
                          [Query("sum(mantissa_watchers)", "watches")], floor=0))
    made.with_panel(graph("What was lost, or came too late?",
                          "Per point of the graph: leases that ran out (a worker fell silent), writes of attempts that "
                          "were not the live one any more (refused, as they must be), and gaps in telemetry.", "short",
                          [Query(grown("mantissa_lease_expiries_total"), "leases run out"),
                           Query(grown("mantissa_fence_rejections_total"), "stale writes refused"),
                           Query(grown("mantissa_telemetry_gaps_total"), "gaps in telemetry")], bars=True, floor=0))
    made.with_panel(graph("Are checkpoints committed?", "Per point of the graph.", "short",
                          [Query(grown("mantissa_checkpoints_committed_total"), "committed")], bars=True, floor=0))
    return made
