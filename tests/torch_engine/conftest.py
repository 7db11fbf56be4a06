"""Before torch is imported: its threads wait asleep, as in the engine's own process."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
