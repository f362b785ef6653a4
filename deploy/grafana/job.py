"""One job. The first row is read in ten seconds: is it learning, is the scale healthy, what overflowed, is it as fast
as it should be? Everything below says why."""
from panels import (BLUE, GREEN, GREY, RED, YELLOW, Annotation, Query, answer, board, chosen, graph, names, row, shown,
                    states, steps)

PHASES = {1: ("CALIBRATING", BLUE), 2: ("STEADY", GREEN), 3: ("UNSTABLE", RED)}
NO_SCALE = "no loss scale: not FP16"


def of(family):
    return f'{family}{{job_id="$job_id"}}'


LOSS, SPEED = of("mantissa_job_loss"), of("mantissa_job_samples_per_second")
PROGRESS = of("mantissa_job_progress_ratio")
# -1 where it is not finite: a value that is NaN would be passed over for an older one that is not.
LEARNING = (f"(avg_over_time({LOSS}[$__rate_interval]) / max_over_time(({LOSS} < Inf)[$__range:$__rate_interval]) >= 0 "
            f"< Inf) or 0 * {of('mantissa_job_iteration')} - 1")
OVERFLOWS = of("mantissa_job_overflows_total")
# A job's series begin with what happened before their first scrape, which an increase does not see.
OVERFLOWS_NEW = f"increase({OVERFLOWS}[$__rate_interval]) or {OVERFLOWS}"


def first_row():
    return [
        answer("Is it learning? Loss against its highest",
               "The loss now as a share of the highest one in the time shown. Falling is learning; about 100 % is a "
               "loss that goes nowhere. NOT FINITE: the loss is NaN or Inf, look at the gradient norm below.",
               "percentunit", [Query(LEARNING)], steps(GREEN, (0.95, YELLOW)),
               mappings=names({-1: ("NOT FINITE", RED)}), decimals=0),
        answer("Is the scale healthy?",
               "The numeric phase. CALIBRATING: the loss scale still looks for its level, and skips are no news. "
               "STEADY: it holds. UNSTABLE: it backs off again and again; see deploy/runbooks/job_unstable.md.",
               "none", [Query(of("mantissa_job_phase"))], steps(GREY), mappings=names(PHASES), spark=False),
        answer("What overflowed? Iterations skipped",
               "Iterations that applied no update, in all and as a share of the latest (the statistics window). A few "
               "while the scale calibrates, and one each time it grows too far, are how a dynamic scale works. "
               "`mantissa events JOB --min-severity warning` names the parameter that each began in.",
               "short",
               [Query(f"{of('mantissa_job_iteration')} - {of('mantissa_job_step')}", "in all"),
                Query(of("mantissa_job_window_skipped_ratio"), "of the latest")],
               steps(GREEN), spark=False)
        .override_by_name("of the latest", shown("percentunit", steps(GREEN, (0.02, YELLOW), (0.05, RED)))),
        answer("Is it as fast as it should be? Against its own best",
               "Samples per second as a share of what the job reached in its best tenth of the time shown. Below 80 % "
               "something takes its device or its data away.",
               "percentunit",
               [Query(f"avg_over_time({SPEED}[$__rate_interval]) / quantile_over_time(0.9, {SPEED}[$__range])")],
               steps(RED, (0.5, YELLOW), (0.8, GREEN)), decimals=0),
        answer("How far is it?",
               "Iterations done of all, and how long the rest takes at the pace of the last five minutes.",
               "percentunit",
               [Query(PROGRESS, "done"), Query(f"(1 - {PROGRESS}) / (deriv({PROGRESS}[5m]) > 0)", "left")],
               steps(BLUE), width=4, spark=False).override_by_name("left", shown("dtdurations")),
    ]


def make():
    made = board("mantissa-job", "Mantissa: job",
                 "One mixed-precision training job: is it learning, is the scale healthy, what overflowed, is it as "
                 "fast as it should be?", "30m", {"mantissa-fleet": "Fleet", "mantissa-devices": "Devices"})
    made.with_variable(chosen("name", "Job", "label_values(mantissa_job_iteration, name)"))
    # Ids begin with the time of the submit: the newest job of a name comes first.
    made.with_variable(chosen("job_id", "Id", 'label_values(mantissa_job_iteration{name="$name"}, job_id)',
                              newest_first=True))
    made.annotation(Annotation("Overflow", OVERFLOWS_NEW, "red", "Skipped: a gradient overflowed"))
    made.annotation(Annotation("Phase", f"changes({of('mantissa_job_phase')}[$__rate_interval])", "blue",
                               "The numeric phase changed"))
    for panel in first_row():
        made.with_panel(panel)
    made.with_row(row("Is it learning, and what does the scale do?"))
    made.with_panel(graph("Loss: it should fall", "The newest loss at each scrape. A gap is NaN.", "short",
                          [Query(LOSS, "loss")]))
    made.with_panel(graph("Loss scale: steps up are growth, steps down are overflows",
                          "The factor that keeps small FP16 gradients from vanishing. It halves at an overflow and "
                          "doubles after a quiet growth interval. One that only falls meets gradients that are too "
                          "large, not a scale that is.", "short",
                          [Query(of("mantissa_job_loss_scale"), "loss scale")], log=2, empty=NO_SCALE))
    made.with_row(row("What overflowed?"))
    made.with_panel(graph("When did it overflow?",
                          "Iterations skipped because a gradient overflowed, per point of the graph. The first bar of "
                          "a run is all that came before its first scrape.", "short",
                          [Query(OVERFLOWS_NEW, "overflows")], bars=True, floor=0, empty=NO_SCALE))
    made.with_panel(graph("Gradient norm: what the overflows come from",
                          "Before clipping and without the loss scale, of applied iterations. Growing over orders of "
                          "magnitude before an overflow it is the model that diverges; level, it was the scale.",
                          "short",
                          [Query(of("mantissa_job_grad_norm"), "gradient norm")], log=10))
    made.with_panel(states("In which phase was it?", "How the run went at each time; whether the precision suits the "
                           "job is below, under \"How often does the scale hold?\".",
                           [Query(of("mantissa_job_phase"), "phase")], names(PHASES)))
    made.with_row(row("Is it as fast as it should be?"))
    made.with_panel(graph("How fast does it train?", "Samples that the trainer says it processes per second.", "short",
                          [Query(SPEED, "samples/s"),
                           Query(f"quantile_over_time(0.9, {SPEED}[$__range])", "its best tenth")], floor=0))
    made.with_panel(graph("How fast does it get on?",
                          "Iterations per second of wall time, evaluation, checkpoints and waits included; applied "
                          "ones are those that changed the model.", "cps",
                          [Query(f"deriv({of('mantissa_job_iteration')}[$__rate_interval])", "iterations"),
                           Query(f"deriv({of('mantissa_job_step')}[$__rate_interval])", "applied")]))
    made.with_panel(graph("How many iterations are skipped?",
                          "Of all iterations so far, and of those of the statistics window.", "percentunit",
                          [Query(of("mantissa_job_skipped_ratio"), "of all"),
                           Query(of("mantissa_job_window_skipped_ratio"), "of the latest")],
                          thresholds=steps(GREEN, (0.05, RED)), floor=0))
    made.with_panel(graph("How often does the scale hold?",
                          "Iterations of the statistics window in which the loss scale did not back off; from a full "
                          "window on.", "percentunit", [Query(of("mantissa_job_stability_ratio"), "held")],
                          thresholds=steps(RED, (0.98, GREEN)), floor=0, ceiling=1,
                          empty="the statistics window is not full yet"))
    return made

