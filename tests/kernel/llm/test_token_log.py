"""kernel/llm/token_log.py: a crash loses no emitted token, and no row is kept too long."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernel.journal.in_memory import MemoryJournal
from kernel.llm.token_log import TokenLog
from kernel.records import WriteSet
from tests.trials import trials


class TokenLogMachine(RuleBasedStateMachine):
    """Requests emit tokens, streamed or not; the kernel dies between any two commits."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal()
        self.changes = WriteSet()
        self.counter = 0
        self.emitted: dict[int, list[int]] = {}  # streamed requests
        self.texts: dict[int, list[str]] = {}
        self.log = TokenLog(lambda: self.changes, self.new_id)

    def new_id(self) -> int:
        self.counter += 1
        return self.counter

    def commit(self) -> None:
        self.journal.commit(self.changes)
        self.changes = WriteSet()

    @rule()
    def a_request_is_opened(self) -> None:
        request = self.new_id()
        self.log.open(request, {"ids": b"", "number": request})
        self.emitted[request], self.texts[request] = [], []
        self.commit()

    @rule(data=st.data())
    def a_step_gives_some_of_them_a_token(self, data: st.DataObject) -> None:
        chosen = [request for request in self.emitted if data.draw(st.booleans())]
        if not chosen:
            return
        tokens = [data.draw(st.integers(0, 1 << 20)) for _ in chosen]
        texts = [data.draw(st.text(max_size=3)) for _ in chosen]
        self.log.step(chosen, tokens, texts)
        for request, token, text in zip(chosen, tokens, texts, strict=True):
            self.emitted[request].append(token)
            self.texts[request].append(text)
        self.commit()

    @rule(data=st.data())
    def one_is_folded(self, data: st.DataObject) -> None:
        if self.emitted:
            request = data.draw(st.sampled_from(sorted(self.emitted)))
            self.log.fold(request, np.array(self.emitted[request], np.int32))
            self.commit()

    @rule(data=st.data())
    def one_ends(self, data: st.DataObject) -> None:
        if self.emitted:
            request = data.draw(st.sampled_from(sorted(self.emitted)))
            self.log.close(request)
            del self.emitted[request], self.texts[request]
            self.commit()

    @rule()
    def the_kernel_dies(self) -> None:
        self.changes = WriteSet()
        self.log = TokenLog(lambda: self.changes, self.new_id)
        found = self.log.load(self.journal.load())

        assert {key: saved.emitted for key, saved in found.items()} == self.emitted
        assert {key: saved.texts for key, saved in found.items()} == self.texts
        assert all(saved.facts["number"] == key for key, saved in found.items())
        self.commit()

    @invariant()
    def nothing_is_kept_when_nothing_runs(self) -> None:
        if not self.emitted:
            rows = self.journal.load()
            assert not any(rows.get(name) for name in ("llm_request", "llm_tokens", "llm_step"))


TestTokenLog = TokenLogMachine.TestCase
TestTokenLog.settings = settings(max_examples=trials(60), stateful_step_count=40, deadline=None)
