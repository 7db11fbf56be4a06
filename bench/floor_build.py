"""Compile the C++ floor programs, so that a bench and its floor are measured in one run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FLOORS = Path(__file__).resolve().parent / "floors"


def build_floor(name: str) -> Path:
    """Return the program of floors/NAME.cpp, compiled now unless it is newer than its source.

    Raises:
        subprocess.CalledProcessError, FileNotFoundError: $CXX (or g++) failed, or is absent.
    """
    source, program = FLOORS / f"{name}.cpp", FLOORS / "build" / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        compiler = os.environ.get("CXX", "g++")
        command = [compiler, "-std=c++17", "-O3", "-march=native", "-o", program, source]
        subprocess.run(command, check=True)
    return program
