"""Exit codes and advice."""

import pytest

from actors.cli.exits import MEANINGS, Exit, advice_for, exit_for, table
from ipc.errors import BY_CODE, AskTimeoutError, LLMOSError


def example(cls: type[LLMOSError]) -> LLMOSError:
    """Return an error of the class with some text in every field."""
    return cls(**{name: f"<{name}>" for name in cls.field_names()})


@pytest.mark.parametrize("cls", BY_CODE.values(), ids=lambda cls: cls.__name__)
def test_every_error_of_the_catalogue_ends_with_a_documented_code(cls: type[LLMOSError]) -> None:
    code = exit_for(example(cls))

    assert code in MEANINGS
    assert code is not Exit.OK
    assert f"{int(code)}  " in table()


def test_exit_codes_keep_their_numbers() -> None:
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "NO_KERNEL": 3,
        "NOT_FOUND": 4,
        "DENIED": 5,
        "OVERLOADED": 6,
        "TIMEOUT": 7,
        "BAD_CLASS": 8,
        "OPERATOR": 9,
        "BUG": 70,
        "INTERRUPTED": 130,
    }


def test_an_error_of_an_unknown_code_still_has_an_exit_code() -> None:
    class Newer(LLMOSError):
        code = 277

    assert exit_for(Newer(reason="x")) is Exit.TIMEOUT
    assert advice_for(Newer(reason="x")) is None


def test_who_got_no_answer_in_time_is_told_where_to_look() -> None:
    assert "llmos model ls" in (advice_for(AskTimeoutError(receiver="kernel")) or "")
