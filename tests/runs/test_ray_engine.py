"""Data sets on a Ray cluster: two nodes on this machine give what one process gives."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import shapes
from mesh_files import contents, write_obj

import raydepth as rd

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'raydepth[ray]'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes; its head has no processors, so that others can be taken away."""
    from ray.cluster_utils import Cluster

    previous = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    if previous is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = previous


@pytest.fixture
def meshes(tmp_path, monkeypatch) -> list[str]:
    """Relative paths of 40 meshes, one of them broken."""
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        write_obj(Path(f"meshes/{i:02}.obj"), *shapes.icosphere(0.2 + 0.005 * i, levels=2))
    Path("meshes/17.obj").write_text("v 0 0\n")
    return ["meshes"]


@pytest.mark.parametrize("file_format", ["png16", "npz"])
def test_two_nodes_give_the_bytes_of_one_process(cluster, meshes, file_format):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cameras = rd.cameras.fibonacci(3, size=32)
    one = rd.render_dataset(meshes, "one", cameras, file_format=file_format)
    two = rd.render_dataset(meshes, "two", cameras, file_format=file_format, engine="ray")
    assert (one.n_rendered, len(one.failures)) == (two.n_rendered, len(two.failures)) == (39, 1)
    assert contents(Path("one")) == contents(Path("two"))
    for node in nodes:
        cluster.remove_node(node)


def test_a_node_lost_in_the_middle(cluster, meshes):
    cameras = rd.cameras.fibonacci(60, size=128)
    rd.render_dataset(meshes, "one", cameras)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    n_done = []

    def lose_a_node():
        while not list(Path("two").glob("*/views.json")):
            time.sleep(0.005)
        n_done.append(len(list(Path("two").glob("*/views.json"))))
        cluster.remove_node(nodes[0], allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    report = rd.render_dataset(meshes, "two", cameras, engine="ray")
    thread.join()
    assert n_done[0] < 10
    assert (report.n_rendered, len(report.failures)) == (39, 1)
    assert contents(Path("one")) == contents(Path("two"))
    cluster.remove_node(nodes[1])


def test_what_is_not_a_meshs_fault_ends_the_run(cluster, meshes):
    node = cluster.add_node(num_cpus=1)
    Path("out").mkdir()
    Path("out/.03.partial").symlink_to("..")  # no folder can be made here
    with pytest.raises(OSError, match=r"\.03\.partial"):
        rd.render_dataset(meshes, "out", rd.cameras.ring(1, size=4), engine="ray")
    cluster.remove_node(node)
