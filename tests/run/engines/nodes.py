"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import inspect
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

OBJECT_STORE = 80 * 1024**2
PATIENCE_S = 240.0
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Nodes of one processor each; all of them end with the block, also where it fails."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_agent_register_timeout_ms"] = f"{1000 * PATIENCE_S:.0f}"  # noqa: SIM112
    import ray
    from ray.cluster_utils import Cluster

    with _patience():
        found = Cluster(initialize_head=True, head_node_args=_node(include_dashboard=False))
        try:
            for _ in range(nodes - 1):
                found.add_node(**_node())
            yield found
        finally:
            ray.shutdown()
            found.shutdown()


def add_node(found: Any) -> Any:
    with _patience():
        return found.add_node(**_node())


def _node(**more: Any) -> dict[str, Any]:
    quiet = {"no_monitor": True, "include_log_monitor": False}
    return {
        "num_cpus": 1,
        "object_store_memory": OBJECT_STORE,
        **quiet,
        **dict(zip(PORTS, _free_ports(), strict=True)),
        **more,
    }


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("", 0))) for _ in range(4)]
        return [int(each.getsockname()[1]) for each in found]


@contextmanager
def _patience() -> Iterator[None]:
    """Ray gives a node half a minute to start; on a busy machine its processes need longer."""
    from ray._private import services

    ask, start = services.get_node, services.start_raylet
    if hasattr(start, "patient"):
        yield
        return
    signature = inspect.signature(start)

    def start_raylet(*arguments: Any, **named: Any) -> Any:
        # The raylet waits 15 s for each port of the processes beside it to be written down.
        given = signature.bind(*arguments, **named).arguments
        for name in PORTS:
            path = Path(given["session_dir"]) / f"{name}_{given['node_id']}"
            path.write_text(str(given[name]))
        return start(*arguments, **named)

    def get_node(*arguments: Any) -> Any:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    start_raylet.patient = True  # type: ignore[attr-defined]
    services.get_node, services.start_raylet = get_node, start_raylet
    try:
        yield
    finally:
        services.get_node, services.start_raylet = ask, start
