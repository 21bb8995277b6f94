"""Writes the report: HTML in one file, Markdown with its figures beside it, and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...errors import ResDualError
from ...files import replacing
from ..analysis.table import Findings
from .analysis import Analysis
from .csv_files import csv_files
from .front import front
from .markdown import Literal, escaped
from .page import Report
from .pictures import all_pictures
from .sections import sections
from .texts import Texts

TEMPLATES = Path(__file__).parent / "templates"
CONTROL = dict.fromkeys(code for code in (*range(32), 127) if chr(code) not in "\t\n")
"""Characters that logs may hold and no page can."""


def write_report(findings: Findings, folder: Path, language: str = "en") -> List[Path]:
    """Write the report of what has been found so far; equal findings give equal bytes.

    Args:
        folder: is made where it is missing.
        language: ``en`` or ``ja``; CSV is the same in both.

    Returns:
        the files written: ``report.html``, ``report.md`` and its figures (in Japanese
        ``report.ja.html`` and so on), ``runs.csv``, ``comparisons.csv``, ``costs.csv``.

    Raises:
        ResDualError: a file cannot be written.
    """
    say, analysis = Texts(language), Analysis(findings)
    pictures = all_pictures(analysis, say)
    report = Report(language, front(analysis, say, pictures), sections(analysis, say, pictures))
    stem = "report" if language == "en" else f"report.{language}"
    texts = {
        f"{stem}.html": html(report, say),
        f"{stem}.md": markdown(report, say, stem),
        **{f"{stem}.{one.name}.svg": alone(str(one.svg)) for one in report.pictures},
        **csv_files(analysis),
    }
    return write_all(texts, folder)


def write_tables(findings: Findings, folder: Path) -> List[Path]:
    """Write the CSV files of a report alone; returns their paths."""
    return write_all(csv_files(Analysis(findings)), folder)


def write_all(texts: Dict[str, str], folder: Path) -> List[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResDualError(
            f"{folder} cannot be made ({error.strerror}); name another folder"
        ) from error
    for name, text in texts.items():
        with replacing(folder / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


def printable(value: Any) -> Any:
    return value.translate(CONTROL) if isinstance(value, str) else value


def html(report: Report, say: Texts) -> str:
    environment = engine(autoescape=True, finalize=printable)
    return environment.get_template("report.html.j2").render(report=report, say=say, svg=Markup)


def markdown(report: Report, say: Texts, stem: str) -> str:
    """Escaped by Markdown's rules, not HTML's: every value passes through ``escaped``."""
    environment = engine(autoescape=False, finalize=lambda value: printable(escaped(value)))
    template = environment.get_template("report.md.j2")
    return template.render(report=report, say=say, stem=stem, literal=Literal)


def engine(**settings: Any) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **settings,
    )


def alone(svg: str) -> str:
    """A figure as a file of its own."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg
