"""Results as dictionaries that notebooks show as tables."""

from __future__ import annotations

import html
from typing import Any

#: Columns of tables of metrics, in order.
_SHOWN = ("rows", "positives", "auc", "gauc", "log_loss", "rmse", "ece", "calibration")


class Evaluation(dict[str, Any]):
    """Metrics of rows, as ``optmsm evaluate --json`` prints them: ``overall``, ``scenarios``, ``diagnostics`` …"""

    @property
    def auc(self) -> float | None:
        """AUC of all rows; None where they have one label."""
        auc: float | None = self["overall"].get("auc")
        return auc

    @property
    def log_loss(self) -> float:
        """Log loss of all rows."""
        loss: float = self["overall"]["log_loss"]
        return loss

    @property
    def by_scenario(self) -> dict[str, dict[str, Any]]:
        """Metrics by the name of the scenario."""
        return {one["scenario"]: one for one in self["scenarios"]}

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        lines = [*self["scenarios"], {"scenario": "all", **self["overall"]}]
        shown = [key for key in _SHOWN if any(isinstance(line.get(key), (int, float)) for line in lines)]
        cells = [[line["scenario"], *(_number(line.get(key)) for key in shown)] for line in lines if line.get("rows")]
        return ["scenario", *(key.replace("_", " ") for key in shown)], cells

    def __repr__(self) -> str:
        header, cells = self._rows()
        widths = [max(map(len, column)) for column in zip(header, *cells)]

        def line(row: list[str]) -> str:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            return "  ".join([row[0].ljust(widths[0]), *cells])

        return "\n".join(line(row).rstrip() for row in [header, *cells])

    def _repr_html_(self) -> str:
        return table(*self._rows())


class Page:
    """A page of HTML, which notebooks show."""

    def __init__(self, text: str):
        #: The whole page.
        self.html = text

    def _repr_html_(self) -> str:
        # In a frame of its own, so that its style stays there.
        return f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="720" style="border:0"></iframe>'

    def __repr__(self) -> str:
        return f"<a page of {len(self.html)} characters; .html is its text>"


class Comparison(dict[str, Any]):
    """The document that ``optmsm compare``, ``tune`` or ``bench`` prints with ``--json``; notebooks show its report."""

    def __init__(self, document: dict[str, Any], markdown: str = ""):
        super().__init__(document)
        #: The report as Markdown.
        self.markdown = markdown

    def __repr__(self) -> str:
        return self.markdown or super().__repr__()

    def _repr_markdown_(self) -> str:
        return self.markdown


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of HTML; the first column is of names."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
