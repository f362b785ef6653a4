"""Who watches a job loses nothing, however often the connection goes: each entry comes once and in order, over a killed
trainer and a killed server; and what a dead worker took with it is said to be missing.

MANTISSA_ROUNDS: how often the connection is cut (100). MANTISSA_SEED: of when; printed."""
import os
import random

import grpc

from blows import attempts_of, cancel, checkpoints_of, endless_job, kill
from conftest import until, watch
from figures import tell
from link import Link

CUTS = int(os.environ.get("MANTISSA_ROUNDS", "100"))
SEED = int(os.environ.get("MANTISSA_SEED", str(random.SystemRandom().randrange(1 << 32))))


class Resumed:
    """A watcher over a link that is cut after some frames, again and again, and who each time goes on from the cursor of
    the last frame that it has. One thread."""

    def __init__(self, cluster, job_id):
        self.cluster, self.job_id, self.link = cluster, job_id, Link(cluster.address)
        self.pb, self.random = cluster.pb("job_service"), random.Random(SEED)
        self.frames, self.cuts, self.ended = [], 0, False

    def watch(self, cut_after):
        """To the end of the job, or until the link is cut and nothing more comes."""
        from mantissa.v1 import job_service_pb2_grpc
        request = self.pb.WatchJobRequest(job_id=self.job_id)
        if self.frames:
            request.cursor = self.frames[-1].next_cursor
        with grpc.insecure_channel(self.link.address, options=[("grpc.use_local_subchannel_pool", 1),
                                                               ("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
            call = job_service_pb2_grpc.JobServiceStub(channel).WatchJob(request, wait_for_ready=True, timeout=60)
            try:
                for number, frame in enumerate(call, 1):
                    self.frames.append(frame)
                    if number == cut_after:
                        self.link.cut()
                        self.cuts += 1
                self.ended = True
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error
        self.link.heal()

    def watch_until(self, cuts):
        while self.cuts < cuts:
            self.watch(self.random.randint(1, 6))

    def close(self):
        self.link.close()


def check_once_and_in_order(cluster, frames):
    """Every sequence is answered for once, and every entry of an attempt is there or said to be missing. How many rows
    of records there were."""
    following = 1
    for frame in frames:
        if frame.HasField("covers"):
            assert getattr(frame.covers, "from") == following, "covers are contiguous"
            following = frame.covers.to + 1
    segments = [segment for frame in frames for segment in frame.segments]
    sequence, rows, told = 1, [], {}  # told: attempt -> its next entry; None: nothing more is known of it
    for segment in segments:
        assert segment.first_sequence == sequence, "sequences are contiguous"
        sequence += segment.count
        if segment.attempt == 0:
            continue
        assert segment.first_attempt_sequence == told.get(segment.attempt, 1), "entries of an attempt are contiguous"
        told[segment.attempt] = segment.first_attempt_sequence + segment.count
        if segment.HasField("gap"):
            told[segment.attempt] = segment.gap.to + 1 if segment.gap.to else None
            rows.append((segment.attempt, None, None, None))
        rows += rows_of(cluster, segment)
    assert sequence == following, "what is covered was sent"
    check_iterations(rows)
    return sum(iteration is not None for _, iteration, _, _ in rows)


def rows_of(cluster, segment):
    """(attempt, iteration, step, lineage) of each record."""
    standard = cluster.pb("telemetry").Column
    columns = {column.standard: column.integers.values for column in segment.records.columns}
    wanted = [columns.get(name, ()) for name in (standard.ITERATION, standard.STEP, standard.LINEAGE)]
    return [(segment.attempt, *values) for values in zip(*wanted)]


def check_iterations(rows):
    """Attempts and iterations grow by one, and steps never go back; a new attempt goes on from a checkpoint, and what
    lies between it and the last that was seen of the old one was lost. A row without an iteration is a gap."""
    for (attempt, iteration, step, lineage), (next_attempt, next_iteration, next_step, next_lineage) in zip(rows,
                                                                                                           rows[1:]):
        if iteration is None or next_iteration is None:
            assert next_attempt >= attempt
        elif next_attempt == attempt:
            assert next_iteration == iteration + 1, (attempt, iteration, next_iteration)
            assert next_step >= step or next_lineage > lineage, (attempt, iteration, step, next_step)
        else:
            assert next_attempt == attempt + 1 and next_iteration <= iteration + 1, (attempt, iteration, next_iteration)


def test_a_watcher_that_is_cut_off_a_hundred_times_sees_each_entry_once(cluster):
    print(f"MANTISSA_SEED={SEED} MANTISSA_ROUNDS={CUTS}")
    worker = cluster.start_worker()
    job = cluster.submit(endless_job(cluster, checkpoint_every=300)).id
    watcher = Resumed(cluster, job)
    try:
        until(lambda: checkpoints_of(cluster, job), "a checkpoint to go on from")
        watcher.watch_until(CUTS // 3)
        kill(cluster.trainer_pids(worker))
        until(lambda: cluster.get(job).attempt == 2, "a second attempt")
        watcher.watch_until(2 * CUTS // 3)
        cluster.server.kill()
        cluster.start_server()
        watcher.watch_until(CUTS)
        cancel(cluster, job)
        watcher.watch(cut_after=0)
    finally:
        watcher.close()
    assert watcher.ended and watcher.frames[-1].end
    records = check_once_and_in_order(cluster, watcher.frames)
    assert [it.number for it in attempts_of(cluster, job)] == [1, 2]
    whole, _ = watch(cluster, job)
    entries = lambda frames: [segment.SerializeToString() for frame in frames for segment in frame.segments
                              if not segment.HasField("records")]
    assert entries(watcher.frames) == entries(whole) and check_once_and_in_order(cluster, whole) == records
    tell(1, SEED, cuts=(watcher.cuts, "1"), records=(records, "1"), missing=(0, "1"))


def test_what_an_agent_takes_with_it_when_it_dies_is_a_gap(cluster):
    link = Link(cluster.address)
    try:
        worker = cluster.start_worker(server=link.address)
        job = cluster.submit(endless_job(cluster, checkpoint_every=300)).id
        until(lambda: checkpoints_of(cluster, job), "a checkpoint to go on from")
        link.silence()
        alone = cluster.get(job).progress.iteration
        # The agent hears of its trainer and can tell nobody; its trainer's folder shows that it trains on.
        newest = lambda: max(int(path.name[5:]) for path in cluster.checkpoints.rglob("step-*"))
        until(lambda: newest() > alone + 300, "the trainer has gone on without the server")
        worker.kill()
        link.heal()
        cluster.start_worker(server=link.address)
        until(lambda: cluster.get(job).attempt == 2, "a second attempt")
        reached = attempts_of(cluster, job)[0].iteration
        cluster.wait_iteration(job, reached + 300)
        cancel(cluster, job)
    finally:
        link.close()
    frames, segments = watch(cluster, job)
    check_once_and_in_order(cluster, frames)
    gaps = [segment for segment in segments if segment.HasField("gap")]
    assert [(gap.attempt, gap.gap.to) for gap in gaps] == [(1, 0)], "one, whose end nobody knows"
