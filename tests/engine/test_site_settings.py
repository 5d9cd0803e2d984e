"""What is true of all sections of site.yaml alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from elisa.engine.config import Site, parse_site
from elisa.engine.site_kinds import Section
from elisa.model.errors import SpecError


def below(section: type[Section]) -> Iterator[type[Section]]:
    for kind in section.__subclasses__():
        yield kind
        yield from below(kind)


@pytest.mark.parametrize("section", list(below(Section)))
def test_every_setting_says_what_it_means_in_one_sentence(section: type[Section]) -> None:
    said = {name: info.description or "" for name, info in section.model_fields.items()}

    assert [name for name, about in said.items() if not about.endswith(".")] == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("projects: {nlp: {share: 2}}", "did you mean `shares`?"),
        ("projects: {nlp: {per_user: {at_one: {jobs: 1}}}}", "did you mean `at_once`?"),
        ("loans: [{lendr: nlp}]", "did you mean `lender`?"),
    ],
)
def test_a_misspelt_setting_of_any_section_gets_a_hint(text: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_site(text, "site.yaml")

    assert hint in [problem.hint for problem in caught.value.problems]


def test_the_defaults_are_those_of_an_empty_file() -> None:
    assert parse_site("{}", "site.yaml") == Site()
