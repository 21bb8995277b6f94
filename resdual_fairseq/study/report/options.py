"""Options in which the arms differ from the baseline: what there is to maintain."""

from __future__ import annotations

from typing import Dict, List, Sequence

from .analysis import Analysis
from .formats import NOTHING
from .page import Block, Paragraph, Table
from .texts import Texts


def by_name(words: Sequence[str]) -> Dict[str, str]:
    """Options with their values, as one text each; what stands before the first one is ''."""
    found: Dict[str, List[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found[name] = [value] if value else []
        else:
            found.setdefault(name, []).append(word)
    return {name: " ".join(values) for name, values in found.items()}


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    rows = []
    theirs = by_name(analysis.spec.arms[analysis.baseline].options)
    theirs_dir = analysis.spec.arms[analysis.baseline].user_dir
    for arm in analysis.rivals:
        own, folder = by_name(analysis.spec.arms[arm].options), analysis.spec.arms[arm].user_dir
        for name in dict.fromkeys([*own, *theirs]):
            if own.get(name) != theirs.get(name):
                rows.append([arm, name, shown(own, name, say), shown(theirs, name, say)])
        if folder != theirs_dir:
            rows.append([arm, "--user-dir", str(folder or NOTHING), str(theirs_dir or NOTHING)])
    if not rows:
        return [Paragraph(say("no_options"))]
    head = [say("head_arm"), say("head_option"), say("head_its_value"), analysis.baseline]
    return [Table(say("table_options"), head, rows, "llll")]


def shown(options: Dict[str, str], name: str, say: Texts) -> str:
    """An option's value; one without a value is set, or it is not there."""
    return (options[name] or say("is_set")) if name in options else NOTHING
