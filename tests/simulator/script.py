"""What virtual handlers do: scripts, carried in the messages themselves.

A script is a list of steps, plain msgpack values; each step that sends carries its own label,
from which the uid of what it sends is made (``uid.label``). So what a handler does is a pure
function of its message: a retry asks the same things. The exceptions are deliberate:
``fail_first`` and ``crash_first`` depend on the attempt, ``diverge`` on chance.

    ["sleep", ns]                                   ["add", key, amount]
    ["ask", label, actor, script, options]          ["gather", [ask step, ...]]
    ["tell", label, actor, script, options]         ["timer", label, delay_ns, script]
    ["untimer", label]                              ["publish", label, topic, script]
    ["stream", label, actor, count, take]           ["yield", count]
    ["abandon", ask step]                           ["give_up", ask step, ns]
    ["spawn", label, spec facts]                    ["call", label, name, arguments]
    ["watch", [operation, ...]]                     ["fail"]
    ["fail_first", attempts]                        ["crash_first", attempts]
    ["diverge", ask step]                           ["stubborn"]: does not stop when cancelled
"""

from __future__ import annotations

import random
from typing import Any

from tests.simulator.plan import MS, Plan, S

Step = list[Any]
Script = list[Step]

TOPICS = ("news", "weather")


class ScriptWriter:
    """Draws scripts. targets: ids of actors to send to, grown by the clients."""

    def __init__(self, rng: random.Random, plan: Plan, targets: list[int]) -> None:
        self.rng = rng
        self.plan = plan
        self.targets = targets

    def write(self, depth: int) -> Script:
        """Return a script whose messages nest up to ``depth`` deep."""
        rng = self.rng
        script: Script = (
            [["add", rng.choice("xy"), rng.randint(1, 9)]] if rng.random() < 0.6 else []
        )
        for index in range(rng.randint(0, 4)):
            step = self._weird(index, depth) if rng.random() < self.plan.weird else None
            script.append(step or self._usual(index, depth))
        return script

    def options(self) -> dict[str, Any]:
        """Return options of an ask or tell."""
        rng, options = self.rng, {}
        if rng.random() < 0.2:
            options["priority"] = rng.choice([1, 4, 6])
        if rng.random() < 0.1:
            options["nowait"] = True
        if rng.random() < 0.5:
            options["catch"] = True
        if rng.random() < 0.1:
            options["deadline"] = rng.choice([MS, 300 * MS, 5 * S])
        if rng.random() < 0.1:
            options["pad"] = rng.choice([100, 900, 3000])
        return options

    def _ask(self, label: str, depth: int) -> Step:
        return ["ask", label, self._target(), self.write(depth - 1), self.options()]

    def _target(self) -> int:
        return self.rng.choice(self.targets)

    def _usual(self, index: int, depth: int) -> Step:
        rng, label = self.rng, str(index)
        sends = ["ask", "ask", "tell", "tell", "tell", "gather", "timer", "publish", "stream"]
        kind = rng.choice([*sends, "sleep", "add"] if depth > 0 else ["sleep", "add"])
        if depth > 0 and rng.random() < self.plan.spawns:
            return ["spawn", label, self._child()]
        match kind:
            case "ask":
                return self._ask(label, depth)
            case "tell":
                script = self.write(depth - 1)
                return ["tell", label, self._target(), script, self.options()]
            case "gather":
                if rng.random() < 0.3:  # equal digests: told apart by their order alone
                    ask = self._ask(f"{index}x2", depth)
                    return ["gather", [ask, ask]]
                count = rng.randint(2, 3)
                return ["gather", [self._ask(f"{index}g{i}", depth) for i in range(count)]]
            case "timer":
                return ["timer", label, rng.choice([0, 100 * MS, 3 * S]), self.write(depth - 1)]
            case "publish":
                return ["publish", label, rng.choice(TOPICS), self.write(0)]
            case "stream":
                count = rng.randint(0, 12)
                take = rng.choice([count, count, rng.randint(0, count)])
                return ["stream", label, self._target(), count, take]
            case "add":
                return ["add", rng.choice("xy"), rng.randint(1, 9)]
        return ["sleep", rng.choice([MS // 10, MS, 20 * MS, 500 * MS])]

    def _weird(self, index: int, depth: int) -> Step | None:
        rng, label = self.rng, f"{index}"
        kinds = ["fail", "fail_first", "crash_first", "watch", "stubborn", "call", "untimer"]
        if depth > 0:
            kinds += ["abandon", "give_up", "diverge", "spawn"]
        match rng.choice(kinds):
            case "fail":
                return ["fail"]
            case "fail_first":
                return ["fail_first", rng.randint(1, 2)]
            case "crash_first":
                return ["crash_first", rng.randint(1, 2)]
            case "stubborn":
                return ["stubborn"]
            case "untimer":
                return ["untimer", str(rng.randint(0, 3))]
            case "abandon":
                return ["abandon", self._ask(label, depth)]
            case "give_up":
                return ["give_up", self._ask(label, depth), rng.choice([MS, 100 * MS])]
            case "diverge":
                return ["diverge", self._ask(label, depth)]
            case "spawn":
                return ["spawn", label, self._child()]
            case "call":
                name = rng.choice(["children", "lookup"])
                return ["call", label, name, {"name": "a0"} if name == "lookup" else {}]
            case "watch":
                return ["watch", self._watch()]
        return None

    def _watch(self) -> list[Any]:
        operation = self.rng.choice(["monitor", "demonitor", "subscribe", "unsubscribe", "link"])
        match operation:
            case "subscribe":
                overflow = self.rng.choice(["wait", "dead_letter"])
                return [operation, self.rng.choice(TOPICS), "run", overflow]
            case "unsubscribe":
                return [operation, self.rng.choice(TOPICS)]
            case "link" if self.rng.random() < 0.7:
                return ["monitor", self._target()]
        return [operation, self._target()]

    def _child(self) -> dict[str, Any]:
        return {
            "restart": self.rng.choice(["permanent", "transient", "temporary"]),
            "facts": self.agent_facts(),
        }

    def agent_facts(self) -> dict[str, Any]:
        """Return what an agent declares and how big its mailbox is."""
        rng = self.rng
        facts: dict[str, Any] = {
            "concurrency": rng.choice([1, 1, 1, 2, 3]),
            "hooks": [h for h in ("on_start", "on_child_exit", "on_down") if rng.random() < 0.4],
            "strategy": rng.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            "topics": [topic for topic in TOPICS if rng.random() < 0.2],
        }
        if rng.random() < self.plan.tiny_mailboxes:
            facts["mailbox_messages"] = rng.randint(1, 3)
        if rng.random() < self.plan.reserving:
            facts["weight"] = rng.choice([0.5, 1.0, 3.0])
            facts["reserve"] = {"cpu": rng.choice([100, 700])}
        return facts


def refs_of(script: Script) -> list[int]:
    """Return the actors a script sends to, sorted: their handles travel with it."""
    found: dict[int, None] = {}
    for step in script:
        match step:
            case ["ask" | "tell", _, actor, inner, _]:
                found[actor] = None
                found.update(dict.fromkeys(refs_of(inner)))
            case ["stream", _, actor, *_] | ["watch", ["monitor" | "link" | "demonitor", actor]]:
                found[actor] = None
            case ["timer" | "publish", _, _, inner]:
                found.update(dict.fromkeys(refs_of(inner)))
            case ["gather", asks]:
                found.update(dict.fromkeys(refs_of(asks)))
            case ["abandon" | "diverge" | "give_up", ask, *_]:
                found.update(dict.fromkeys(refs_of([ask])))
    return sorted(found)


def sum_of_adds(script: Script) -> dict[str, int]:
    """Return what a committed run of the script has added to each key."""
    sums: dict[str, int] = {}
    for step in script:
        if step[0] == "add":
            sums[step[1]] = sums.get(step[1], 0) + step[2]
    return sums
