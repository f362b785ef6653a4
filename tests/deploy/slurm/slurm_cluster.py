"""A Slurm cluster of one node on this machine, with its own munge, folders and ports: nothing of an installed one is
read or changed."""
import os
import pathlib
import pwd
import shutil
import socket
import subprocess

from conftest import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")


def missing():
    """What keeps a cluster from being started here, in words; empty: nothing."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"{', '.join(absent)}: not installed; deploy/setup.sh --tests installs slurm-wlm and munge"
    if os.geteuid() != 0:
        return "slurmd starts jobs as other users, for which it needs root"
    return ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SlurmCluster:
    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        self.host = socket.gethostname().split(".")[0]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self):
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self._write_configuration()
        self._start_munge()
        self._spawn("slurmctld", "slurmctld", "-D")
        self._spawn("slurmd", "slurmd", "-D", "-N", self.host)
        until(lambda: self.run("sinfo", "--noheader", "--format=%T", check=False).stdout.strip() == "idle",
              "the node is idle")

    def _write_configuration(self):
        folder, user = self.folder, pwd.getpwuid(os.geteuid()).pw_name
        (folder / "slurm.conf").write_text(f"""
ClusterName=mantissa
SlurmctldHost={self.host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PropagateResourceLimits=NONE
NodeName={self.host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")

    def _start_munge(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        paths = {"key-file": key, "socket": self.folder / "munge.socket", "pid-file": self.folder / "munge.pid",
                 "log-file": self.folder / "munged.log", "seed-file": self.folder / "munge.seed"}
        # --force: folders of tests are more open than it likes.
        options = [f"--{name}={path}" for name, path in paths.items()]
        self._spawn("munged-out", "munged", "--foreground", "--force", *options)
        until(paths["socket"].exists, "munge answers")

    def _spawn(self, log, *command):
        with open(self.folder / f"{log}.log", "w") as out:
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=out, stderr=out,
                                                 start_new_session=True))

    def run(self, *command, check=True, **variables):
        done = subprocess.run(list(map(str, command)), env={**self.environment, **variables}, capture_output=True,
                              text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def job(self, number):
        """What scontrol knows of a job, by its names; JobState, ExitCode and others."""
        text = self.run("scontrol", "show", "job", "--oneliner", number).stdout
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def wait_end(self, number, seconds=120):
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return until(lambda: (lambda job: job if job["JobState"] in over else None)(self.job(number)),
                     f"Slurm's job {number} ends", seconds)

    def queue(self, *states):
        """Numbers of the jobs in these states."""
        listed = self.run("squeue", "--noheader", "--states", ",".join(states), "--format=%i").stdout
        return [int(line) for line in listed.split()]

    def close(self):
        self.run("scancel", "--me", check=False)
        if len(self.daemons) == 3:
            until(lambda: not self.run("squeue", "--noheader", check=False).stdout.strip(), "all jobs have ended", 60)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(timeout=60)

    def logs(self):
        return {path.name: path.read_text(errors="replace") for path in sorted(pathlib.Path(self.folder).glob("*.log"))}
