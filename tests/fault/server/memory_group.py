"""A group of processes whose memory the kernel bounds, as it does a container's: both versions of cgroups."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path("/sys/fs/cgroup")

# Pages of a tmpfs cannot be given back, and belong to no process that the kernel could kill for them: it kills the
# biggest of the group, and this one is small. It ends with the first kill.
FILL = """
import pathlib, sys
group, events, file, most = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
kills = lambda: next(int(line.split()[1]) for line in events.read_text().splitlines() if line.startswith("oom_kill "))
before, page = kills(), bytes(1 << 20)
(group / "cgroup.procs").write_text("0")
with open(file, "wb", buffering=0) as out:
    for _ in range(most):
        out.write(page)
        if kills() > before:
            sys.exit(0)
sys.exit("nothing was killed")
"""


class MemoryGroup:
    def __init__(self, name, megabytes):
        """Raises OSError where groups cannot be made."""
        first = (ROOT / "memory").is_dir()
        self.home = _own_group(first)
        self.folder = self.home / f"{name}-{os.getpid()}"
        self.megabytes = megabytes
        self.events = self.folder / ("memory.oom_control" if first else "memory.events")
        self.folder.mkdir()
        try:
            (self.folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(megabytes << 20))
        except OSError:
            self.folder.rmdir()
            raise

    @contextlib.contextmanager
    def inside(self):
        """What is started here is of the group."""
        (self.folder / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (self.home / "cgroup.procs").write_text("0")

    def kills(self):
        """How many of the group the kernel has killed for memory."""
        return next(int(line.split()[1]) for line in self.events.read_text().splitlines()
                    if line.startswith("oom_kill "))

    def fill(self):
        """Takes memory until the kernel has killed one of the group, and gives it back. Returns when it was killed."""
        file, before = pathlib.Path("/dev/shm") / self.folder.name, self.kills()
        try:
            filled = subprocess.run([sys.executable, "-c", FILL, self.folder, self.events, file,
                                     str(2 * self.megabytes)], timeout=60)
            # Killed itself where it was all that was left.
            assert filled.returncode in (0, -signal.SIGKILL) and self.kills() > before, filled
            return time.monotonic()
        finally:
            file.unlink(missing_ok=True)

    def remove(self):
        """Of a group whose processes have ended."""
        self.folder.rmdir()


def _own_group(first):
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") if first else not controllers:
            inside = ROOT / "memory" / path.lstrip("/") if first else ROOT / path.lstrip("/")
            # In a container the mount shows the container's own group at its top.
            return inside if inside.is_dir() else (ROOT / "memory" if first else ROOT)
    raise OSError("this process is in no group that bounds memory")
