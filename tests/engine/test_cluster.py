"""A study on a Ray cluster of several nodes, all on this machine and on loopback."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.conftest import ROOT, small_study
from tests.engine.test_ray_tune import CODE, SyntheticJob
from tests.synthetic import environment, run_all
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine import ray_tune as engine
from wst.engine.driver import Driver, Environment
from wst.engine.fingerprint import fingerprint
from wst.errors import InputError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import Cost, End, EndedTrial, Epoch, Report
from wst.shipped import ASSETS

pytestmark = pytest.mark.slow

# Ray asks a node that is gone for half a minute before it counts it as lost; here a second is enough.  One
# that is there may take its time to answer.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 120_000,
    "health_check_failure_threshold": 3,
}


class NodeJob(SyntheticJob):
    """Reports on which node it runs; goes on after its first epoch once another node has been lost."""

    def step(self) -> dict[str, Any]:
        began = len(self._left) < self._spec.recipe.epochs
        # A worker outlives its node by a moment, in which it must not end its trial.
        here = f"lost-{ray.get_runtime_context().get_node_id()}"
        while began and [path.name for path in self._spec.data.folder.glob("lost-*")] in ([], [here]):
            time.sleep(0.05)
        return super().step()

    def _result(self, epochs: tuple[Epoch, ...], end: End | None) -> dict[str, Any]:
        cost = Cost(node=ray.get_runtime_context().get_node_id())
        result = super()._result(epochs, end)
        return {**result, "reports": tuple(replace(report, cost=cost) for report in result["reports"])}


def _add_node(cluster: Cluster, folder: Path) -> Any:
    """A node whose processes have that current folder."""
    with engine._loopback(), contextlib.chdir(folder):
        return cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")


@pytest.fixture(scope="module")
def with_data(mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with")
    (folder / "mini").symlink_to(mini_root / "mini")
    return folder


@pytest.fixture(scope="module")
def cluster(with_data: Path) -> Iterator[Cluster]:
    """A head with one CPU."""
    with pytest.MonkeyPatch.context() as patch, engine._loopback():
        patch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
        with contextlib.chdir(with_data):
            started = Cluster(initialize_head=True, head_node_args={**head, "_system_config": HEALTH})
        yield started
        started.shutdown()


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
    assert len({trial.outcome.node for trial in ended}) >= 2


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
