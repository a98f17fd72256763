"""Secrets kept out of everything that is shown or stored."""

from __future__ import annotations

from collections.abc import Iterable
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
        return value


def redaction(secrets: Iterable[str]) -> Redaction:
    """A redaction of the secrets, each also as it looks line by line; longest first, so that no part is left."""
    texts = {text.strip() for secret in secrets for text in (secret, *secret.splitlines())}
    return Redaction(tuple(sorted((text for text in texts if len(text) >= SHORTEST), key=len, reverse=True)))
