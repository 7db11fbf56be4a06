"""Once a second: resend where nothing moved; forget what is too old; look for old rings.

Cost: O(peers) a second.
"""

from __future__ import annotations

from kernel.actor_record import ActorRecord
from kernel.budget.run_time import RunTime
from kernel.handshake import Handshake
from kernel.llm.service import LlmService
from kernel.sending import Sending
from kernel.state import Peer
from kernel.timers import Due

SWEEP_NS = 1_000_000_000


class Sweep:
    """See the module head."""

    def __init__(
        self, handshake: Handshake, sending: Sending, llm: LlmService, run_time: RunTime
    ) -> None:
        self.state = sending.state
        self.delivery = sending.delivery
        self.handshake = handshake
        self.heartbeat = handshake.heartbeat
        self.sending = sending
        self.llm = llm
        self.run_time = run_time
        self._progress: dict[int, tuple[int, int]] = {}
        self._parked: dict[int, None] = {}  # turns that waited at the last sweep

    def start(self) -> None:
        """Have the first one run in a second."""
        self.state.timers.set(Due.SWEEP, 0, self.state.now_ns + SWEEP_NS)

    def run(self) -> None:
        """Once a second: resend where nothing moved; forget what is too old."""
        state = self.state
        state.timers.set(Due.SWEEP, 0, state.now_ns + SWEEP_NS)
        self.handshake.expire_sessions()
        self.heartbeat.sweep()
        self.delivery.letters.expire()
        self._break_old_rings()
        self.llm.tick()
        self.run_time.tick()
        progress: dict[int, tuple[int, int]] = {}
        peers: list[Peer] = [*state.actors.values(), *state.peers.sessions.values()]
        for peer in peers:
            channel = peer.channel
            if channel is None or not channel.num_kept or peer.route is None:
                continue
            if isinstance(peer, ActorRecord) and peer.is_stopped:
                continue  # it stands still for want of budget
            now = (state.epoch, channel.next_sequence - channel.num_kept)
            progress[peer.id] = now
            if self._progress.get(peer.id) == now:
                peer.resent_to = channel.next_sequence - 1
                for envelope in channel.kept_as_sent():
                    state.post_unnumbered(peer.route, envelope, peer)
                state.counters.add("resends")
        self._progress = progress
        old = [key for key, keyed in state.keyed.items() if keyed.expires_wall_ns < state.wall_ns]
        for digest in old:
            del state.keyed[digest]
            state.output.changes.delete("keyed", digest)

    def _break_old_rings(self) -> None:
        """Look for rings among turns that have waited since the last sweep."""
        parked: dict[int, None] = {}
        for record in self.state.actors.values():
            for identifier, turn in record.open.items():
                if turn.is_parked:
                    parked[identifier] = None
        self.sending.rings.break_rings([turn for turn in parked if turn in self._parked])
        self._parked = parked
