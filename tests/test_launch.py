"""The Slurm file, run with stand-ins for Slurm, Ray and wst that write down how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # starts processes

SCRIPT = ROOT / "studies" / "launch" / "slurm.sh"

# Every stand-in writes a line into the log: its name, its arguments, and the environment that matters.
_LOG = 'echo "$(basename "$0") ${*//$\'\\n\'/ }" >> "$LOG"\n'
_STAND_INS = {
    # Runs the command as a node of the job would see it.  Options come first, then `bash`.
    "srun": _LOG
    + """
for option; do case $option in --nodelist=*) node=${option#*=};; esac; done
while [[ $1 == --* ]]; do shift; done
SLURM_CPUS_ON_NODE=8 SLURM_GPUS_ON_NODE=4 NODE=$node exec "$@"
""",
    "scontrol": _LOG
    + """
case "$1 $2" in
    "show hostnames") printf '%s\\n' ${NODES};;
    "show job")
        end=$(date -d "+$LIMIT minutes" +%Y-%m-%dT%H:%M:%S)
        echo "JobId=$3 StartTime=x EndTime=$end Deadline=N/A";;
esac
""",
    "hostname": 'if [[ ${1:-} == -I ]]; then echo "$ADDRESSES"; else echo "${NODE:-n1}"; fi\n',
    # The head opens its port; both stay until they get a signal, which they write down.
    "ray": 'echo "ray@$NODE token=${#RAY_AUTH_TOKEN} mode=$RAY_AUTH_MODE $*" >> "$LOG"\n'
    + """
