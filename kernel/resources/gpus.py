"""NVIDIA GPUs, by NVML (``pynvml``). A machine without any is an ordinary one: no GPUs, no word.

A GPU that is lost, or a driver that goes away, shows as a GPU that is missing from the next look;
what that means is decided in the core (kernel/resources/pool.py).

Cost: the library is loaded only where the driver's device file is; a look costs about 1 ms a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kernel.resources.samples import GpuSample

_DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def load_nvml() -> Any | None:
    """Return the module, initialised; None if there is no driver, library or GPU."""
    if not any(path.exists() for path in _DRIVER_FILES):
        return None
    # Imported here: it loads the driver's library, which most machines do not have.
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class Gpus:
    """The GPUs there are at each look."""

    def __init__(self, nvml: Any | None) -> None:
        """nvml: the module, initialised (``load_nvml``); None: there are no GPUs."""
        self._nvml = nvml

    @property
    def is_present(self) -> bool:
        """Say whether GPUs can be looked at at all."""
        return self._nvml is not None

    def sample(self) -> tuple[GpuSample, ...]:
        """Return those that answer."""
        samples = [self._sample(index, handle) for index, handle in self._handles()]
        return tuple(sample for sample in samples if sample is not None)

    def bytes_by_pid(self) -> dict[int, int] | None:
        """Return the GPU memory of each process; None where there are no GPUs."""
        if self._nvml is None:
            return None
        used: dict[int, int] = {}
        for _, handle in self._handles():
            try:
                processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError:
                continue
            for process in processes:  # None: the driver does not tell, as in some containers
                used[process.pid] = used.get(process.pid, 0) + (process.usedGpuMemory or 0)
        return used

    def _handles(self) -> list[tuple[int, Any]]:
        nvml = self._nvml
        if nvml is None:
            return []
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError:
            return []
        handles = []
        for index in range(count):
            try:
                handles.append((index, nvml.nvmlDeviceGetHandleByIndex(index)))
            except nvml.NVMLError:
                continue  # lost; the others keep their numbers
        return handles

    def _sample(self, index: int, handle: Any) -> GpuSample | None:
        nvml = self._nvml
        assert nvml is not None
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError:
            return None
        busy = self._busy(handle)
        return GpuSample(index, _text(uuid), _text(name), memory.total, memory.used, busy)

    def _busy(self, handle: Any) -> float | None:
        nvml = self._nvml
        assert nvml is not None
        try:
            return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except nvml.NVMLError:  # not told inside a partition (MIG)
            return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
