"""Secrets kept out of everything that is shown or stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

HIDDEN = "[secret]"
# A shorter text is no secret worth the name and would blank out ordinary words.
SHORTEST = 4

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Redaction:
    """Replaces every known secret, however deep in a structure of dicts, lists and texts."""

    secrets: tuple[str, ...] = ()

    def __call__(self, value: Shape) -> Shape:
        return self._clean(value) if self.secrets else value

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self.secrets:
                value = value.replace(secret, HIDDEN)
            return value
        if isinstance(value, dict):
            return {self._clean(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(item) for item in value]
        # A number is hidden where it is a secret, not where one is a part of it.
        return HIDDEN if str(value) in self.secrets else value


def texts_in(value: Any) -> Iterator[str]:
    """Every text and number within a value, as text: what would give it away."""
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)
    elif value is not None and not isinstance(value, bool):
        yield value if isinstance(value, str) else str(value)


def redaction(secrets: Iterable[str]) -> Redaction:
    """A redaction of the secrets, each also as it looks line by line and within JSON; longest first."""
    plain = {text.strip() for secret in secrets for text in (secret, *secret.splitlines())}
    quoted = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in plain for ascii_only in (True, False)}
    texts = plain | quoted
    return Redaction(tuple(sorted((text for text in texts if len(text) >= SHORTEST), key=len, reverse=True)))
