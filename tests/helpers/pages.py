"""Reports of made-up findings, as text."""

import csv
from pathlib import Path
from typing import Dict, List
from xml.etree import ElementTree

from resdual_fairseq.study.analysis.table import Findings, Interval
from resdual_fairseq.study.report import write_report

RATIOS = {
    "step_seconds": Interval(1.02, 1.01, 1.03),
    "latency_p50": Interval(1.01, 0.99, 1.03),
    "memory_gib": Interval(1.05, 1.05, 1.05),
    "made_up_cost": Interval(1.5, 1.4, 1.6),
}
LIMITS = {"training_cost": 0.05, "latency": 0.05, "memory": 0.1}
XHTML = "{http://www.w3.org/1999/xhtml}"


def page(findings: Findings, folder: Path, language: str = "en", kind: str = "html") -> str:
    write_report(findings, folder, language)
    stem = "report" if language == "en" else f"report.{language}"
    return (folder / f"{stem}.{kind}").read_text(encoding="utf-8")


def words_of(html: str) -> str:
    """The text of a page, without its style and its drawings' shapes."""
    root = ElementTree.fromstring(html)
    for head in root.findall(f"{XHTML}head"):
        root.remove(head)
    return " ".join(" ".join(root.itertext()).split())


def rows(path: Path) -> List[Dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
