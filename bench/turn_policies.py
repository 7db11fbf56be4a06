"""Cost of deciding who gets the next slot, by each turn policy, through the kernel's real core.

Question: with 10,000 agents in line, what does a decision cost? Budget: 5 us for policies that are
a key. One decision is a turn that ends and another that begins: accounting what the one had, its
agent's next message standing in line, the choice, and the begin of the other.
  turn_P_us       processor time of a whole loop turn of the core under policy P: the commit taken
                  and applied, a decision, the next message granted; floor: the same under fcfs,
                  whose line is a plain queue
  decision_P_us   of the decision alone: the same calls of kernel/turn_order.py, made on the core's
                  own agents and messages without the rest of the loop turn; less what the same
                  agents take to run in the same order when nobody decides
  longest_P_us    the longest of as many more; where a policy decides per epoch (a promotion, a
                  boost) it looks at all jobs then

Run: python -m bench.turn_policies [--json] [--quick]
"""

from __future__ import annotations

import argparse
import gc
import random
from collections import deque
from statistics import median
from time import process_time_ns

from bench.report import Measurement, print_json, print_table
from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import PROTOCOL_VERSION, Kind, SpawnSpec
from kernel.actor_record import ActorRecord, Turn
from kernel.config import load_config
from kernel.core import Core
from kernel.mailbox import Message
from kernel.output import Output, StartProcess
from kernel.policy.policy_names import POLICIES
from kernel.slots import FIRST_COME
from kernel.turn_order import TurnOrder

AGENTS, DECISIONS, ROUNDS = 10_000, 4_000, 3
SLOTS = 2
MS = 1_000_000
TURN_NS = 20_000  # short, so that no agent is taken for hung
PROGRAMS = 2_000
BODY = encode_plain(["work", [], {}])


class Crowd:
    """A core, and agents that are nothing but a route and the number of their last envelope."""

    def __init__(self, num_agents: int) -> None:
        self.numbers = random.Random(1)
        self.now_ns = 1_000 * MS
        config = load_config(
            None, {}, turn_slots=SLOTS, max_actors=num_agents + 1, durability="none"
        )
        self.core = Core(
            config,
            {},
            generation=1,
            epoch=1,
            rng=random.Random(1),
            operator_token="token",
            monotonic_ns=self.now_ns,
            wall_ns=self.now_ns,
        )
        self.sent: dict[bytes, int] = {}
        self.taken: dict[bytes, int] = {}
        self.running: deque[tuple[bytes, int]] = deque()
        self.actors: list[int] = []
        self._spawn(num_agents)

    def _spawn(self, num_agents: int) -> None:
        self.core.begin(self.now_ns, self.now_ns)
        for number in range(num_agents):
            weight = float(self.numbers.choice([1, 2, 4]))
            spec = SpawnSpec(qualname="A", module="m", name=f"a{number}", weight=weight)
            self.actors.append(self.core.parts.lifecycle.spawn(spec, 0).id)
        for command in self.core.finish().commands:
            if isinstance(command, StartProcess):
                self._hello(command)

    def _hello(self, command: StartProcess) -> None:
        route = command.actor.to_bytes(8, "big")
        hello = {
            "role": "agent",
            "protocol": PROTOCOL_VERSION,
            "actor": command.actor,
            "incarnation": command.incarnation,
            "token": command.token,
            "generation": None,
            "epoch": None,
            "taken": 0,
            "open": [],
            "declares": {},
        }
        self.core.begin(self.now_ns, self.now_ns)
        self.core.process_started(command.actor, command.incarnation, 1, 1)
        body = encode_plain(hello)
        self.core.receive(route, [Envelope(Kind.HELLO, command.actor, 0, body)])
        self.core.finish()
        self.sent[route] = 0

    def tell(self, actor: int) -> None:
        """Let an agent have one more message."""
        record, numbers = self.core.state.actors[actor], self.numbers
        envelope = Envelope(
            Kind.TELL,
            1,
            actor,
            BODY,
            priority=numbers.randrange(8),
            deadline=numbers.randint(10**6, 10**9) * MS,
            trace=(numbers.randrange(PROGRAMS) + 1).to_bytes(16, "little"),
        )
        self.core.delivery.enqueue(record, self.core.delivery.accept(record, envelope))

    def fill(self) -> None:
        """Let every agent have two messages, so that it stands in line whenever it may."""
        for _ in range(2):  # the second when all stand in line: nobody is granted both
            self.core.begin(self.now_ns, self.now_ns)
            for actor in self.actors:
                self.tell(actor)
            self._take(self.core.finish())

    def use(self, policy: str) -> None:
        """Order the line by a policy."""
        self.core.begin(self.now_ns, self.now_ns)
        self.core.parts.policy_calls.use("turns", policy)
        self._take(self.core.finish())

    def _take(self, output: Output) -> None:
        for route, batch in output.frames:
            self.taken[route] = max(self.taken.get(route, 0), batch[-1].sequence)
            self.running.extend((route, e.message) for e in batch if e.kind == Kind.TELL)

    def decide(self) -> int:
        """End the oldest turn, which lets another begin; return the processor time it took."""
        route, turn = self.running.popleft()
        actor = int.from_bytes(route, "big")
        self.sent[route] += 1
        commit = Envelope(Kind.COMMIT, actor, turn=turn)
        commit.sequence, commit.acknowledged = self.sent[route], self.taken[route]
        self.now_ns += TURN_NS
        began = process_time_ns()
        self.core.begin(self.now_ns, self.now_ns)
        self.core.receive(route, [commit])
        output = self.core.finish()
        took = process_time_ns() - began
        self._take(output)
        self.core.begin(self.now_ns, self.now_ns)
        self.tell(actor)
        self._take(self.core.finish())
        return took


