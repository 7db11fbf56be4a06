"""The real kernel in memory, for tests of agents: milliseconds a test, and no sleeping.

    with TestKernel() as kernel:
        triage = kernel.spawn(Triage, name="triage")
        assert kernel.ask(triage.ticket("my bill is wrong")) == "billing"

It is the kernel's own core and journal, the SDK's own runtime and codec; only sockets, processes
and the clock are replaced. Time moves by itself to the next thing that is due while an answer
is awaited, and by ``advance``. Agents can be killed and the kernel restarted at any point.
One seed gives one history, ``def`` handlers (threads) excepted.

Language models answer what the test says: ``kernel.llm.reply("billing")``
(actors/scripted_model.py). Whatever model is asked for, the kernel's own scheduler and block
accounts run; only the engine is replaced.

What it is not: a test of the process around an agent (imports, limits, signals). The one module
of the SDK that imports the kernel (DESIGN 3).
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar, overload

from actors.actor import Actor
from actors.async_client import AsyncClient
from actors.bodies import from_stored
from actors.host import Identity
from actors.loader import load_program, make_program
from actors.memory_agent import MemoryAgent
from actors.memory_link import MemoryLink
from actors.program import Program
from actors.reference import ActorRef, Call
from actors.scripted_engine import ScriptedEngine
from actors.scripted_model import ScriptedModel, ScriptedReply, ScriptedRequest
from actors.session import Session
from actors.virtual_loop import VirtualLoop
from actors.whereabouts import Whereabouts
from ext.wire import Envelope
from ipc.clock import ManualClock
from ipc.errors import BadSpecError, LLMOSError, UsageError
from ipc.protocol import SpawnSpec
from kernel.config import KernelConfig
from kernel.core import Core
from kernel.journal.in_memory import MemoryJournal
from kernel.llm.fleet import PROGRAMS
from kernel.output import (
    Command,
    ContinueProcess,
    InspectProcess,
    KillProcess,
    LimitCpu,
    Notice,
    RecordTraffic,
    Shutdown,
    StartProcess,
    StartRecording,
    StopProcess,
    StopRecording,
    WeighProcess,
)
from kernel.resources.samples import NodeSample, Samples

__all__ = ["ScriptedModel", "ScriptedReply", "ScriptedRequest", "TestKernel"]

A = TypeVar("A")
T = TypeVar("T")

_ENGINES = {module for module, _ in PROGRAMS.values()}
_LOCAL = "(given to TestKernel)"
_TOKEN = "0" * 64
_MACHINE = NodeSample(  # what agents of a test can reserve of
    taken_ns=0,
    cpus=64,
    cpu_millis=64_000,
    cpu_busy_ns=0,
    memory_bytes=1 << 40,
    memory_used_bytes=0,
    disk="/",
    disk_bytes=1 << 40,
    disk_free_bytes=1 << 40,
)


class TestKernel:
    """A kernel, its agents and one client; see the module head. Not for use in async code."""

    __test__ = False  # for pytest: this is no test

    def __init__(self, *, seed: int = 0, **config: Any) -> None:
        """Make a kernel. config: fields of kernel.config.KernelConfig."""
        self.clock = ManualClock()
        self.loop = VirtualLoop(self.clock, self._idle)
        self._config = KernelConfig(durability="none", **config)
        self._random = random.Random(seed)
        self._journal = MemoryJournal()
        self._core: Core | None = None
        self._links: dict[bytes, MemoryLink] = {}
        self._next_route = 0
        self._input: list[tuple[bytes, list[Envelope]]] = []
        self._events: list[Callable[[Core], None]] = []
        self._agents: dict[int, MemoryAgent] = {}
        self._classes: dict[str, type[Actor]] = {}
        self._until: Callable[[], bool] = _never
        self._limit_ns = 0
        self._num_threads = 0
        self._pool: ThreadPoolExecutor | None = None
        self._client: AsyncClient | None = None
        self.llm = ScriptedModel()
        self._engine = type("ScriptedEngine", (ScriptedEngine,), {"model": self.llm})

    def __enter__(self) -> TestKernel:
        self.start_kernel()
        self._client = self.run(self._connect())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, without a farewell."""
        self._core = None
        for agent in list(self._agents.values()):
            agent.die()
        if self._client is not None:
            self._client.abandon()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self._drive(lambda: all(task.done() for task in tasks), 0)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.loop.close()

    # --- talking with agents --------------------------------------------------------------

    @overload
    def spawn(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    def spawn(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    def spawn(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start an actor; see ``AsyncClient.spawn``. The class may be local to the test."""
        return self.run(self.client.spawn(target, *args, **rest))

    @overload
    def spawn_pool(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    def spawn_pool(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    def spawn_pool(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start a pool of actors; see ``Actor.spawn_pool``. The class may be local to the test."""
        return self.run(self.client.spawn_pool(target, *args, **rest))

    def ask(self, call: Awaitable[T], *, within: float = 3600.0) -> T:
        """Return the answer to ``ref.method(...)``; time moves on as far as needed.

        within: virtual seconds. Raises TimeoutError when they have passed.
        """
        return self.run(_result_of(call), within=within)

    def tell(self, call: Awaitable[Any]) -> None:
        """Send ``ref.tell.method(...)``, and run until nothing is left to do at this instant."""
        self.run(_result_of(call))
        self.run_until_idle()

    def items(self, call: Call, *, within: float = 3600.0) -> list[Any]:
        """Return all items of a stream, ``ref.method(...)``."""
        return self.run(_items_of(call), within=within)

    def lookup(self, name: str | int) -> ActorRef[Any]:
        """Return a reference by name or id."""
        return self.run(self.client.lookup(name))

    def system(self, call: str, /, **arguments: Any) -> Any:
        """Make a system call (ipc/syscalls.py), as an operator."""
        return self.run(self.client.system(call, **arguments))

    def state(self, actor: ActorRef[Any]) -> dict[str, Any]:
        """Return the committed state of an actor."""
        values = self.core.state.actors[actor.id].state
        make_ref = self.client.make_ref
        return {key: from_stored(data, make_ref, key) for key, data in values.items()}

    # --- time -----------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Run until nothing is left to do at this instant of virtual time."""
        self._drive(_never, 0)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; what falls due in it happens at its time."""
        self._drive(_never, int(seconds * 1e9))

    def run(self, coroutine: Coroutine[Any, Any, T], *, within: float = 3600.0) -> T:
        """Run a coroutine to its end beside the agents; time moves on as far as needed."""
        task = self.loop.create_task(coroutine)
        self._drive(task.done, int(within * 1e9))
        if not task.done():
            task.cancel()
            self.run_until_idle()
            raise TimeoutError(f"no answer within {within} s of virtual time")
        return task.result()

    # --- breaking things ------------------------------------------------------------------

    def crash(self, actor: ActorRef[Any]) -> None:
        """Kill the actor's process as SIGKILL would; its supervisor acts."""
        agent = self._agents[actor.id]
        agent.die()
        self._exited(agent, "signal 9")
        self.run_until_idle()

    def stop_kernel(self) -> None:
        """Kill the kernel: what it had not committed is lost; agents live on."""
        self._core = None
        self._input.clear()
        self._events.clear()
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            link.cut()

    def start_kernel(self) -> None:
        """Start a kernel on the journal of the one before."""
        if self._core is not None:
            raise UsageError(reason="the kernel runs already")
        if self._next_route:
            self._journal.reopen()
        self._core = Core(
            self._config,
            self._journal.load(),
            generation=self._journal.generation,
            epoch=self._journal.epoch,
            rng=self._random,
            operator_token=_TOKEN,
            monotonic_ns=self.clock.monotonic_ns(),
            wall_ns=self.clock.wall_ns(),
        )
        self._core.sampled(Samples(replace(_MACHINE, taken_ns=self.clock.monotonic_ns())))
        self._turn(self._core)

    def restart_kernel(self) -> None:
        """Kill the kernel and start the next one; agents and client find it."""
        self.stop_kernel()
        self.start_kernel()

    @property
    def core(self) -> Core:
        """The kernel's core. Raises UsageError while there is none."""
        if self._core is None:
            raise UsageError(reason="the kernel has been stopped")
        return self._core

    @property
    def client(self) -> AsyncClient:
        """The session that ``ask`` and the others use."""
        if self._client is None:
            raise UsageError(reason="use TestKernel in a with statement")
        return self._client

    # --- the loop -------------------------------------------------------------------------

    def _drive(self, until: Callable[[], bool], span_ns: int) -> None:
        """Run until ``until``, or until nothing happens up to ``span_ns`` from now."""
        before = self._until, self._limit_ns
        self._until, self._limit_ns = until, self.clock.monotonic_ns() + span_ns
        try:
            if not until():
                self.loop.run_forever()
        finally:
            self._until, self._limit_ns = before

    def _idle(self, timeout_s: float | None) -> None:
        if self._until():
            self.loop.stop()
        elif self._core is not None and self._has_work(self._core):
            self._turn(self._core)
        elif self._num_threads:
            self.loop.wait_for_threads()
        elif not self._move_clock(timeout_s):
            self.loop.stop()

    def _has_work(self, core: Core) -> bool:
        due_ns = core.next_due_ns()
        is_due = due_ns is not None and due_ns <= self.clock.monotonic_ns()
        return bool(self._input or self._events or is_due)

    def _move_clock(self, timeout_s: float | None) -> bool:
        """Move to what is due next; False when that is beyond the limit."""
        now_ns = self.clock.monotonic_ns()
        due: list[int] = []
        if timeout_s is not None:
            due.append(now_ns + int(timeout_s * 1e9) + 1)
        kernel_due_ns = self._core.next_due_ns() if self._core is not None else None
        if kernel_due_ns is not None:
            due.append(kernel_due_ns)
        next_ns = min(due, default=self._limit_ns + 1)
        self.clock.advance(max(0, min(next_ns, self._limit_ns) - now_ns))
        return next_ns <= self._limit_ns

    def _turn(self, core: Core) -> None:
        """One loop turn of the kernel: the output rule included."""
        batches, self._input = self._input, []
        events, self._events = self._events, []
        core.begin(self.clock.monotonic_ns(), self.clock.wall_ns())
        for event in events:
            event(core)
        for route, envelopes in batches:
            core.receive(route, envelopes)
        output = core.finish()
        self._journal.commit(output.changes)
        for route, batch in output.frames:
            link = self._links.get(route)
            if link is not None:
                link.deliver(batch)
        for command in output.commands:
            self._carry_out(command)

    # --- processes ------------------------------------------------------------------------

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Shutdown):
            self.stop_kernel()
            return
        if isinstance(command, Notice | StopProcess | ContinueProcess | LimitCpu):
            return  # in memory an agent that is suspended is only granted nothing
        if isinstance(command, StartProcess):
            self._start(command)
            return
        if isinstance(command, InspectProcess | WeighProcess):
            return  # agents in memory share one thread: none can stand still alone, or be weighed
        if isinstance(command, StartRecording | RecordTraffic | StopRecording):
            return  # traffic is recorded by kernels that are processes
        agent = self._agents.get(command.actor)
        if agent is None or agent.identity.incarnation != command.incarnation:
            actor, incarnation = command.actor, command.incarnation
            self._events.append(lambda core: core.process_exited(actor, incarnation, "gone"))
        elif isinstance(command, KillProcess):
            agent.die()
            self._exited(agent, "signal 9")

    def _start(self, command: StartProcess) -> None:
        actor, incarnation = command.actor, command.incarnation
        pid = actor << 16 | incarnation
        me = Identity(actor, incarnation, command.token, command.name, pid, 1)
        agent = MemoryAgent(self, self.loop, self.clock, me, self._load(command.spec))
        self._agents[actor] = agent
        self._events.append(lambda core: core.process_started(actor, incarnation, pid, 1))
        self.loop.call_soon(agent.open)

    def _load(self, spec: SpawnSpec) -> Program | LLMOSError:
        try:
            if spec.get("module") in _ENGINES:
                return make_program(self._engine, spec)
            if spec.get("module") == _LOCAL:
                return make_program(self._classes[spec["qualname"]], spec)
            return load_program(spec)
        except BadSpecError as error:
            return error

    def _exited(self, agent: MemoryAgent, reason: str) -> None:
        actor, incarnation = agent.identity.actor, agent.identity.incarnation
        if self._agents.get(actor) is agent:
            del self._agents[actor]
        self._events.append(lambda core: core.process_exited(actor, incarnation, reason))

    def agent_left(self, agent: MemoryAgent) -> None:
        """An agent has ended by itself."""
        agent.die()
        self._exited(agent, "exit 0")

    def name_class(self, actor_class: type[Any]) -> SpawnSpec:
        """Name a class in a spec; here by the class itself, so it may be local to a test."""
        key = f"{actor_class.__module__}.{actor_class.__qualname__}"
        self._classes[key] = actor_class
        return SpawnSpec(target=key, path=None, module=_LOCAL, qualname=key)

    async def run_beside(self, function: Callable[[], Any]) -> Any:
        """Run a ``def`` handler in a thread; virtual time stands still meanwhile."""
        self._num_threads += 1
        context = contextvars.copy_context()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(thread_name_prefix="handler")
        try:
            return await self.loop.run_in_executor(self._pool, context.run, function)
        finally:
            self._num_threads -= 1

    # --- actors.memory_link.Switch --------------------------------------------------------

    def attach(self, link: MemoryLink) -> bytes | None:
        """Give a connection a route that was never used."""
        if self._core is None:
            return None
        self._next_route += 1
        route = self._next_route.to_bytes(5, "big")
        self._links[route] = link
        return route

    def detach(self, route: bytes) -> None:
        """Forget a connection."""
        self._links.pop(route, None)

    def take(self, route: bytes, envelopes: list[Envelope]) -> None:
        """Keep a batch for the kernel's next turn."""
        self._input.append((route, envelopes))

    async def _connect(self) -> AsyncClient:
        where = Whereabouts("memory", _TOKEN, "a test")
        client = AsyncClient(where, make_link=self._link, name_class=self.name_class)
        await client.open()
        return client

    def _link(self, session: Session) -> MemoryLink:
        return MemoryLink(self, session.peer, self.loop, session.lost)


def _never() -> bool:
    return False


async def _result_of(call: Awaitable[T]) -> T:
    return await call


async def _items_of(call: Call) -> list[Any]:
    return [item async for item in call]
