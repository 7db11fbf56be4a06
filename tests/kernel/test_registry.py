"""kernel/registry.py: names, who may look them up, and the spawn tree."""

from __future__ import annotations

from kernel.config import AccessRule
from kernel.registry import NameTable, SpawnTree


def test_a_name_leads_to_its_actor_until_it_is_released() -> None:
    names = NameTable(())
    names.claim("billing", 4)

    assert names.find("billing") == 4
    assert list(names) == ["billing"]
    names.release("billing")
    assert names.find("billing") is None


def test_a_misspelt_name_is_answered_with_those_like_it() -> None:
    names = NameTable(())
    for number, name in enumerate(("billing", "writer", "biling-2")):
        names.claim(name, number)

    assert names.suggest("bililng")[:1] in (["billing"], ["biling-2"])
    assert names.suggest("zzzz") == []


def test_without_a_rule_everybody_may_look_up() -> None:
    assert NameTable(()).may_look_up("anybody", "anything")


def test_the_first_rule_that_fits_decides() -> None:
    rules = (
        AccessRule(subject="triage", name="team.*", allow=True),
        AccessRule(name="team.*", allow=False),
    )
    names = NameTable(rules)

    assert names.may_look_up("triage", "team.red")
    assert not names.may_look_up("writer", "team.red")
    assert names.may_look_up("writer", "public")


def test_children_are_listed_in_the_order_they_were_started() -> None:
    tree = SpawnTree()
    for child in (5, 3, 4):
        tree.add(1, child)

    tree.remove(1, 3)

    assert tree.children(1) == [5, 4]
    assert tree.children(9) == []


def test_descendants_come_after_their_parents() -> None:
    tree = SpawnTree()
    for parent, child in ((1, 2), (2, 3), (1, 4), (3, 5)):
        tree.add(parent, child)

    assert tree.descendants(1) == [2, 4, 3, 5]


def test_removing_what_is_not_there_does_nothing() -> None:
    tree = SpawnTree()

    tree.remove(1, 2)

    assert tree.children(1) == []