class Alone:
    """The calls of a decision, without the loop turn around them.

    The agents' turns and mailboxes are changed as the core would, by hand. What that takes is
    measured as well, with the agents in the same order: one that has not run for long is in no
    cache, whoever chose it.
    """

    def __init__(self, crowd: Crowd) -> None:
        self.actors = crowd.core.state.actors
        self.state = crowd.core.state
        self.running = deque(record for record in self.actors.values() if record.open)
        assert len(self.running) == SLOTS
        assert all(len(each.open) == 1 for each in self.running)
        self.now_ns = crowd.now_ns

    def end_oldest(self) -> ActorRecord:
        """End a turn; another message like its own comes, as the last of its mailbox."""
        self.now_ns += TURN_NS
        record = self.running.popleft()
        _, turn = record.open.popitem()
        record.slots = 0
        self.state.counter += 1
        message = Message(self.state.counter, record.id, turn.message.envelope)
        message.due_ns = turn.message.due_ns
        record.mailbox.put(message)
        return record

    def begin(self, chosen: ActorRecord) -> None:
        """Grant an agent its next message."""
        message = chosen.mailbox.next()
        assert message is not None
        chosen.open[message.id] = Turn(message)
        chosen.slots = 1
        self.running.append(chosen)

    def without_line(self, running: list[ActorRecord], order: list[ActorRecord]) -> int:
        """Let agents run in this order after those; return the processor time in nanoseconds."""
        while self.running:
            self.end_oldest()
        for record in running:
            self.begin(record)
        began = process_time_ns()
        for chosen in order:
            record = self.end_oldest()
            record.mailbox.peek()
            self.begin(chosen)
        return process_time_ns() - began

    def with_line(self, order: TurnOrder, decisions: int) -> tuple[int, list[ActorRecord]]:
        """Let agents run in the order of a policy; return processor time (ns) and that order."""
        given = []
        began = process_time_ns()
        for _ in range(decisions):
            record = self.end_oldest()
            order.account(record, self.now_ns)
            waiting = record.mailbox.peek()
            assert waiting is not None
            order.line_up(record, waiting, self.now_ns, waiting.envelope.priority)
            order.settle(self.now_ns)
            seat = order.take(self.now_ns)
            assert seat is not None
            chosen = self.actors[seat.owner]
            self.begin(chosen)
            order.account(chosen, self.now_ns)
            given.append(chosen)
        return process_time_ns() - began, given

    def decision_ns(self, order: TurnOrder, decisions: int) -> int:
        """Return the processor time of so many decisions, less that of what follows from them.

        The line is of no use then: it has not seen the agents run again.
        """
        running = list(self.running)
        took_ns, given = self.with_line(order, decisions)
        return took_ns - self.without_line(running, given)

    def longest_ns(self, order: TurnOrder, decisions: int) -> int:
        """Return the processor time of the longest of so many decisions."""
        return max(self.with_line(order, 1)[0] for _ in range(decisions))


def line_of(crowd: Crowd, policy: str) -> TurnOrder:
    """Return the line of a policy, in which all stand who do not run."""
    crowd.use(FIRST_COME)
    crowd.use(policy)
    order = crowd.core.state.slots.order
    assert order is not None
    return order


def measure(num_agents: int, decisions: int, rounds: int) -> list[Measurement]:
    """Return the figures of all policies; each round takes the policies in turn."""
    crowd = Crowd(num_agents)
    crowd.fill()
    gc.freeze()
    gc.disable()
    turns: dict[str, list[float]] = {name: [] for name in POLICIES}
    alone: dict[str, list[float]] = {name: [] for name in POLICIES}
    longest: dict[str, list[float]] = {name: [] for name in POLICIES}
    for _ in range(rounds):
        for name in POLICIES:
            crowd.use(name)
            turns[name].append(sum(crowd.decide() for _ in range(decisions)) / decisions / 1e3)
            assert crowd.core.state.slots.num_waiting > 0.99 * (num_agents - SLOTS)
            gc.collect()
    for name in [name for name in POLICIES if name != FIRST_COME] * rounds:
        run, order = Alone(crowd), line_of(crowd, name)
        alone[name].append(run.decision_ns(order, decisions) / decisions / 1e3)
        run, order = Alone(crowd), line_of(crowd, name)
        longest[name].append(run.longest_ns(order, decisions) / 1e3)
        gc.collect()
    floor = median(turns[FIRST_COME])
    found = [Measurement(f"turn_{n}_us", median(took), "us", floor) for n, took in turns.items()]
    for name in POLICIES:
        if name != FIRST_COME:
            found.append(Measurement(f"decision_{name}_us", median(alone[name]), "us"))
            found.append(Measurement(f"longest_{name}_us", median(longest[name]), "us"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sizes = (300, 100, 1) if options.quick else (AGENTS, DECISIONS, ROUNDS)
    found = measure(*sizes)
    if options.json:
        print_json(found)
    else:
        print_table("turn policies", found)


if __name__ == "__main__":
    main()
