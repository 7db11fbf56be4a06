"""Errors of bytes, files and homes that an operator must look at. Codes 401 to 499."""

from __future__ import annotations

from ipc.errors.base import CorruptionError


class BadFrameError(CorruptionError):
    """A frame is malformed. It was counted and dropped at the edge."""

    code = 401
    template = "bad frame: {reason}"


class JournalCorruptError(CorruptionError):
    """The journal cannot be read. It is never overwritten."""

    code = 402
    template = "the journal {path} is damaged: {problem}. It was left as it is"


class JournalVersionError(CorruptionError):
    """The journal was written by a newer version. It is never overwritten."""

    code = 403
    template = "the journal {path} has format {found}, this version reads up to {known}"


class BadRecordError(CorruptionError):
    """A journal row or a state value cannot be decoded."""

    code = 404
    template = "bad record in {table}, key {key!r}: {problem}"


class JournalWriteError(CorruptionError):
    """A commit to the journal failed; the kernel ends before it emits anything."""

    code = 405
    template = "cannot write the journal {path}: {problem}"


class HomeInUseError(CorruptionError):
    """Another kernel has this home directory."""

    code = 406
    template = "the home {home} is in use by kernel process {pid}"


class BadHomeError(CorruptionError):
    """A kernel's directory cannot be made, written or trusted. Nothing was started."""

    code = 407
    template = "cannot use the directory {home}: {problem}"
