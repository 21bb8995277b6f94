"""The report of a study: a page for whoever decides, and the detail behind it."""

from .render import write_report, write_tables

__all__ = ["write_report", "write_tables"]
