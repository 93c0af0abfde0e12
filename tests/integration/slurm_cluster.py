"""A Slurm cluster on one machine, from Debian's packages: one controller, four nodes."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

NODES = 4
CONFIGURATION = """
ClusterName=alertprod
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
CredType=cred/munge
SlurmctldPort=16817
SlurmctldPidFile={run}/slurmctld.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdPidFile={run}/slurmd.%n.pid
SlurmdLogFile={run}/slurmd.%n.log
SlurmdSpoolDir={run}/spool.%n
StateSaveLocation={run}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=300
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=10000,batch_sched_delay=0,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
NodeName=DEFAULT CPUs=8 RealMemory=64000
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-1700{nodes}]
PartitionName=night Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=30 DefMemPerCPU=1000
"""
#: Slurm's own commands look here, also inside jobs, which have lost SLURM_CONF.
SYSTEM = Path("/etc/slurm/slurm.conf")


def missing() -> str:
    """Say which program is not installed, or nothing."""
    for name in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(name) is None and not Path("/usr/sbin", name).exists():
            return f"{name} is not installed (Debian: slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root may start slurmd"
    if SYSTEM.exists():
        return f"there is a cluster already ({SYSTEM})"
    return ""


class Cluster:
    """Start and stop the daemons; they live in a directory of their own."""

    def __init__(self) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="alertprod-slurm-"))
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self) -> "Cluster":
        """Start munge, the controller and the nodes, and wait until all are idle."""
        self.run.chmod(0o755)
        (self.run / "state").mkdir()
        host = subprocess.check_output(["hostname", "-s"], text=True).strip()
        text = CONFIGURATION.format(host=host, run=self.run, nodes=NODES)
        (self.run / "slurm.conf").write_text(text, encoding="utf-8")
        SYSTEM.parent.mkdir(exist_ok=True)
        SYSTEM.symlink_to(self.run / "slurm.conf")
        key = self.run / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        names = {"key-file": key, "socket": self.run / "munge.sock"}
        names |= {"pid-file": self.run / "munged.pid", "log-file": self.run / "munged.log"}
        names |= {"seed-file": self.run / "munged.seed"}
        options = [f"--{name}={path}" for name, path in names.items()]
        self._launch("munged", "--foreground", "--force", *options)
        self._wait((self.run / "munge.sock").exists, "munged")
        self._launch("slurmctld", "-D", "-i")
        for number in range(1, NODES + 1):
            self._launch(f"slurmd n{number}", "-D", "-N", f"n{number}")
        self._wait(lambda: self.states() == ["idle"] * NODES, "the nodes")
        return self

    def states(self) -> list[str]:
        """Return the states of the nodes."""
        command = ["sinfo", "-h", "-N", "-o", "%T"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.split()

    def busy_node(self) -> str:
        """Return the name of a node that runs a job, or nothing."""
        command = ["squeue", "-h", "-t", "R", "-o", "%N"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return next(iter(done.stdout.split()), "")

    def kill_node(self, name: str) -> int:
        """Take a node's power away: its daemon and all that runs on it; nobody is told.

        Returns
        -------
        int
            Processes of jobs that went with it.
        """
        daemon = self.processes.pop(f"slurmd {name}")
        daemon.kill()
        daemon.wait()
        mark = f"SLURMD_NODENAME={name}".encode()
        count = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                inside = mark in (folder / "environ").read_bytes().split(b"\0")
                if inside:
                    os.kill(int(folder.name), signal.SIGKILL)
                    count += 1
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile
        jobs = ["squeue", "-h", "-w", name, "-o", "%A"]
        for job in subprocess.check_output(jobs, text=True).split():
            subprocess.run(["pkill", "-KILL", "-f", rf"slurmstepd: \[{job}\."], check=False)
        return count

    def stop(self) -> None:
        """Stop everything and leave no trace."""
        subprocess.run(["scancel", "--state=RUNNING"], check=False, stderr=subprocess.DEVNULL)
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        if SYSTEM.is_symlink():
            SYSTEM.unlink()
        shutil.rmtree(self.run, ignore_errors=True)

    def _launch(self, name: str, *options: str) -> None:
        program = name.split()[0]
        path = shutil.which(program) or f"/usr/sbin/{program}"
        with open(self.run / f"{name.replace(' ', '.')}.out", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [path, *options], stdout=log, stderr=subprocess.STDOUT
            )

    def _wait(self, ready, what: str, limit_s: float = 60.0) -> None:
        end = time.monotonic() + limit_s
        while not ready():
            if time.monotonic() > end:
                logs = "\n".join(
                    p.read_text(errors="replace")[-800:] for p in self.run.glob("*.out")
                )
                raise TimeoutError(f"{what} did not come up:\n{logs}")
            time.sleep(0.3)
