"""What precision does to a run, from the data and the architecture to what a user sees: a layer that overflows FP16, records
that are not finite, gradients that vanish."""
import os
import pathlib
import signal
import struct

from conftest import until, watch
from test_interventions import attempts, checkpoints, column, interventions


def layer(model, kind, **settings):
    message = getattr(model.sequential.layers.add(), kind)
    message.SetInParent()
    for name, value in settings.items():
        setattr(message, name, value)


def overflowing(cluster, iterations_):
    """Activations of about 1e5 in the middle: beyond FP16's largest number, nothing to BF16."""
    spec = cluster.digits(iterations=iterations_, checkpoint_every=500)
    model = spec.training.model
    model.ClearField("mlp")
    layer(model, "flatten")
    layer(model, "linear", out=64)
    layer(model, "scale", factor=1e6)
    layer(model, "scale", factor=1e-6)
    layer(model, "relu")
    layer(model, "linear")
    spec.training.precision.fallback.append("BF16")
    return spec


def test_a_layer_that_fp16_cannot_hold_falls_back_to_bf16_and_stays_there(cluster):
    worker = cluster.start_worker()
    job = cluster.submit(overflowing(cluster, 8000))
    until(lambda: (lambda it: it.attempt == 2 and it.state == cluster.pb("job").Job.RUNNING)(cluster.get(job.id)),
          "the attempt in BF16 runs")
    for pid in cluster.trainer_pids(worker):
        os.kill(pid, signal.SIGKILL)
    done = cluster.wait_state(job.id, "SUCCEEDED", "FAILED", seconds=180)
    assert done.state == cluster.pb("job").Job.SUCCEEDED, done.state_message
    assert done.result.precision == cluster.pb("training").PrecisionSpec.BF16
    assert done.attempt == 3 and done.lineage.number == 2
    assert done.result.loss < 0.5, "it learns what FP16 could not"
    _, segments = watch(cluster, job.id)
    (event,) = interventions(segments)
    assert event.reason == "FALLBACK" and event.intervention.attempt == 1
    # The first skip of all is replayed, because a loss that is not finite is no search for a scale.
    located = [segment.event.overflow.location for segment in segments if segment.event.overflow.HasField("location")]
    assert located[0].module == "layers.2", "the layer that multiplies"


def mix(x):
    """SplitMix64's finaliser; with the permutation below, the order of worker/data/batch_plan.cc."""
    mask = 2**64 - 1
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9 & mask
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb & mask
    return x ^ (x >> 31)


def sample_at(position, samples, seed=0, epoch=0):
    mask = 2**64 - 1
    key = mix(mix(seed + 0x9e3779b97f4a7c15 & mask) ^ (epoch + 0xd1b54a32d192ed03))
    bits = (samples - 1).bit_length()
    low_bits = (bits + 1) // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    while True:
        low, high = position & low_mask, position >> low_bits
        for turn in range(0, 8, 2):
            low ^= mix(key + turn * 0x9e3779b97f4a7c15 + high & mask) & low_mask
            high ^= mix(key + (turn + 1) * 0x9e3779b97f4a7c15 + low & mask) & high_mask
        position = high << low_bits | low
        if position < samples:
            return position


def write_idx(path, sizes, values):
    path.write_bytes(struct.pack(">BBBB", 0, 0, 8, len(sizes)) + b"".join(struct.pack(">I", size) for size in sizes) +
                     bytes(values))


def test_rollback_skips_sixty_windows_with_a_record_that_is_not_finite(cluster):
    windows, batch, width, first_bad, bad = 160, 4, 6, 40, 60
    samples = windows * batch
    images = [0] * (samples * width)
    for window in range(first_bad, first_bad + bad):
        # 255 / full_scale x 1e10 leaves FP32, in the first layer.
        images[sample_at(window * batch + 1, samples) * width] = 255
    write_idx(cluster.data / "images.idx", [samples, width], images)
    write_idx(cluster.data / "labels.idx", [samples], [sample % 3 for sample in range(samples)])

    spec = cluster.digits(iterations=windows - 50, precision="BF16", checkpoint_every=15)
    idx = spec.training.data.train.idx
    idx.images, idx.labels, idx.full_scale = "images.idx", "labels.idx", 1e-30
    spec.training.model.ClearField("mlp")
    layer(spec.training.model, "scale", factor=1e10)
    layer(spec.training.model, "linear")
    spec.training.batch_size = batch
    spec.training.precision.on_failure = "ROLLBACK"
    spec.retry.max_attempts = 1
    cluster.start_worker()
    job = cluster.wait_state(cluster.submit(spec).id, "SUCCEEDED", "FAILED", seconds=120)
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    first, second = attempts(cluster, job.id)
    assert first.reason == cluster.pb("job").Reason.ROLLED_BACK
    assert second.resumed_from == job.lineage.checkpoint == "attempt-0001/step-00000030"
    # 50 in a row end a lineage; the ten that are left are skipped one by one.
    assert [(skipped.first, skipped.last) for skipped in job.lineage.skipped_windows] == [(first_bad, first_bad + 49)]
    _, segments = watch(cluster, job.id)
    trouble = [number for (_, number), (attempt, applied) in
               zip(column(cluster, segments, "ITERATION"), applied_rows(cluster, segments)) if attempt == 2 and not applied]
    assert trouble == list(range(first_bad + 1, first_bad + 11))
    assert job.result.skipped_iterations == 10
    kept = {checkpoint.name: checkpoint for checkpoint in checkpoints(cluster, job.id)}
    assert kept[job.result.checkpoint].finite
    assert (pathlib.Path(cluster.checkpoints) / kept[job.result.checkpoint].path / "MANIFEST.json").exists()


