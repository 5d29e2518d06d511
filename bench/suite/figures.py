"""Medians, quantiles, tables as text and Markdown."""

import statistics


def median(values: list) -> float:
    return float(statistics.median(values)) if values else float("nan")


def quantile(values: list, q: float) -> float:
    """The value at rank q (0..1), no interpolation: one that was really measured."""
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(q * len(ordered)))]) if ordered else float("nan")


def show(value) -> str:
    if isinstance(value, float):
        if value != value:
            return "-"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
    return str(value)


def markdown(columns: list[str], rows: list[list]) -> str:
    """A table people can read in a terminal and GitHub can draw."""
    cells = [columns, *[[show(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
