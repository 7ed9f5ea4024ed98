"""The results as bars: a picture in SVG, for light and for dark surroundings."""

from __future__ import annotations

from html import escape

from benchmarks.netcats import PYNC
from benchmarks.report import cell, rows_of, tables
from benchmarks.trials import Results, Row, Table

WIDTH = 1000
MARGIN = 28
GUTTER = 44  # between two columns of panels
PANEL = (WIDTH - 2 * MARGIN - GUTTER) // 2
NAMES = 116  # before the bars
NUMBERS = 78  # after them
BAR, PITCH = 11, 16
HEAD = 76
STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  .paper { fill: #ffffff; stroke: #d8dee4 } .ink { fill: #1f2328 } .pale { fill: #656d76 }
  .bar { fill: #c3cad2 } .ours { fill: #0969da } .rule { stroke: #d8dee4 }
  .title { font-size: 21px; font-weight: 600 } .head { font-size: 15px; font-weight: 600 }
  .strong { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #30363d } .ink { fill: #e6edf3 } .pale { fill: #8d96a0 }
    .bar { fill: #444c56 } .ours { fill: #4493f8 } .rule { stroke: #30363d }
  }
"""


class Canvas:
    """SVG elements, from the top down."""

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y
        self.elements: list[str] = []

    def text(self, x: float, text: str, style: str, anchor: str = "start") -> None:
        self.elements.append(
            f'<text x="{self.x + x:g}" y="{self.y:g}" class="{style}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def bar(self, x: float, width: float, style: str) -> None:
        self.elements.append(
            f'<rect x="{self.x + x:g}" y="{self.y - BAR + 1.5:g}" width="{width:.1f}" '
            f'height="{BAR}" rx="2" class="{style}"/>'
        )

    def rule(self) -> None:
        ends = f'x1="{self.x:g}" x2="{self.x + PANEL:g}" y1="{self.y:g}" y2="{self.y:g}"'
        self.elements.append(f'<line {ends} class="rule"/>')


def chart(results: Results, caption: str) -> str:
    columns = [Canvas(MARGIN, HEAD), Canvas(MARGIN + PANEL + GUTTER, HEAD)]
    for table in tables(results):
        shorter = min(columns, key=lambda column: column.y)
        panel(table, results, shorter)
    height = max(column.y for column in columns) + MARGIN
    head = Canvas(MARGIN, 38)
    head.text(0, "pync beside other netcats", "title ink")
    head.text(WIDTH - 2 * MARGIN, caption, "pale", "end")
    elements = [*head.elements, *(element for column in columns for element in column.elements)]
    return document(height, elements)


def document(height: float, elements: list[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>pync beside other netcats</title>",
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8" class="paper"/>',
        *elements,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def panel(table: Table, results: Results, canvas: Canvas) -> None:
    canvas.y += 14
    canvas.text(0, table.title, "head ink")
    good = "longer" if table.more_is_better else "shorter"
    canvas.text(PANEL, f"{good} is better", "pale", "end")
    canvas.y += 9
    canvas.rule()
    for row in rows_of(table, results):
        group(row, results, canvas)
    canvas.y += 26


def group(row: Row, results: Results, canvas: Canvas) -> None:
    """One row's bars.  The longest of its table and unit fills the panel."""
    canvas.y += 20
    canvas.text(0, f"{row.label}, {row.unit}", "ink")
    longest = max(
        (measured.median or 0)
        for other, cells in results.items()
        if (other.table, other.unit) == (row.table, row.unit)
        for measured in cells.values()
    )
    for name, measured in results[row].items():
        canvas.y += PITCH
        ours = name == PYNC.name
        width = (measured.median or 0) / (longest or 1) * (PANEL - NAMES - NUMBERS)
        canvas.text(NAMES - 8, name, "strong ink" if ours else "pale", "end")
        canvas.bar(NAMES, max(width, 1), "ours" if ours else "bar")
        canvas.text(NAMES + max(width, 1) + 6, cell(measured), "strong ink" if ours else "pale")
    canvas.y += 4
