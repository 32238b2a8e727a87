"""The closed formula language of rule data. TO BE WRITTEN: see the class contract."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Formula:
    text: str

    def value(self, names: Mapping[str, object]) -> object:
        raise NotImplementedError
