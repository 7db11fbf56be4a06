"""Settings of all tests.

No test is timed: how long an example of hypothesis takes says something of the machine's load, so
there is neither a deadline nor a complaint about slowness.

Hypothesis tries the same examples in each run, so that a change is judged by what it does and not
by what a new draw finds in the rest; ``EXPLORE=1`` draws new ones, as ``make explore`` and
``make soak`` do.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "llmos",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="EXPLORE" not in os.environ,
)
settings.load_profile("llmos")