trap 'echo "ray@$NODE ended" >> "$LOG"; kill $!; exit 0' TERM
for option; do case $option in --port=*) port=${option#*=};; esac; done
if [[ -n ${port:-} && $HEAD_COMES == 1 ]]; then
    "$PYTHON" -c "import socket, time; s = socket.create_server(('127.0.0.1', $port)); time.sleep(60)" &
else
    [[ -n ${port:-} ]] && exit 1
    sleep 60 &
fi
wait
""",
    # Waits for the nodes, as the program does that it is given: one call for the head, one for all workers.
    "python": """
cat > /dev/null
until (($(grep -c "^ray@.* start" "$LOG") >= ($3 > 1 ? 2 : 1))); do sleep 0.05; done
"""
    + _LOG
    + 'exit "$JOINED"\n',
    "wst": _LOG + 'exit "$STATUS"\n',
}


@dataclass
class Run:
    status: int
    calls: list[str]
    """What was called, in order."""
    stderr: str

    def of(self, name: str) -> list[str]:
        return [call for call in self.calls if call.split()[0].split("@")[0] == name]


def _run(folder: Path, *arguments: str, job: int = 0, **environment: str) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    commands = folder / "bin"
    commands.mkdir()
    for name, text in _STAND_INS.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (commands / name).chmod(0o755)
    log = folder / "log"
    log.touch()
    defaults = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "LOG": str(log),
        "PYTHON": sys.executable,
        "STUDY": "demo",
        "OUT": str(folder / "runs of mine"),
        "NODES": "n1 n2 n3",
        "ADDRESSES": "192.0.2.7 127.0.0.1 10.1.2.3",
        "NETWORK": r"^127\.",
        "LIMIT": "240",
        "STATUS": "0",
        "JOINED": "0",
        "HEAD_COMES": "1",
        "JOIN_TIMEOUT": "20",
        "SLURM_JOB_ID": str(job or 4_000_000 + os.getpid()),
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_CPUS_ON_NODE": "8",
        "SLURM_CPUS_PER_TASK": "8",
    }
    run = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env=defaults | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Run(run.returncode, log.read_text().splitlines(), run.stderr)


def test_head_then_workers_then_wait_then_study_then_end(tmp_path: Path) -> None:
    run = _run(tmp_path, "--set", "checkpoint=a file.npz")
    assert run.status == 0, run.stderr
    head, workers = run.of("ray")[:2]
    assert head.startswith("ray@n1 token=64 mode=token --logging-level=warning start --block ")
    assert " --head " in head
    assert "--node-ip-address=127.0.0.1 " in head and "--include-dashboard=false" in head
    assert "--num-cpus=8 --num-gpus=4 " in head
    port = next(word for word in head.split() if word.startswith("--port=")).partition("=")[2]
    assert workers.startswith("ray@n2,n3 token=64 mode=token --logging-level=warning start --block ")
    assert f"--address=127.0.0.1:{port}" in workers and "--head" not in workers
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --nodelist=n2,n3 " in run.of("srun")[1]
    assert run.of("python") == [f"python - 127.0.0.1:{port} 3 20"]
    out = tmp_path / "runs of mine"
    (study,) = run.of("wst")
    assert study in {  # the allocation's 240 minutes, less the margin and a second for this test
        f"wst tune demo --out {out} --address 127.0.0.1:{port} --stop-after {minutes}m "
        "--set checkpoint=a file.npz"
        for minutes in (224, 225)
    }
    order = [run.calls.index(call) for call in (head, workers, *run.of("python"), study)]
    ends = [i for i, call in enumerate(run.calls) if call.endswith(" ended")]
    assert sorted(order) == order and len(ends) == 2 and min(ends) > max(order)
    assert run.calls[-1].startswith("srun ") and run.calls[-1].endswith(f"rm -rf {_folder(head)}")


def _folder(head: str) -> str:
    return next(word for word in head.split() if word.startswith("--temp-dir=")).partition("=")[2]


def test_trials_left_put_the_job_back_once_ray_has_ended(tmp_path: Path) -> None:
    run = _run(tmp_path, STATUS="75", SLURM_RESTART_COUNT="3")
    assert run.status == 0
    assert run.calls[-1].startswith("scontrol requeue 4")
    assert sum(call.endswith(" ended") for call in run.calls[:-1]) == 2


@pytest.mark.parametrize("status", ["0", "1", "2", "130"])
def test_anything_else_does_not(tmp_path: Path, status: str) -> None:
    run = _run(tmp_path, STATUS=status)
    assert run.status == int(status)
    assert not [call for call in run.calls if "requeue" in call]
    assert sum(call.endswith(" ended") for call in run.calls) == 2


def test_restarts_have_an_end(tmp_path: Path) -> None:
    run = _run(tmp_path, STATUS="75", SLURM_RESTART_COUNT="5", MAX_RESTARTS="5")
    assert run.status == 1 and "MAX_RESTARTS=5" in run.stderr
    assert not [call for call in run.calls if "requeue" in call]


def test_nodes_that_do_not_join_end_the_job_and_ray(tmp_path: Path) -> None:
    run = _run(tmp_path, JOINED="1")
    assert run.status == 1 and not run.of("wst")
    assert sum(call.endswith(" ended") for call in run.calls) == 2


def test_head_that_does_not_come_ends_the_job(tmp_path: Path) -> None:
    run = _run(tmp_path, HEAD_COMES="0")
    assert run.status == 1 and not run.of("wst") and not run.of("python")
    assert "expected Ray's head at 127.0.0.1:" in run.stderr


def test_one_node_needs_no_workers(tmp_path: Path) -> None:
    run = _run(tmp_path, NODES="n1", ROOT="/data")
    assert run.status == 0 and len(run.of("ray")) == 2  # its start and its end
    assert "--root /data " in run.of("wst")[0] and run.of("python")[0].split()[-2] == "1"


def test_two_jobs_share_no_port_and_no_folder(tmp_path: Path) -> None:
    jobs = (71_000_041, 71_000_042)
    heads = [_run(tmp_path / str(job), NODES="n1", job=job).of("ray")[0] for job in jobs]

    def numbers(head: str) -> set[str]:
        words = dict(word.split("=", 1) for word in head.split() if "=" in word and word.startswith("--"))
        return {words[key] for key in words if key.endswith("port") or key == "--temp-dir"}

    assert len(numbers(heads[0])) == 4 and not numbers(heads[0]) & numbers(heads[1])
    ports = [int(number) for head in heads for number in numbers(head) if number.isdigit()]
    assert all(20_000 <= port < 32_768 for port in ports)


def test_short_allocation_and_foreign_network_are_said(tmp_path: Path) -> None:
    run = _run(tmp_path / "a", LIMIT="10")
    assert run.status == 1 and "expected more than MARGIN=15 minutes of allocation; found" in run.stderr
    run = _run(tmp_path / "b", NETWORK="^172")
    assert run.status == 1 and "expected an address that matches NETWORK=^172; found" in run.stderr
    assert not run.of("ray") and not run.of("wst")


def test_private_addresses_are_taken_unless_told(tmp_path: Path) -> None:
    """Up to the head, which does not come: nothing listens at that address here."""
    environment = {
        "NETWORK": "",
        "HEAD_COMES": "0",
        "ADDRESSES": "203.0.113.5 172.32.0.1 172.20.1.2 10.9.9.9",
    }
    run = _run(tmp_path, **environment)
    assert "--node-ip-address=172.20.1.2 " in run.of("ray")[0]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    run = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout
