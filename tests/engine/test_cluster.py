"""Ray for a study; most tests have a cluster of several nodes, all on this machine and on loopback."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private import services
from ray._raylet import AuthenticationTokenLoader, get_authentication_mode
from ray.cluster_utils import Cluster

from tests.conftest import ROOT, small_study
from tests.engine.jobs import DyingJob, NodeJob
from tests.engine.test_ray_tune import CODE, run
from tests.synthetic import environment, run_all
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine import address as address_module
from wst.engine import cluster as engine_cluster
from wst.engine import ray_tune as engine
from wst.engine.cluster import connected, loopback, room, token
from wst.engine.driver import Driver
from wst.engine.environment import Environment
from wst.engine.faults import StudyInterrupted
from wst.engine.fingerprint import fingerprint
from wst.errors import InputError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import EndedTrial, Report
from wst.shipped import ASSETS
from wst.study.study import Resources
from wst.workflows.tune import run_study

# Ray asks a node that is gone for half a minute before it counts it as lost; here a second is enough.  One
# that is there may take its time to answer.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 120_000,
    "health_check_failure_threshold": 3,
}


def _add_node(cluster: Cluster, folder: Path) -> Any:
    """A node whose processes have that current folder."""
    with loopback(), contextlib.chdir(folder):
        return cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")


@pytest.fixture(scope="module")
def with_data(mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with")
    (folder / "mini").symlink_to(mini_root / "mini")
    return folder


@pytest.fixture(scope="module")
def cluster(with_data: Path) -> Iterator[Cluster]:
    """A head with one CPU."""
    with pytest.MonkeyPatch.context() as patch, loopback():
        patch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
        with contextlib.chdir(with_data):
            started = Cluster(initialize_head=True, head_node_args={**head, "_system_config": HEALTH})
        yield started
        started.shutdown()


def _summary(ended: list[EndedTrial]) -> list[tuple[object, ...]]:
    return [(t.intent.trial_id, t.intent.hyperparameters, t.outcome.state, t.outcome.epochs) for t in ended]


@pytest.mark.slow
def test_one_slot_gives_what_the_planner_alone_gives(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray changes nothing: the same trials, the same epochs, the same pruning, in the same order."""
    monkeypatch.setattr(engine, "_check_nodes", lambda *_: None)  # these trials need no data
    study = small_study(resources={"slots": 1})
    alone = run_all(Planner(study))
    assert _summary(run(tmp_path / "s", study, address=cluster.address)) == _summary(alone)
    assert any(trial.outcome.state == "pruned" for trial in alone)


@pytest.mark.slow
def test_lost_worker_is_replaced_and_given_up_in_the_end(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_check_nodes", lambda *_: None)
    study = small_study(
        variants={"linear": small_study().variants["linear"].model_dump()},
        search={"trials": 4},
        final=None,
        resources={"slots": 1},
        report_every=1,
        faults={"retries": 1},
    )
    ended = run(tmp_path / "s", study, DyingJob, address=cluster.address)
    assert [t.intent.number for t in ended] == [0, 1, 2, 3]
    ends = [(t.outcome.state, t.outcome.attempts, t.outcome.error_type) for t in ended]
    assert ends == [
        ("completed", 1, None),
        ("completed", 2, None),
        ("failed", 2, "WorkerLostError"),
        ("completed", 1, None),
    ]
    for trial in ended:  # no epoch twice, though a new worker sends them again
        epochs = [epoch.epoch for epoch in trial.outcome.epochs]
        assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.slow
def test_lost_node_costs_no_trial(
    tmp_path: Path, cluster: Cluster, with_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(
        search={"trials": 8, "sampler": {"type": "random"}},  # suggests the same in whatever order
        resources={"slots": 3},
        report_every=1,
    )
    nodes = {node.node_id: node for node in (_add_node(cluster, with_data), _add_node(cluster, with_data))}
    addresses = {
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    monkeypatch.setattr(engine, "_check_nodes", lambda *_: None)  # these trials need no data
    killed: list[str] = []
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        planner = Planner(study)
        driver = Driver(study, planner, ledger, environment(tmp_path, study, address=cluster.address))
        take = driver.take

        def take_and_lose(job_id: str, reports: Sequence[Report]) -> frozenset[str]:
            """Lose the node of the first trial that is not on the driver's own, while it waits to go on."""
            dropped = take(job_id, reports)
            for report in reports:
                node = report.cost.node if report.cost is not None and report.end is None else None
                if node in nodes and node != ray.get_runtime_context().get_node_id() and not killed:
                    killed.append(str(node))
                    (tmp_path / f"lost-{node}").touch()
                    cluster.remove_node(nodes[node], allow_graceful=False)
            return dropped

        monkeypatch.setattr(driver, "take", take_and_lose)
        engine.run(driver, job=NodeJob)
        assert planner.done and len(killed) == 1
    ended = history(tmp_path / "s")[1]

    def summary(trials: list[EndedTrial]) -> dict[str, Any]:
        return {
            t.intent.trial_id: (t.intent.hyperparameters, t.outcome.state, t.outcome.epochs) for t in trials
        }

    assert len(ended) == 20 and summary(ended) == summary(run_all(Planner(study)))
    assert [trial.outcome.attempts for trial in ended if trial.outcome.attempts > 1] == [2]
    assert not {trial.outcome.node for trial in ended} & set(killed)


@pytest.mark.slow
def test_node_that_lacks_the_data_is_named(
    tmp_path: Path, mini_root: Path, cluster: Cluster, with_data: Path
) -> None:
    """The root is the current folder of whoever looks, so that each node has its own."""
    (tmp_path / "without").mkdir()
    bare = _add_node(cluster, tmp_path / "without")
    weights = tmp_path / "weights.safetensors"
    shutil.copy(ASSETS / "micro.safetensors", weights)
    (tmp_path / "mini").symlink_to(mini_root / "mini")
    # Relative to the driver's folder, as a user may write it; the nodes have others.
    study = small_study(checkpoint=weights.name)
    data = {"digits": TaskData.of(Path("/proc/self/cwd"), MINI, MINI.task("digits"))}
    with contextlib.chdir(tmp_path), Ledger(tmp_path / "s", study, CODE) as ledger:
        here = Environment(data, fingerprint(study.frozen_backbone, data), cluster.address)
        with pytest.raises(InputError, match=rf"^node \S+ \({bare.node_id[:8]}\): .*mini/digits") as caught:
            engine.run(Driver(study, Planner(study), ledger, here))
    assert "\n" not in str(caught.value)
    assert not history(tmp_path / "s")[0]


def test_sigterm_while_ray_starts_stops_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own handler, which it sets first, leaves the process."""

    def init(**_: object) -> None:
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)  # the signal comes first
        finally:
            signal.signal(signal.SIGTERM, before)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(StudyInterrupted, match="SIGTERM"), connected(small_study(), None, tmp_path):
        pass


def test_a_start_has_a_token_of_its_own_whatever_the_user_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the user's own is there again for a cluster that is joined afterwards."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    seen = []
    for _ in range(2):
        with token():
            assert os.environ["RAY_AUTH_MODE"] == "token" and _ray_knows() == "token"
            seen.append(os.environ["RAY_AUTH_TOKEN"])
            assert AuthenticationTokenLoader.instance().get_raw_token() == seen[-1]
    assert len(set(seen)) == 2 and min(map(len, seen)) == 64
    with pytest.raises(RuntimeError), token():
        raise RuntimeError
    assert os.environ["RAY_AUTH_MODE"] == "disabled" and _ray_knows() == "disabled"
    assert "RAY_AUTH_TOKEN" not in os.environ


def _ray_knows() -> str:
    return {0: "disabled", 1: "token"}[int(get_authentication_mode())]


class _Web(http.server.BaseHTTPRequestHandler):
    """Ray's dashboard, say."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def others() -> Iterator[dict[str, str]]:
    """Addresses at which something else than Ray answers, or nothing, or nobody."""
    web = http.server.HTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=web.serve_forever).start()
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else gets the port, and nobody answers
        yield {
            "web": f"127.0.0.1:{web.server_port}",
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "taken": f"127.0.0.1:{taken.getsockname()[1]}",
        }
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize(
    ("what", "found"),
    [("web", "another kind of server"), ("silent", "no answer within 0.2 s"), ("taken", ".*refused")],
)
def test_address_at_which_no_cluster_runs_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, str], what: str, found: str
) -> None:
    monkeypatch.setattr(address_module, "_REACH_S", 0.2)
    line = f"^--address: expected a running Ray cluster at {others[what]}; found: {found}$"
    with pytest.raises(InputError, match=line):
        run_study(small_study(), tmp_path / "s", address=others[what])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=line), connected(small_study(), others[what], tmp_path / "ray"):
        pass
    assert not list(tmp_path.iterdir()) and not ray.is_initialized()


def test_auto_without_a_cluster_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", set)  # other tests' Ray may run beside this one
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp_dir: None)
    line = "^--address: expected a running Ray cluster at auto; found: Could not find any running Ray"
    with pytest.raises(InputError, match=line):
        run_study(small_study(), tmp_path / "s", address="auto")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_cluster_that_asks_for_a_token_refuses_at_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise ray.exceptions.AuthenticationError("InvalidAuthToken: missing or incorrect\nMore of it")

    monkeypatch.setattr(engine_cluster, "GcsClient", refuse)
    line = f"^--address: expected a running Ray cluster at {cluster.address}; found: .*missing or incorrect"
    with pytest.raises(InputError, match=line) as caught:
        engine_cluster.find(cluster.address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("have", "need", "jobs"),
    [
        ({"CPU": 4.0}, {"cpus_per_trial": 2}, 2),
        ({"CPU": 4.0}, {"cpus_per_trial": 8}, 0),  # of four such nodes none holds a trial
        ({"CPU": 16.0, "GPU": 4.0}, {"gpus_per_trial": 0.6}, 4),  # one a GPU
        ({"CPU": 16.0, "GPU": 4.0}, {"gpus_per_trial": 0.25}, 16),
        ({"CPU": 16.0, "GPU": 4.0}, {"gpus_per_trial": 2}, 2),
        ({"CPU": 16.0}, {"gpus_per_trial": 1}, 0),
    ],
)
def test_room_is_that_of_one_node(have: dict[str, float], need: dict[str, Any], jobs: int) -> None:
    assert room(have, Resources(**need)) == jobs
