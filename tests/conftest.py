"""Settings of all tests.

No test is timed: how long an example of hypothesis takes says something of the machine's load, so
there is neither a deadline nor a complaint about slowness.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("llmos", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmos")
