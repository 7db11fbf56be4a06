"""The engine's threads: one loads the model and then computes steps, one makes texts of them.

The step thread holds the OpenMP team of torch, so loading and steps share one. What it has
computed goes through the text thread to ``Listener``, which is called in these threads.

Every piece of work bears the epoch it was given in; the listener drops what is of another.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from actors.torch_engine.folder import read_config, read_weights
from actors.torch_engine.settings import Settings
from ipc.engine import Plan, Report
from ipc.errors import LLMOSError, PeerError

if TYPE_CHECKING:
    from actors.torch_engine.assembly import Assembled

# Threads of OpenMP that wait for the next loop burn the cores that agents need: by default for
# milliseconds, and with busy cores that made a step ten times slower. So some 50 us, then sleep.
BRIEF_SPIN = ("GOMP_SPINCOUNT", "1000")
MISSING = "torch or transformers is missing: pip install 'llmos[engine]'"


class Listener(Protocol):
    """Who is told; in any thread."""

    def loading(self, progress: float) -> None:
        """The model is being loaded."""

    def ready(self, assembled: Assembled) -> None:
        """The model is loaded."""

    def failed(self, error: LLMOSError) -> None:
        """The model cannot be used; nothing follows."""

    def broken(self, error: LLMOSError) -> None:
        """A step failed as a whole: the process must end."""

    def reported(self, epoch: int, report: Report) -> None:
        """A step is done."""


class Worker:
    """See the module head."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._plans: SimpleQueue[tuple[int, Plan] | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self.epoch = 0  # written by the loop's thread, read here
        self._stepping = threading.Thread(target=self._work, name="steps", daemon=True)

    def start(self) -> None:
        """Load the model, then work."""
        self._stepping.start()

    def put(self, plan: Plan) -> None:
        """Queue a plan of the present epoch."""
        self._plans.put((self.epoch, plan))

    def end(self) -> None:
        """End after the running step."""
        self._plans.put(None)

    # --- the step thread ------------------------------------------------------------------

    def _work(self) -> None:
        try:
            assembled = self._assemble()
        except LLMOSError as error:
            self._listener.failed(error)
            return
        except Exception as error:
            self._listener.failed(self._settings.problem(f"loading failed: {error!r}"))
            return
        threading.Thread(target=self._report, args=(assembled,), name="texts", daemon=True).start()
        self._listener.ready(assembled)
        try:
            self._step(assembled)
        except BaseException as error:
            self._listener.broken(PeerError(reason=f"a step failed: {error!r}"))

    def _assemble(self) -> Assembled:
        # What is wrong with a folder is said at once: to import torch takes seconds.
        read_config(self._settings)
        read_weights(self._settings)
        os.environ.setdefault(*BRIEF_SPIN)
        try:
            # Heavy and optional: the zygote and the kernel never load torch.
            from actors.torch_engine.assembly import assemble
        except ImportError as error:
            raise self._settings.problem(f"{MISSING} ({error})") from error
        return assemble(self._settings, self._listener.loading)

    def _step(self, assembled: Assembled) -> None:
        while (item := self._next()) is not None:
            epoch, plan, idle_ns = item
            if epoch == self.epoch:
                result = assembled.runner.run(plan)
                result.idle_ns = idle_ns
                self._results.put((epoch, result))

    def _next(self) -> tuple[int, Plan, int] | None:
        try:
            item, idle_ns = self._plans.get_nowait(), 0
        except Empty:
            began = time.perf_counter_ns()
            item = self._plans.get()
            idle_ns = time.perf_counter_ns() - began
        return None if item is None else (*item, idle_ns)

    # --- the text thread ------------------------------------------------------------------

    def _report(self, assembled: Assembled) -> None:
        try:
            while True:
                epoch, result = self._results.get()
                if epoch == self.epoch:
                    self._listener.reported(epoch, assembled.completions.report(result))
        except BaseException as error:
            self._listener.broken(PeerError(reason=f"a report failed: {error!r}"))
