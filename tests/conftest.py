"""Settings of all tests.

No test is timed: how long an example of hypothesis takes says something of the machine's load, so
there is neither a deadline nor a complaint about slowness.

Hypothesis tries the same examples in each run, so that a change is judged by what it does and not
by what a new draw finds in the rest; ``EXPLORE=1`` draws new ones, as ``make explore`` and
``make soak`` do, and more of them (tests/trials.py).
"""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.running_order import by_length, spread
from tests.trials import DEFAULT, EXPLORES, trials

settings.register_profile(
    "llmos",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not EXPLORES,
    max_examples=trials(DEFAULT),
)
settings.load_profile("llmos")

# A shell lets what it runs in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in the order of tests/running_order.py; within a file nothing changes."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [path for path, its in files.items() if any(i.get_closest_marker("slow") for i in its)]
    slow.sort(key=by_length)
    others = [path for path in files if path not in set(slow)]
    items[:] = [item for path in spread(slow, others) for item in files[path]]
