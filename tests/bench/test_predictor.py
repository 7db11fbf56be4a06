"""The replay that judges the predictor, on queues with a known answer, and the traces it reads."""

import gzip
import random
from pathlib import Path

import pytest

from bench.predictor import Trial, gains, replay
from bench.request_trace import generated_requests, read_requests


def run(arrivals: list[float], services: list[float], slots: int, shortest: bool) -> float:
    key = services.__getitem__ if shortest else float
    return replay(arrivals, services, key, slots, lambda _: None)


def test_the_shortest_waiting_request_goes_first() -> None:
    arrivals, services = [0.0, 1.0, 2.0], [10.0, 8.0, 1.0]

    assert run(arrivals, services, 1, shortest=False) == (0 + 9 + 16) / 3
    assert run(arrivals, services, 1, shortest=True) == (0 + 8 + 10) / 3
    assert run(arrivals, services, 2, shortest=True) == (0 + 0 + 7) / 3
    assert run(arrivals, services, 3, shortest=True) == 0


def test_guesses_without_meaning_cost_nothing_on_average() -> None:
    numbers = random.Random(3)
    arrivals, services, now = [], [], 0.0
    for _ in range(20_000):
        now += numbers.expovariate(0.8)
        arrivals.append(now)
        services.append(numbers.expovariate(1))
    noise = [numbers.random() for _ in arrivals]

    wait = replay(arrivals, services, noise.__getitem__, 1, lambda _: None)

    assert wait == pytest.approx(run(arrivals, services, 1, shortest=False), rel=0.05)


def test_programs_with_habits_are_learned() -> None:
    gain, *_ = gains(Trial("generated", generated_requests()), 1)[0]

    assert gain.floor is not None
    assert gain.value > max(0.7, 1.5 * gain.floor)


def test_both_formats_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    azure = tmp_path / "a.csv.gz"
    azure.write_bytes(
        gzip.compress(
            b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
            b"2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:48.1805900,5,6\n"
        )
    )
    mooncake = tmp_path / "m.jsonl"
    line = '{"timestamp": 1500, "input_length": 513, "output_length": 7, "hash_ids": [0, 9]}\n'
    mooncake.write_text(line)

    first, second = read_requests(azure)
    assert (first.arrival_s, second.arrival_s) == (0, pytest.approx(1.5))
    assert (second.prompt_tokens, second.output_tokens) == (5, 6)
    assert read_requests(mooncake)[0].ids == (0, 9)

    mooncake.write_text(line + '{"timestamp": 1}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_requests(mooncake)
