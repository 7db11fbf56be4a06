"""The configuration: what is read from where, and what is refused before a kernel starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipc.errors import BadConfigError
from kernel.config import KernelConfig, load_config


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('turn_slots = 3\nturn_policy = "srpt"\n')

    config = load_config(path, {"LLMOS_TURN_SLOTS": "5", "LLMOS_HOME": "elsewhere"})

    assert (config.turn_slots, config.turn_policy) == (5, "srpt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("start_timeout_s", "inf"),
        ("dead_letter_age_s", "1e20"),
        ("lease_s", "nan"),
        ("stop_grace_s", "1e6"),
        ("turn_slots", "0"),
        ("turn_slots", "many"),
        ("window_messages", "1" + "0" * 20),
    ],
)
def test_a_value_that_no_clock_or_counter_holds_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(BadConfigError, match=rf"^configuration: {name}: \w.*\(got '{text}'\)$"):
        load_config(None, {f"LLMOS_{name.upper()}": text})


def test_an_unknown_key_of_a_file_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("turn_slot = 3\n")

    with pytest.raises(BadConfigError, match="unknown key 'turn_slot'; known are access"):
        load_config(path, {})


def test_every_default_is_within_its_own_limits() -> None:
    assert KernelConfig(**KernelConfig().model_dump()) == KernelConfig()
