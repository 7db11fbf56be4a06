"""Any history of requests, steps, crashes and cancellations ends with every caller's own text."""

from __future__ import annotations

import random

import pytest

from ext.wire import Envelope
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.llm.engine_world import EngineWorld, ScriptedEngine, completion_of
from tests.kernel.world import ScriptedAgent, ScriptedClient
from tests.soak import share_of

PROMPTS = ("a", "Hello", "a longer prompt " * 3, "x" * 70)
STEPS = 40
NAMES = ("engine.m.1.1", "engine.m.1.2")


class LlmHistory:
    """One client with requests and sessions, one agent whose turn makes calls, two engines."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = EngineWorld(restart_intensity=10**6, backoff_max_s=0.2, max_attempts=10**6)
        self.world.add_model(engines=2)
        self.expected: dict[int, tuple[str, int]] = {}  # call -> prompt, count
        self.sessions: dict[int, str] = {}  # idle ones: what they hold
        self.in_session: dict[int, int] = {}
        self.texts: dict[int, dict[int, bytes]] = {}
        self.agent: ScriptedAgent = self.world.spawn("asker")
        self.world.client.ask(self.agent.id, "work")
        self.turn = self.agent.turn_of("work")
        self.agent_calls: list[tuple[str, int]] = []
        self.agent_asked: dict[int, tuple[str, int]] = {}

    def engines(self) -> list[ScriptedEngine]:
        names = self.world.core.state.names
        return [self.world.engine(name) for name in NAMES if names.find(name) is not None]

    # --- what callers do ----------------------------------------------------------------

    def a_client_asks(self) -> None:
        prompt, count = self.rng.choice(PROMPTS), self.rng.randint(1, 40)
        flags = int(Flag.STREAM) if self.rng.random() < 0.5 else 0
        asked = self.world.generate(self.world.client, prompt, count, flags=flags)
        self.expected[asked] = (prompt, count)

    def a_session_is_opened(self) -> None:
        info = self.world.client.system("llm_session")
        self.sessions[info["session"]] = ""

    def a_session_goes_on(self) -> None:
        open_ones = [s for s, held in sorted(self.sessions.items()) if len(held) < 300]
        if not open_ones:
            return
        prompt, count = self.rng.choice(PROMPTS), self.rng.randint(1, 12)
        session = self.rng.choice(open_ones)
        held = self.sessions.pop(session)
        asked = self.world.generate(self.world.client, prompt, count, session=session)
        self.expected[asked] = (held + prompt, count)
        self.in_session[asked] = session

    def one_is_cancelled(self) -> None:
        if not self.expected:
            return
        asked = self.rng.choice(sorted(self.expected))
        if asked in self.in_session:
            return
        if self.world.client.answer(asked) is None:
            client = self.world.client
            client.send(Envelope(Kind.CANCEL, client.id, correlation=asked))
            del self.expected[asked]

    def the_agent_asks(self) -> None:
        prompt, count = self.rng.choice(PROMPTS), self.rng.randint(1, 30)
        self.agent_calls.append((prompt, count))
        self._ask_as_agent(prompt, count)

    def _ask_as_agent(self, prompt: str, count: int) -> None:
        given = {"input": {"prompt": prompt}, "sampling": {"max_tokens": count}}
        correlation = self.agent.system(self.turn, "llm_generate", **given)
        self.agent_asked[correlation] = (prompt, count)

    # --- what happens to them -------------------------------------------------------------

    def engines_get_ready(self) -> None:
        for engine in self.engines():
            if not engine.model.slots and not engine.plans and not engine.num_seen:
                engine.ready()

    def an_engine_steps(self) -> None:
        engines = self.engines()
        if engines:
            engine = self.rng.choice(engines)
            for _ in range(self.rng.randint(1, 10)):
                engine.step()
        self._sessions_go_idle()

    def _sessions_go_idle(self) -> None:
        for asked, session in list(self.in_session.items()):
            answer = self.world.client.answer(asked)
            if answer is not None:
                prompt, _ = self.expected[asked]
                self.sessions[session] = prompt + answer["text"]
                del self.in_session[asked]

    def an_engine_dies(self) -> None:
        living = [engine for engine in self.engines() if self._is_up(engine.agent)]
        if living:
            self._forgive_deaths()
            self.rng.choice(living).agent.crash()
            self.world.advance(1)

    def _forgive_deaths(self) -> None:
        """That a request is given up after three engines is another test's matter."""
        for job in self.world.core.llm.generation.jobs.values():
            job.deaths = 0

    def _is_up(self, agent: ScriptedAgent) -> bool:
        return self.world.routes.get(agent.route) is agent

    def the_kernel_dies(self) -> None:
        alive = [engine for engine in self.engines() if self._is_up(engine.agent)]
        asker = self.agent if self._is_up(self.agent) else None
        self.world.kill_kernel()
        self.world.client.connect()
        for engine in alive:
            engine.agent.connect()
            engine.ready()
        if asker is not None:
            asker.open = [self.turn]
            asker.connect()
        self.world.advance(3)

    def the_agent_dies(self) -> None:
        self.agent.crash()
        self.world.advance(1)
        self.agent = self.world.agent(self.agent.id)
        self.turn = self.agent.turn_of("work")
        self.agent_asked = {}
        for prompt, count in self.agent_calls:
            self._ask_as_agent(prompt, count)

    def time_passes(self) -> None:
        self.world.advance(self.rng.random() * 3)

    # --- the end ------------------------------------------------------------------------

    def check(self) -> None:
        self._run_dry()
        for asked, (prompt, count) in self.expected.items():
            answer = self.world.client.answer(asked)
            assert answer is not None, "a request was never answered"
            assert answer["text"] == completion_of(prompt.encode(), count)
        for correlation, (prompt, count) in self.agent_asked.items():
            answer = self.agent.answer(correlation)
            assert answer is not None, "a recorded call was never answered"
            assert answer["text"] == completion_of(prompt.encode(), count)
        self._check_streams(self.world.client)
        self._check_nothing_is_left()

    def _run_dry(self) -> None:
        for _ in range(100):
            self.world.advance(1)
            self.engines_get_ready()
            moved = [engine.step() for engine in self.engines() for _ in range(50)]
            if not any(moved):
                return

    def _check_streams(self, client: ScriptedClient) -> None:
        items: dict[int, dict[int, bytes]] = {}
        for envelope in client.got:
            if envelope.kind == Kind.ITEM:
                shown = items.setdefault(envelope.correlation, {})
                assert shown.setdefault(envelope.index, envelope.payload) == envelope.payload
        for asked, shown in items.items():
            if asked in self.expected:
                prompt, count = self.expected[asked]
                text = "".join(decode_plain(shown[n])["text"] for n in range(len(shown)))
                assert text == completion_of(prompt.encode(), count)

    def _check_nothing_is_left(self) -> None:
        self.agent.commit(self.turn)
        self.world.client.acknowledge()
        rows = self.world.journal.load()
        for table in ("llm_request", "llm_tokens", "llm_step", "llm_stream", "answer"):
            assert rows[table] == {}, table
        for line in self.world.client.system("llm_status")["engines"]:
            assert (line["running"], line["waiting"], line["blocks_used"]) == (0, 0, 0)


ACTIONS = (
    (LlmHistory.a_client_asks, 4),
    (LlmHistory.a_session_is_opened, 1),
    (LlmHistory.a_session_goes_on, 3),
    (LlmHistory.one_is_cancelled, 1),
    (LlmHistory.the_agent_asks, 2),
    (LlmHistory.engines_get_ready, 4),
    (LlmHistory.an_engine_steps, 6),
    (LlmHistory.an_engine_dies, 1),
    (LlmHistory.the_kernel_dies, 1),
    (LlmHistory.the_agent_dies, 1),
    (LlmHistory.time_passes, 1),
)


def run_history(seed: int, *, verbose: bool = False) -> None:
    history = LlmHistory(seed)
    actions, weights = zip(*ACTIONS, strict=True)
    for action in history.rng.choices(actions, weights, k=STEPS):
        if verbose:
            print(action.__name__)
        action(history)
    history.check()


@pytest.mark.parametrize("seed", range(40))
def test_every_caller_gets_its_own_text_whatever_dies(seed: int) -> None:
    run_history(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 4000, 500))
def test_every_caller_gets_its_own_text_in_long_runs(first: int) -> None:
    for seed in range(first, first + share_of(500)):
        run_history(seed)
