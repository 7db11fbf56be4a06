"""structlog, without the packages with which it would draw tracebacks in colour.

It imports rich, and with it a fourth of all that a zygote imports, wherever rich is installed; we
log tracebacks as plain text. So rich is out of sight while structlog is imported, and may be
imported by anybody afterwards. Where structlog was imported before, nothing is done.

Promise: ``structlog`` of here is the package itself; import it from here in the kernel and in the
SDK. An agent whose own code wants structlog's coloured tracebacks gets plain ones.

Cost: none at a log line; a kernel and a zygote each start with 3.4 MiB less.
"""

from __future__ import annotations

import sys

_COLOURS = "rich"
_is_loaded = _COLOURS in sys.modules
if not _is_loaded:
    sys.modules[_COLOURS] = None  # type: ignore[assignment]  # an import of it fails
try:
    import structlog
finally:
    if not _is_loaded:
        del sys.modules[_COLOURS]

__all__ = ["structlog"]
