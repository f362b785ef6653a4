"""A run of many records, of which the older ones are thinned in the store: nobody who reads misses one."""
import csv
import io

import pytest

from conftest import Cluster, closing, until, watch

ITERATIONS, FULL = 12_000, 2_000


@pytest.fixture
def cluster(tmp_path):
    with closing(Cluster(tmp_path)) as it:
        it.start_server(MANTISSA_TELEMETRY_FULL_RECORDS=str(FULL))
        yield it


def rows_of(cluster, segments):
    """(records, iteration of the last of them) of every row."""
    column = cluster.pb("telemetry").Column
    rows = []
    for segment in segments:
        values = {it.standard: it.integers.values for it in segment.records.columns if not it.statistic}
        rows += zip(values.get(column.RECORDS, [1] * segment.count), values[column.ITERATION])
    return rows


def test_old_records_are_thinned_and_everyone_who_reads_is_told_of_each(cluster):
    cluster.start_worker()
    job = cluster.submit(cluster.digits(iterations=ITERATIONS, precision="FP16"))
    cluster.wait_state(job.id, "SUCCEEDED")

    def read(**request):
        _, segments = watch(cluster, job.id, **request)
        return rows_of(cluster, [segment for segment in segments if segment.HasField("records")])

    until(lambda: sum(records > 1 for records, _ in read()) * 128 >= ITERATIONS / 2, "half of them are thinned")
    rows = read()
    assert sum(records for records, _ in rows) == ITERATIONS
    assert [row for row in rows[-FULL // 2:]] == [(1, ITERATIONS - FULL // 2 + 1 + i) for i in range(FULL // 2)]
    last = 0
    for records, iteration in rows:
        last += records
        assert iteration == last, "each row is the last of the records that it stands for"

    # The same, page by page, and of a range that begins and ends in the midst of rows.
    service, pb = cluster.jobs(), cluster.pb("job_service")
    for size in (7, 1_000):
        request, paged = pb.QueryHistoryRequest(job_id=job.id, page_size=size), []
        while True:
            page = service.QueryHistory(request)
            assert sum(segment.count for segment in page.segments) <= size
            paged += rows_of(cluster, page.segments)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert paged == rows
    request = pb.QueryHistoryRequest(job_id=job.id, page_size=1_000)
    setattr(request.range, "from", 1_000)
    request.range.to = 3_000
    page = service.QueryHistory(request)
    assert page.segments[0].first_sequence == 1_000 and page.segments[-1].first_sequence <= 3_000
    assert page.segments[-1].through_sequence >= 3_000

    printed = list(csv.DictReader(io.StringIO(cluster.cli("history", job.id, "-o", "csv").stdout)))
    assert sum(int(row["records"] or 1) for row in printed) == ITERATIONS
    old = next(row for row in printed if row["records"])
    assert float(old["loss_min"]) <= float(old["loss"]) <= float(old["loss_max"]), old
    assert sum(int(row["skipped_records"]) if row["records"] else row["applied"] == "false"
               for row in printed) == cluster.get(job.id).progress.skipped_iterations
