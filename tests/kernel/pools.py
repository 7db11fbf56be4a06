"""A pool in a World: made by its client, with what tests want to know of it."""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import BY_CODE, LLMOSError, RemoteError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.actor_record import Status
from kernel.output import StartProcess
from kernel.pools.pool import Pool
from tests.kernel.world import ScriptedAgent, World, body


class TestedPool:
    """A pool and its scripted members."""

    __test__ = False

    def __init__(self, world: World, name: str = "pool", **arguments: Any) -> None:
        self.world = world
        self.name = name
        spec = {"qualname": "Scripted", "module": "tests", "name": name}
        spec |= arguments.pop("spec", {})
        for number in range(1, 20):
            world.declares.setdefault(f"{name}.{number}", arguments.get("declares", {}))
        arguments.pop("declares", None)
        self.correlation = world.client.ask_system("pool_create", spec=spec, **arguments)
        self.answer = world.client.answer(self.correlation)
        self.id: int = self.answer["actor"] if self.answer and "actor" in self.answer else 0

    @property
    def pool(self) -> Pool:
        return self.world.core.state.pools[self.id]

    @property
    def members(self) -> list[ScriptedAgent]:
        """Return the present members, oldest first."""
        return [self.world.agents[actor] for actor in self.pool.members]

    def info(self) -> dict[str, Any]:
        return dict(self.world.client.system("pool", pool=self.name))

    def has(self, member: ScriptedAgent) -> list[str]:
        """Return the methods of a member's unfinished messages, granted or not, as accepted."""
        messages = self.world.core.state.messages.values()
        mine = [message for message in messages if message.receiver == member.id]
        return [read_method(message.envelope) for message in sorted(mine, key=lambda m: m.order)]

    def having(self, method: str) -> ScriptedAgent:
        """Return the present member that has this message, by its method."""
        (found,) = [member for member in self.members if method in self.has(member)]
        return found

    def finish_all(self) -> list[str]:
        """Let every member commit all it has; return the methods in the order they were begun."""
        done = []
        moved = True
        while moved:
            moved = False
            for member in self.members:
                record = self.world.core.state.actors[member.id]
                for turn in list(record.open):
                    envelope = [e for e in member.granted if e.message == turn][-1]
                    done.append(decode_plain(envelope.payload)[0])
                    member.commit(turn, reply=member.name)
                    moved = True
        return done


def read_method(envelope: Envelope) -> str:
    """Return the method that a message calls."""
    return str(decode_plain(split_refs(envelope)[1])[0])


def hinted(method: str, *args: Any, **hints: str) -> bytes:
    """Return the body of a message that says where it should go."""
    return encode_plain([method, list(args), {}, hints])


def boom() -> RemoteError:
    return RemoteError(type_name="ValueError", actor="B", handler="x", message="no", traceback="tb")


def error_name(wire: Any) -> str:
    return BY_CODE[wire["code"]].__name__


def tell(world: World, pool: TestedPool, method: str, **hints: str) -> None:
    """Tell the pool, with hints if there are any."""
    payload = hinted(method, **hints) if hints else body(method)
    correlation = world.client.next_correlation()
    world.client.send(
        Envelope(Kind.TELL, world.client.id, pool.id, payload, correlation=correlation)
    )


def reconnect(world: World) -> None:
    """Let all that live say hello to the kernel there is now."""
    for agent in list(world.agents.values()):
        agent.connect()
    world.client.connect()


def keep_crashing(world: World, member: ScriptedAgent) -> None:
    """Crash an agent until it is quarantined."""
    for _ in range(world.config.restart_intensity + 1):
        world.agents[member.id].crash()
        world.advance(0.1)
    assert world.core.state.actors[member.id].status is Status.QUARANTINED


def say_it_cannot_be_loaded(world: World, command: StartProcess, error: LLMOSError) -> None:
    """Let the process of a member start and find no class."""
    agent = world.agents[command.actor] = ScriptedAgent(world, command, {})
    world.core.process_started(command.actor, command.incarnation, 1000, 1)
    agent.route = world.new_route()
    world.routes[agent.route] = agent
    hello = agent.hello()
    claim = decode_plain(hello.payload)
    hello.payload = encode_plain({key: claim[key] for key in claim if key != "declares"})
    world.turn(agent.route, [hello])
    payload = encode_plain({"code": error.code, "fields": error.fields})
    agent.send(Envelope(Kind.BYE, agent.id, 0, payload, flags=Flag.FAILED))
    world.exited(command.actor, command.incarnation)
