"""The report: figures and one self-contained HTML page."""

from culnig.report.page import render_report

__all__ = ["render_report"]
