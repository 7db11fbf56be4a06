"""Who is on a connection: HELLO, WELCOME, REJECT, watchdog ticks, and lost clients.

Every reconnection is a stranger until its hello claims (actor, incarnation) with that
incarnation's token, or a session with the operator's token. A lower incarnation is FENCED.
In a new kernel epoch the agent reports its open turns; what it had only been granted comes
again from the mailbox.

Cost: O(open turns and their calls) a hello.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.auth import is_token, is_token_of
from ipc.errors import (
    FencedError,
    GenerationError,
    HandshakeError,
    LimitError,
    LLMOSError,
    to_wire,
)
from ipc.ids import is_session
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import ON_START, Flag, Hello, Kind, Limits, Welcome
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.claims import read_hello
from kernel.effects import Effects
from kernel.heartbeat import Heartbeat
from kernel.incarnations import Incarnations
from kernel.output import WatchProcess
from kernel.peers import Session
from kernel.program import root_trace
from kernel.state import Peer, signed
from kernel.streams import Streams
from kernel.turns import Turns


class Handshake:
    """See the module head."""

    def __init__(
        self,
        incarnations: Incarnations,
        turns: Turns,
        streams: Streams,
        effects: Effects,
        heartbeat: Heartbeat,
    ) -> None:
        self.state = incarnations.state
        self.incarnations = incarnations
        self.delivery = incarnations.delivery
        self.turns = turns
        self.streams = streams
        self.effects = effects
        self.heartbeat = heartbeat

    def on_hello(self, route: bytes, envelope: Envelope) -> None:
        """Take a peer's claim, or answer REJECT. A connection says hello once."""
        if route in self.state.peers.owners:
            self.state.counters.add("frames_repeated")
            return
        try:
            hello = read_hello(decode_plain(envelope.payload))
            if hello["role"] == "agent":
                self._welcome_agent(route, hello)
            else:
                self._welcome_client(route, hello)
        except LLMOSError as error:
            self.state.counters.add("handshakes_refused")
            body = encode_plain(to_wire(error))
            nobody = Session(0, self.state.new_channel(0), route)
            self.state.post_unnumbered(route, Envelope(Kind.REJECT, payload=body), nobody)

    def _is_late(self, peer: Peer, hello: Hello) -> bool:
        """Say whether the peer has connected anew since: connections have no order among them."""
        attempt = hello.get("attempt", 0)
        if 0 < attempt < peer.attempt:
            self.state.counters.add("frames_repeated")
            return True
        peer.attempt = attempt
        return False

    # --- agents -------------------------------------------------------------------------

    def _welcome_agent(self, route: bytes, hello: Hello) -> None:
        record = self._check_agent(hello)
        if self._is_late(record, hello):
            return
        self.state.peers.unbind(record.route)
        self.state.peers.bind(route, record.id)
        record.route = route
        is_resumed = hello["epoch"] == self.state.epoch and record.channel is not None
        is_new = hello["epoch"] is None
        if is_resumed:
            self._resume(route, record, hello)
        else:
            self._attach(route, record, hello, is_new=is_new)
        if record.status is Status.STOPPING and not is_resumed:
            self.incarnations.post_stop(record)
        self.state.mark_dirty(record.id)

    def _check_agent(self, hello: Hello) -> ActorRecord:
        record = self.state.actors.get(hello["actor"])
        incarnation = hello["incarnation"]
        if record is None:
            raise FencedError(actor=hello["actor"], incarnation=incarnation, current=0)
        if record.incarnation != incarnation or not record.has_process:
            raise FencedError(actor=record.id, incarnation=incarnation, current=record.incarnation)
        if not is_token_of(hello["token"], record.token_hash):
            raise HandshakeError(reason=f"the token is not that of actor {record.id}")
        if hello["generation"] not in (None, self.state.generation):
            current, known = self.state.generation, hello["generation"]
            raise GenerationError(current=current, known=known)
        return record

    def _resume(self, route: bytes, record: Peer, hello: Hello) -> None:
        """Same epoch: grants and credits stand; send again what was lost on the way."""
        channel = record.channel
        assert channel is not None
        self.delivery.acknowledged(record, hello["taken"])
        self._send_welcome(route, record, state={}, is_resumed=True)
        record.resent_to = channel.next_sequence - 1
        for kept in channel.kept_as_sent():
            self.state.post_unnumbered(route, kept, record)

    def _attach(self, route: bytes, record: ActorRecord, hello: Hello, *, is_new: bool) -> None:
        """A first hello, or the first one in this kernel epoch."""
        taken = 0 if is_new or record.channel is None else record.channel.taken
        if not is_new and record.channel is None:
            taken = self.state.marks.get(record.id, 0)
        record.channel = self.state.new_channel(taken)
        record.resent_to = 0
        record.sent_before = 0 if is_new else hello.get("sent", 0)
        self._learn(record, hello)
        self._send_welcome(route, record, state=record.state, is_resumed=False)
        turns = list(record.open.values())
        if turns:
            self.turns.put_back(record, turns, again=is_new)
        if not is_new:
            pairs = [pair for pair in hello.get("commits", ()) if len(pair) == 2]
            ended = {turn for turn, number in pairs if 0 < number <= taken}
            self._adopt_turns(record, [turn for turn in hello["open"] if turn not in ended])
        if record.status is Status.STARTING:
            record.status = Status.RUNNING
            if "declares" in hello:  # else its class could not be loaded: BYE says why
                self.incarnations.on_up(record)
        if is_new and record.has_hook("on_start"):
            self._post_start(record)
        self.state.save_actor(record)

    def _learn(self, record: ActorRecord, hello: Hello) -> None:
        if "pid" in hello and "start_time" in hello:
            record.pid, record.start_time = hello["pid"], hello["start_time"]
            self._watch(record, hello["pid"], hello["start_time"])
        declares = hello.get("declares")
        if isinstance(declares, dict):
            record.declares = declares
            self.state.max_turns -= record.concurrency
            record.concurrency = declares.get("concurrency", 1)
            self.state.max_turns += record.concurrency
            for topic, handler, overflow in declares.get("subscriptions", ()):
                self.effects.subscribe(record, topic, handler, overflow)

    def _watch(self, record: ActorRecord, pid: int, start_time: int) -> None:
        """Watch a process of which the kernel that started it had not told."""
        if not record.is_watched:
            record.is_watched = True
            watch = WatchProcess(record.id, record.incarnation, pid, start_time)
            self.state.output.commands.append(watch)

    def _post_start(self, record: ActorRecord) -> None:
        """Queue the $start turn of this incarnation, before all else and alone."""
        for message in record.mailbox.queued():
            if message.order == 0:
                record.solo.add(message.id)
                return
        body = encode_plain([ON_START, [], {}])
        envelope = Envelope(Kind.TELL, 0, record.id, body, flags=Flag.SYSTEM, priority=0)
        message = self.delivery.accept(record, envelope, reserved=True)
        envelope.trace = root_trace(message.id)
        message.order = 0
        record.mailbox.count(message)
        record.mailbox.put_back([message])
        record.solo.add(message.id)

    def _adopt_turns(self, record: ActorRecord, reported: list[int]) -> None:
        """Take the turns the agent had begun as open; stop those that have ended meanwhile."""
        for identifier in reported:
            message = self.state.messages.get(identifier)
            if message is None or message.receiver != record.id:
                stop = Envelope(Kind.CANCEL, 0, record.id, turn=identifier)
                self.state.post(record, stop)
                continue
            if message.is_unpaid:
                continue  # it was never granted
            if message.held:
                self.delivery.admit_held(record, message)  # it had room in the epoch before
            if not record.mailbox.remove(message):
                continue
            message.granted = True
            record.open[identifier] = turn = Turn(message)
            turn.is_adopted = True
            self.streams.adopt(record, message)
            self._adopt_calls(record, identifier)
        self.delivery.count_slots(record)
        self.delivery.inheritance.on_adopted(record)
        self.turns.refuse_adopted(record)

    def _adopt_calls(self, record: ActorRecord, turn_id: int) -> None:
        turn = record.open[turn_id]
        for call in list(self.state.calls.of_turn(turn_id)):
            if not call.correlation:
                continue  # an earlier incarnation's; this one has not come to it yet
            self.state.calls.claim(call)
            turn.outstanding.add(call.id)
            self.streams.replay(call)
            if call.is_finished:
                self.delivery.send_answer(record, turn, call)

    # --- clients ------------------------------------------------------------------------

    def _welcome_client(self, route: bytes, hello: Hello) -> None:
        state = self.state
        if not is_token(hello["token"], state.operator_token):
            raise HandshakeError(reason="the operator token is wrong")
        identifier = hello["actor"]
        if not is_session(identifier):
            raise HandshakeError(reason="a client's id has bit 63 set")
        session = state.peers.sessions.get(identifier)
        if session is None:
            session = self._new_session(identifier, hello)
        if self._is_late(session, hello):
            return
        state.peers.unbind(session.route)
        state.peers.bind(route, identifier)
        session.route = route
        session.heard_ns = state.now_ns
        if hello["epoch"] == state.epoch:
            self._resume(route, session, hello)
            return
        taken = session.channel.taken
        session.channel = state.new_channel(taken)
        session.resent_to = 0
        self._send_welcome(route, session, state={}, is_resumed=False)
        for call in state.calls.of_owner(identifier):
            self.streams.replay(call)
            if call.answer is not None:
                call.answer = call.answer.copy()
                state.post(session, call.answer)

    def _new_session(self, identifier: int, hello: Hello) -> Session:
        state = self.state
        if hello["generation"] not in (None, state.generation):
            raise GenerationError(current=state.generation, known=hello["generation"])
        taken = state.marks.get(identifier, 0)
        if hello["epoch"] is not None:
            raise HandshakeError(reason="the session was lost for too long and has ended")
        limit = state.config.max_sessions
        if len(state.peers.sessions) >= limit:
            raise LimitError(what="sessions", value=len(state.peers.sessions), limit=limit)
        session = Session(identifier, state.new_channel(taken), None)
        state.peers.sessions[identifier] = session
        state.touched[identifier] = session  # its mark says that there is such a session
        return session

    def end_session(self, session: Session) -> None:
        """A client has said farewell, or was lost for too long: its asks are cancelled."""
        state = self.state
        state.peers.unbind(session.route)
        state.peers.sessions.pop(session.id, None)
        state.touched.pop(session.id, None)
        state.marks.pop(session.id, None)
        state.output.changes.delete("mark", signed(session.id))
        for call in state.calls.of_owner(session.id):
            if call.is_finished:
                state.counters.add("replies_dropped")
                self.delivery.forget_call(call)
            elif not self.delivery.is_followed(call):
                self.delivery.cancel_call(call)
        state.llm.depart(session.id)
        state.counters.add("sessions_ended")

    def expire_sessions(self) -> None:
        """End the sessions of which nothing was heard for the grace period."""
        grace_ns = int(self.state.config.session_grace_s * 1e9)
        for session in list(self.state.peers.sessions.values()):
            if self.state.now_ns - session.heard_ns > grace_ns:
                self.end_session(session)

    # --- both ---------------------------------------------------------------------------

    def _send_welcome(
        self, route: bytes, peer: Peer, *, state: dict[str, bytes], is_resumed: bool
    ) -> None:
        config = self.state.config
        assert peer.channel is not None
        peer.told = self._safe_mark(peer, peer.channel.covered)  # the envelope itself tells it too
        welcome = Welcome(
            epoch=self.state.epoch,
            generation=self.state.generation,
            actor=peer.id,
            name=self.state.name_of(peer.id),
            incarnation=peer.incarnation if isinstance(peer, ActorRecord) else 0,
            taken=peer.told,
            resumed=is_resumed,
            state=state,
            limits=Limits(
                window_messages=config.window_messages,
                window_bytes=config.window_bytes,
                turn_messages=config.turn_messages,
                turn_bytes=config.turn_bytes,
                turn_calls=config.turn_calls,
                payload_bytes=config.payload_bytes,
                grace_s=config.orphan_grace_s,
            ),
        )
        envelope = Envelope(Kind.WELCOME, 0, peer.id, encode_plain(welcome))
        self.state.post_unnumbered(route, envelope, peer)

    def _safe_mark(self, peer: Peer, covered: int) -> int:
        """Return the mark before the first tell whose refusal or delay is still on its way.

        A client takes a tell for accepted when it is covered, so it must hear of that first.
        """
        if isinstance(peer, Session) and peer.channel is not None:
            told = [kept.index for kept in peer.channel.kept_as_sent() if kept.kind == Kind.HELD]
            answers = [call.answer for call in self.state.calls.of_owner(peer.id)]
            told += [a.index for a in answers if a is not None and a.kind == Kind.REFUSED]
            return min([covered, *(number - 1 for number in told)])
        return covered

    def on_tick(self, envelope: Envelope) -> None:
        """An agent's watchdog says how long its event loop has been stuck."""
        record = self.state.actors.get(envelope.sender)
        if record is None or record.incarnation != envelope.message:
            return
        if not is_token_of(envelope.payload.decode(errors="replace"), record.token_hash):
            self.state.counters.add("handshakes_refused")
            return
        lease_s = self.heartbeat.lease_ns(record) / 1e9
        if envelope.turn in record.open and envelope.index >= lease_s * 1000:
            self.state.counters.add("leases_expired")
            self.incarnations.crash(
                record, f"its event loop stood still for {lease_s:g} s in a turn"
            )
