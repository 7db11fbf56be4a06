"""kernel/resources/gpus.py over a driver made by hand, and on this machine."""

from types import SimpleNamespace
from typing import Any

from kernel.resources.gpus import Gpus, load_nvml


class NVMLError(Exception):
    pass


class Nvml:  # the names are the driver's
    """A driver with GPUs by uuid; ``lost``: those that do not answer any more."""

    NVMLError = NVMLError

    def __init__(self, *uuids: str) -> None:
        self.uuids = uuids
        self.lost: set[str] = set()
        self.is_gone = False
        self.tells_use = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.is_gone:
            raise NVMLError
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if self.uuids[index] in self.lost:
            raise NVMLError
        return self.uuids[index]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(total=100, used=40)

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:  # noqa: N802
        return handle.encode()

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return "a GPU"

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        if not self.tells_use:
            raise NVMLError
        return SimpleNamespace(gpu=25, memory=3)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [
            SimpleNamespace(pid=7, usedGpuMemory=10),
            SimpleNamespace(pid=8, usedGpuMemory=None),
        ]


def test_each_gpu_is_sampled() -> None:
    one, two = Gpus(Nvml("a", "b")).sample()

    assert (one.uuid, two.uuid) == ("a", "b")
    assert (one.name, one.memory_bytes, one.used_bytes, one.busy) == ("a GPU", 100, 40, 0.25)


def test_a_gpu_that_vanishes_is_missing_and_the_others_are_seen() -> None:
    nvml = Nvml("a", "b")
    gpus = Gpus(nvml)
    gpus.sample()
    nvml.lost.add("a")

    (left,) = gpus.sample()

    assert (left.index, left.uuid) == (1, "b")


def test_a_driver_that_goes_away_is_no_gpu_and_no_error() -> None:
    nvml = Nvml("a")
    nvml.is_gone = True

    assert Gpus(nvml).sample() == ()
    assert Gpus(nvml).bytes_by_pid() == {}


def test_use_that_is_not_told_is_unknown() -> None:
    nvml = Nvml("a")
    nvml.tells_use = False

    (gpu,) = Gpus(nvml).sample()

    assert gpu.busy is None


def test_memory_is_summed_over_gpus_by_process() -> None:
    assert Gpus(Nvml("a", "b")).bytes_by_pid() == {7: 20, 8: 0}


def test_without_a_driver_there_are_no_gpus() -> None:
    assert Gpus(None).sample() == ()
    assert Gpus(None).bytes_by_pid() is None


def test_this_machines_gpus_are_found_or_absent_without_complaint() -> None:
    gpus = Gpus(load_nvml())

    samples = gpus.sample()

    assert bool(samples) <= gpus.is_present
    assert all(sample.used_bytes <= sample.memory_bytes for sample in samples)
