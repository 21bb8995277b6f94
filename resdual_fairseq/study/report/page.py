"""What a report consists of; templates turn it into HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, FrozenSet, List, Optional, Sequence, Tuple, Union


@dataclass(frozen=True)
class Paragraph:
    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Items:
    kind: ClassVar[str] = "items"
    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        align: ``l`` or ``r`` of each column.
        marked: rows that stand out.
        folded: whether it opens on a click, for it is long.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    marked: FrozenSet[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure; ``svg`` is None where there is nothing to draw, and the caption says why."""

    kind: ClassVar[str] = "picture"
    name: str
    title: str
    caption: str
    svg: Optional[str]
    panels: int = 1


@dataclass(frozen=True)
class Commands:
    """Command lines of several runs, folded."""

    kind: ClassVar[str] = "commands"
    title: str
    parts: Sequence[Tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Example:
    """One test sentence: its texts by what they are."""

    kind: ClassVar[str] = "example"
    title: str
    texts: Sequence[Tuple[str, str]]


Block = Union[Paragraph, Items, Table, Picture, Commands, Example]


@dataclass(frozen=True)
class Section:
    """A part of the detail; ``name`` is where links lead."""

    name: str
    title: str
    blocks: List[Block] = field(default_factory=list)


@dataclass(frozen=True)
class CriterionRow:
    """A criterion; ``state`` is ``holds``, ``fails`` or ``open``."""

    state: str
    mark: str
    word: str
    name: str
    measured: str
    asked: str


@dataclass(frozen=True)
class Front:
    """The page for whoever decides; ``decision`` is a name for the style sheet."""

    title: str
    question: str
    decision: str
    headline: str
    reason: str
    interim: str
    criteria: List[CriterionRow]
    pictures: List[Picture]
    costs: List[Block]
    risks: List[str]
    changes: List[str]


@dataclass(frozen=True)
class Report:
    """The whole."""

    language: str
    front: Front
    sections: List[Section]

    @property
    def pictures(self) -> List[Picture]:
        """Every figure that has something to show."""
        blocks = [block for section in self.sections for block in section.blocks]
        found = [*self.front.pictures, *(one for one in blocks if isinstance(one, Picture))]
        return [picture for picture in found if picture.svg is not None]
