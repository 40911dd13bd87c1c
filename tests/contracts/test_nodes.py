"""Several nodes: two launchers on this machine, one process each, train as one process does."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from runs import COMMAND, ENVIRONMENT, losses, tao, write_train_spec

pytest.importorskip("torch")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_nodes_train_as_one_process(demo_material: Path, tmp_path: Path) -> None:
    alone = write_train_spec(tmp_path / "alone.yaml", demo_material, tmp_path / "alone", train__max_num_steps=4)
    tao("train", "--spec", str(alone), cwd=tmp_path)
    spec = write_train_spec(
        tmp_path / "nodes.yaml",
        demo_material,
        tmp_path / "nodes",
        policy__parallelism__dp_shard_size=2,
        train__train_batch_per_replica=4,
        train__train_policy__mini_batch=4,
        train__max_num_steps=4,
    )
    cluster = ["--nnodes", "2", "--nproc", "1", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    command = [*COMMAND, "train", "--spec", str(spec), *cluster, "--node-rank"]
    environment = {**os.environ, **ENVIRONMENT, "GLOO_SOCKET_IFNAME": "lo"}
    nodes = [
        subprocess.Popen([*command, rank], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    said = [node.communicate(timeout=180)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert losses(tmp_path / "nodes") == pytest.approx(losses(tmp_path / "alone"), abs=1e-5)
    assert (tmp_path / "nodes/run.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nnodes", "2", "--node-rank", "2", "--rdzv-endpoint", "a:1"], "want 0 to 1 with --nnodes 2"),
        (["--nnodes", "2"], "want host:port of node 0"),
    ],
)
def test_nodes_that_cannot_meet_are_refused(
    demo_material: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run")
    done = tao("train", "--spec", str(spec), *arguments, cwd=tmp_path, want=2)
    assert said in done.stderr
    assert not (tmp_path / "run").exists()
