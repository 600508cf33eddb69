"""What the mails say, one file a language in ``languages/``."""

import tomllib
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files

FALLBACK = "en"
"""The language of those who have set none, or one that there is no catalogue for."""


class Catalogue:
    """The sentences of one language, by dotted keys such as ``reset.subject``."""

    def __init__(self, language: str, content: dict[str, object]) -> None:
        self.language = language
        """BCP 47, as in the ``lang`` of the HTML."""
        self._months = _months_of(content)
        self.sentences = dict(_flat("", content))
        """Every sentence as it is written, with its names in braces."""

    def say(self, key: str, **values: object) -> str:
        """A sentence with its names filled in; ``KeyError`` for one that there is none of."""
        return self.sentences[key].format(**values)

    def moment(self, moment: datetime) -> str:
        """A time in UTC, to the minute."""
        return self.say(
            "frame.date",
            day=moment.day,
            month=self._months[moment.month - 1],
            year=moment.year,
            time=f"{moment:%H:%M}",
        )


def catalogue_for(language: str) -> Catalogue:
    """The catalogue for a language tag (BCP 47) as people set it: ``de-AT`` and ``DE`` mean German;
    English for everything that there is no catalogue for."""
    primary = language.replace("_", "-").partition("-")[0].lower()
    return CATALOGUES.get(primary, CATALOGUES[FALLBACK])


def _months_of(content: dict[str, object]) -> tuple[str, ...]:
    frame = content["frame"]
    assert isinstance(frame, dict), "a table"
    return tuple(frame.pop("months"))


def _flat(prefix: str, table: dict[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", str(value)


def _load() -> dict[str, Catalogue]:
    found = {}
    for file in files("server.auth.mails").joinpath("languages").iterdir():
        language, _, suffix = file.name.partition(".")
        if suffix == "toml":
            content = tomllib.loads(file.read_text(encoding="utf-8"))
            found[language] = Catalogue(language, content)
    return found


CATALOGUES = _load()
"""Every catalogue that is shipped, by its language."""
