"""kernel/llm/registry.py: versions of a name are kept apart, and one model is in use."""

import pytest

from ipc.errors import UnknownModelError
from ipc.llm import EMBEDDED_MODEL, ModelSpec
from kernel.llm.registry import ModelRegistry


def test_the_embedded_model_is_there_and_in_use() -> None:
    models = ModelRegistry()

    assert models.resolve(None).name == EMBEDDED_MODEL


def test_adding_a_name_again_makes_its_next_version_and_keeps_the_first() -> None:
    models = ModelRegistry()
    first = models.add(ModelSpec(name="a", path="/one"))
    second = models.add(ModelSpec(name="a", path="/two"))

    assert models.resolve("a") is second
    assert models.resolve("a@1") is first
    assert (first.label, second.label) == ("a@1", "a@2")


def test_a_new_version_of_the_model_in_use_is_in_use() -> None:
    models = ModelRegistry()
    models.use(models.add(ModelSpec(name="a", path="/one")))
    second = models.add(ModelSpec(name="a", path="/two"))

    assert models.resolve(None) is second


def test_an_unknown_name_is_told_with_those_known() -> None:
    models = ModelRegistry()
    models.add(ModelSpec(name="b", path="/b"))

    with pytest.raises(UnknownModelError) as caught:
        models.resolve("c")

    assert caught.value.known == f"b, {EMBEDDED_MODEL}"


def test_a_removed_version_is_not_found_and_its_number_is_not_used_again() -> None:
    models = ModelRegistry()
    models.add(ModelSpec(name="a", path="/one")).is_removed = True

    with pytest.raises(UnknownModelError):
        models.resolve("a@1")
    assert models.add(ModelSpec(name="a", path="/two")).version == 2


def test_after_a_removed_version_the_one_before_it_is_in_use() -> None:
    models = ModelRegistry()
    first = models.add(ModelSpec(name="a", path="/one"))
    models.use(first)
    second, third = (models.add(ModelSpec(name="a", path=path)) for path in ("/two", "/three"))

    assert models.remove(third) == [third, second]
    assert models.resolve(None) is second
    assert models.remove(first) == [first]
    models.remove(second)
    assert models.resolve(None).name == EMBEDDED_MODEL


def test_what_is_journaled_is_read_again() -> None:
    models, again = ModelRegistry(), ModelRegistry()
    model = models.add(ModelSpec(name="a", endpoint="http://x"))
    model.engine_actors.append(7)
    models.use(model)

    again.load(model.name, model.version, model.to_row())

    assert again.resolve(None).to_row() == model.to_row()
    assert again.resolve("a").kind == "remote"