def applied_rows(cluster, segments):
    standard = cluster.pb("telemetry").Column.APPLIED
    return [(segment.attempt, value) for segment in segments for one in segment.records.columns if one.standard == standard
            for value in one.bools.values]


def test_the_pathological_model_is_told_what_share_of_its_gradients_vanishes(cluster):
    cluster.start_worker()
    spec = cluster.digits(iterations=250)
    spec.training.model.ClearField("mlp")
    spec.training.model.pathological.SetInParent()
    job = cluster.wait_state(cluster.submit(spec).id, "SUCCEEDED", "FAILED", seconds=120)
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    _, segments = watch(cluster, job.id)
    said = {segment.event.advice.rule: segment.event for segment in segments if segment.event.HasField("advice")}
    event = said["gradients_vanish"]
    # The second tanh is saturated, so that nothing reaches the four modules before it.
    share = {evidence.name: evidence.value for evidence in event.advice.evidence}["modules_without_gradient_ratio"]
    assert share == 4 / 6
    assert "flush to zero before tanh2" in event.message and "67 %" in event.message
    assert event.message in cluster.cli("watch", job.id).stdout


def test_tf32_on_a_cpu_is_emulated_where_the_spec_allows_it_and_every_report_says_so(cluster):
    cluster.start_worker()
    spec = cluster.digits(iterations=300, precision="TF32")
    waiting = cluster.submit(spec)
    until(lambda: "needs precision TF32" in cluster.get(waiting.id).state_message, "it says what it waits for")
    spec.training.precision.emulate = True
    spec.training.precision.overrides.add(match="head", compute="BF16")
    job = cluster.wait_state(cluster.submit(spec).id, "SUCCEEDED", "FAILED", seconds=120)
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    assert job.result.emulated and job.progress.emulated and job.result.loss < 0.5
    assert "TF32 EMULATED" in cluster.cli("get", job.id).stdout
    assert "TF32 EMULATED" in cluster.cli("watch", job.id).stdout


def test_a_loss_that_jumps_is_rolled_back_and_its_windows_are_left_out(cluster):
    """A rate and a momentum that are far too high make the loss jump by itself, the same way every time."""
    cluster.start_worker()
    spec = cluster.digits(iterations=600, precision="FP32", checkpoint_every=50)
    spec.training.optimizer.sgd.learning_rate = 0.9
    spec.training.optimizer.sgd.momentum = 0.9
    spec.training.max_grad_norm = 0
    spec.training.precision.loss_spike.action = cluster.pb("training").LossSpikeGuard.ROLLBACK
    spec.training.precision.loss_spike.iterations = 1
    job = cluster.wait_state(cluster.submit(spec).id, "SUCCEEDED", "FAILED", seconds=120)
    _, segments = watch(cluster, job.id)
    events = interventions(segments)
    assert events, "nothing jumped, so nothing was shown"
    assert job.state == cluster.pb("job").Job.SUCCEEDED, job.state_message
    assert all(event.intervention.intervention.reason == cluster.pb("job").Reason.LOSS_SPIKE for event in events)
    assert "far above its running median" in events[0].message
    assert job.lineage.rollbacks == len(events) <= 3
    first = events[0].intervention
    begins = first.intervention.iterations.first
    kept = [c for c in checkpoints(cluster, job.id) if c.name == first.lineage.checkpoint]
    assert kept[0].iteration < begins, "from before the jump"
    rates = {round(rate, 6) for _, rate in column(cluster, segments, "LEARNING_RATE")}
    assert rates == {round(0.9 / 2**i, 6) for i in range(len(events) + 1)}
