"""Items of streamed asks: numbered, journaled before they are shown, suppressed on a retry.

The one effect visible before a turn's commit (DESIGN 4a, "Streams"). A retried producer's
items are compared with those recorded; a retried asker reads the recorded ones again.
Items are kept until the asker's turn has committed or the call is forgotten.

Cost: O(1) an item; memory: what the asker's credit lets the producer run ahead, plus all
items of the asker's open turn.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import StreamDivergedError
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord
from kernel.calls import Call
from kernel.delivery import Delivery
from kernel.mailbox import Message
from kernel.state import Peer


class Streams:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.delivery = delivery

    def on_item(self, producer: ActorRecord, envelope: Envelope) -> None:
        """Take an item that a turn has yielded."""
        call = self.state.calls.get(envelope.turn)
        if envelope.turn not in producer.open or call is None or call.is_finished:
            return  # cancelled meanwhile: the producer is about to hear of it
        # The producer's own count: its turn may be a retry that began under another kernel.
        number = envelope.index
        if number > len(call.items):
            self.state.counters.add("frames_unexpected")
            return
        call.seen_items = number + 1
        self._note_credit(producer, call)
        if number < len(call.items):
            if not _same(call.items[number], envelope):
                self._diverged(call, number)
            return
        self._record(call, number, envelope)
        self._send(call, envelope)

    def show(self, call: Call, payload: bytes) -> None:
        """Give the asker an item of the kernel's own; whoever makes it journals it."""
        item = Envelope(Kind.ITEM, 0, call.owner, payload, index=len(call.items))
        call.items.append(item)
        self._send(call, item)

    def adopt(self, producer: ActorRecord, message: Message) -> None:
        """A producer goes on in a new kernel epoch: where it stands, and what it missed."""
        call = self.state.calls.get(message.id)
        if call is None or not call.is_stream:
            return
        call.seen_items = len(call.items)
        self._note_credit(producer, call)
        lent_again = call.credit - message.envelope.index  # by an asker who was back earlier
        if lent_again > 0:
            more = Envelope(Kind.STREAM_CREDIT, 0, turn=call.id, index=lent_again)
            self.state.post(producer, more)

    def _note_credit(self, producer: ActorRecord, call: Call) -> None:
        """A producer that may yield no more waits, and holds no slot meanwhile."""
        turn = producer.open.get(call.id)
        is_starved = call.seen_items >= call.credit
        if turn is not None and turn.is_starved != is_starved:
            turn.is_starved = is_starved
            self.delivery.count_slots(producer)
            self.state.dirty[producer.id] = None

    def _record(self, call: Call, number: int, envelope: Envelope) -> None:
        envelope.index = number
        envelope.sender = call.receiver
        envelope.receiver = call.owner
        call.items.append(envelope)
        self.state.output.changes.put_new("item", (call.id, number), (envelope,))
        self.state.counters.add("items")

    def _send(self, call: Call, item: Envelope) -> None:
        owner = self.state.peer(call.owner)
        if owner is None or (isinstance(owner, ActorRecord) and not self._awaits(owner, call)):
            return
        copy = item.copy()  # the recorded one keeps the producer's numbers
        copy.correlation = call.correlation
        copy.message = call.id
        if isinstance(owner, ActorRecord):
            self.delivery.pass_handles(None, owner, copy)
        self.state.post(owner, copy)

    def _awaits(self, owner: ActorRecord, call: Call) -> bool:
        return call.claimed and call.turn in owner.open

    def _diverged(self, call: Call, number: int) -> None:
        actor = self.state.name_of(call.receiver)
        self.delivery.answer_error(call, StreamDivergedError(index=number, actor=actor))
        message = self.state.messages.get(call.id)
        if message is not None:
            self.delivery.cancel_message(message)

    def replay(self, call: Call) -> None:
        """Send the recorded items again: the asker's turn is retried or was adopted."""
        for item in call.items:
            self._send(call, item)

    def on_credit(self, asker: Peer, envelope: Envelope) -> None:
        """The asker will take ``index`` further items."""
        call = self.state.calls.find(asker.id, envelope.correlation)
        if call is None or not call.is_stream or call.is_finished:
            return
        call.credit += envelope.index
        producer = self.state.actors.get(call.receiver)
        if producer is not None and call.id in producer.open:
            self._note_credit(producer, call)
            more = Envelope(Kind.STREAM_CREDIT, 0, turn=call.id, index=envelope.index)
            self.state.post(producer, more)


def _same(recorded: Envelope, again: Envelope) -> bool:
    return recorded.payload == again.payload and [bytes(p) for p in recorded.attachments] == [
        bytes(p) for p in again.attachments
    ]
