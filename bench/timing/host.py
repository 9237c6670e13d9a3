"""What a time was measured on: processor, instruction sets, limits, load, library versions and threads."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.core.processes import allocation, call_in_child

_KERNEL_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "amx_fp16",
    "neon",
    "asimd",
    "asimdhp",
    "bf16",
    "i8mm",
    "sve",
)
_PACKAGES = (
    "superpoint-bench",
    "tensorflow",
    "keras",
    "openvino",
    "nncf",
    "onnxruntime",
    "torch",
    "ai-edge-litert",
    "numpy",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-image",
    "hydra-core",
    "poselib",
)


def available_cpus() -> int:
    """Cores this process may use: affinity mask and cgroup quota, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota_cpus()
    return max(1, min(affinity, int(quota) if quota is not None and quota >= 1 else affinity))


def cgroup_quota_cpus() -> float | None:
    """CPU quota of the control group in cores (cgroup v2), or None if unlimited or unknown."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def resolve_threads(requested: int) -> int:
    """Threads per method: `requested`, or for 0 the available cores, at most 8."""
    return requested if requested > 0 else min(8, available_cpus())


@cache
def _cpu() -> dict[str, object]:
    # In a child: it starts `python -m`, which would find modules of the working directory.
    info = call_in_child("cpuinfo:get_cpu_info", title="the process that reads the processor's features")
    flags = set(info.get("flags", ()))
    return {
        "cpu": info.get("brand_raw") or platform.processor() or "unknown",
        "arch": platform.machine(),
        "isa": [flag for flag in _KERNEL_FLAGS if flag in flags],
        "hypervisor": "hypervisor" in flags,
    }


def fingerprint() -> dict[str, object]:
    """Describe the host. ``hash`` covers what latency depends on: processor, cores, quota, memory, system.

    ``allocation`` names what workers tell the C library. Frequencies in MHz, memory in GB (10^9 bytes).
    """
    import psutil

    frequency = psutil.cpu_freq()
    stable: dict[str, object] = {
        **_cpu(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": available_cpus(),
        "cgroup_quota_cpus": cgroup_quota_cpus(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
    }
    digest = hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:16]
    return {
        **stable,
        "hash": digest,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "allocation": " ".join(f"{name}={value}" for name, value in allocation().items()),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": {"min": frequency.min, "max": frequency.max} if frequency else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def load() -> dict[str, object]:
    """Load average, share of the processor in use over half a second (0 to 1) and current frequency in MHz.

    To be recorded before and after a run, while the run itself does nothing.
    """
    import psutil

    frequency = psutil.cpu_freq()
    return {
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "cpu_busy": psutil.cpu_percent(interval=0.5) / 100,
        "frequency_mhz": frequency.current if frequency else None,
    }


def versions() -> dict[str, str]:
    """Versions of the packages results depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def library_threads() -> list[Mapping[str, object]]:
    """Thread pools of the libraries loaded in this process, as threadpoolctl and OpenCV report them."""
    import cv2
    import threadpoolctl

    pools = [
        {key: pool[key] for key in ("user_api", "internal_api", "num_threads", "version") if key in pool}
        for pool in threadpoolctl.threadpool_info()
    ]
    return [*pools, {"user_api": "opencv", "num_threads": cv2.getNumThreads(), "version": cv2.__version__}]


def git_commit(directory: Path) -> dict[str, object]:
    """Commit and dirty flag of the checkout that holds `directory`; empty where there is none."""

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return result.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
