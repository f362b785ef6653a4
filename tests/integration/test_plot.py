"""mantissa plot on real jobs: in a terminal, and as a PNG that is decoded here."""
import csv
import io
import struct
import zlib

import numpy

# What client/cli/plot/png_plot.h promises.
LEFT, RIGHT, MARK = 88, 24, (213, 0, 0)


def decode_png(data):
    """A PNG of 8-bit RGB or RGBA as an array (height, width, 3), its checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        if kind == b"IDAT":
            pixels += body
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = header
    assert depth == 8 and colour in (2, 6) and interlaced == 0, header
    size = 3 if colour == 2 else 4
    raw = numpy.frombuffer(zlib.decompress(pixels), numpy.uint8).reshape(height, 1 + width * size)
    image = numpy.zeros((height, width * size), numpy.uint8)
    for row in range(height):
        line, above = raw[row, 1:].astype(int), image[row - 1].astype(int) if row else numpy.zeros(width * size, int)
        kind = raw[row, 0]
        if kind in (0, 2):
            image[row] = (line + (above if kind == 2 else 0)) % 256
            continue
        out = numpy.zeros(width * size, int)
        for i in range(width * size):
            left = out[i - size] if i >= size else 0
            corner = above[i - size] if i >= size else 0
            if kind == 1:
                guess = left
            elif kind == 3:
                guess = (left + above[i]) // 2
            else:
                distances = [abs(left + above[i] - corner - value) for value in (left, above[i], corner)]
                guess = (left, above[i], corner)[distances.index(min(distances))]
            out[i] = (line[i] + guess) % 256
        image[row] = out
    return image.reshape(height, width, size)[:, :, :3]


def history(cluster, job):
    printed = cluster.cli("history", job.id, "-o", "csv")
    assert printed.returncode == 0, printed.stderr
    return list(csv.DictReader(io.StringIO(printed.stdout)))


def overflowing(cluster):
    """A job whose scale begins far too high: it overflows until the scale is right, then learns."""
    spec = cluster.digits(iterations=300)
    spec.training.precision.loss_scale.init = 2.0**30
    job = cluster.submit(spec)
    cluster.wait_state(job.id, "SUCCEEDED")
    return job


def test_a_picture_marks_the_overflows_where_they_were(cluster, tmp_path):
    cluster.start_worker()
    job = overflowing(cluster)
    skipped = [int(record["iteration"]) for record in history(cluster, job) if record["applied"] == "false"]
    assert skipped, "the scale was too high"
    file = tmp_path / "plot.png"
    drawn = cluster.cli("plot", job.id, "--png", file, "--width", "800", "--height", "600")
    assert drawn.returncode == 0, drawn.stderr
    image = decode_png(file.read_bytes())
    assert image.shape == (600, 800, 3)
    columns = numpy.flatnonzero((image == MARK).all(axis=2).any(axis=0))
    expected = [LEFT + (iteration - 1) / (300 - 1) * (800 - LEFT - RIGHT) for iteration in skipped]
    for x in expected:
        assert min(abs(columns - x)) <= 2, f"a mark at {x}"
    assert all(min(abs(x - column) for x in expected) <= 7 for column in columns), "and nowhere else"
    assert len(numpy.unique(image.reshape(-1, 3), axis=0)) > 50, "curves and text"


def test_the_terminal_shows_the_same(cluster):
    cluster.start_worker()
    job = overflowing(cluster)
    records = history(cluster, job)
    skipped = sum(record["applied"] == "false" for record in records)
    for width in (80, 160):
        drawn = cluster.cli("plot", job.id, "--width", width, "--height", "30")
        assert drawn.returncode == 0, drawn.stderr
        lines = drawn.stdout.splitlines()
        assert all(len(line) <= width for line in lines) and len(lines) == 30
        assert lines[0].startswith("digits   SUCCEEDED   attempt 1   FP16   300 records")
        assert f"{skipped} iterations skipped" in drawn.stdout
        assert "▼" in lines[[i for i, line in enumerate(lines) if line.startswith("loss scale")][0] + 1]
        assert any(0x2801 <= ord(sign) <= 0x28FF for sign in drawn.stdout), "curves of dots"
    print(drawn.stdout)


def test_jobs_without_records_and_without_a_scale_say_so(cluster, tmp_path):
    waiting = cluster.submit(cluster.digits())
    shown = cluster.cli("plot", waiting.id)
    assert shown.returncode == 0 and shown.stdout == ""
    assert "has no records yet (it is QUEUED" in shown.stderr
    assert cluster.cli("plot", waiting.id, "--png", tmp_path / "none.png").returncode == 1
    assert not (tmp_path / "none.png").exists()

    cluster.start_worker()
    cluster.wait_state(waiting.id, "SUCCEEDED")
    full = cluster.submit(cluster.digits(precision="FP32"))
    cluster.wait_state(full.id, "SUCCEEDED")
    shown = cluster.cli("plot", full.id, "--width", "80", "--height", "24")
    assert "no loss scale: FP32 runs without one" in shown.stdout
