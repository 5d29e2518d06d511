"""What a benchmark hands back, and how it is kept: table on the terminal, samples as JSON, plot as SVG."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

from bench.suite.figures import markdown  # noqa: E402

# Without these two, the same figures give another file at each run.
plt.rcParams.update({"svg.hashsalt": "remus", "figure.figsize": (7, 4), "axes.grid": True, "grid.alpha": 0.3})


@dataclass
class Target:
    """A figure to reach, and whether this run reached it."""

    what: str
    limit: str
    measured: str
    reached: bool


@dataclass
class Result:
    name: str
    title: str
    columns: list[str]
    rows: list[list]
    samples: dict | list
    plot: Callable[[plt.Axes], None]
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        parts = [f"## {self.title}", "", markdown(self.columns, self.rows)]
        if self.notes:
            parts += ["", *self.notes]
        for target in self.targets:
            verdict = "reached" if target.reached else "NOT reached"
            parts += ["", f"Target: {target.what} {target.limit}: {target.measured}, {verdict}."]
        return "\n".join(parts) + "\n"

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{self.name}.md").write_text(self.text(), encoding="utf-8")
        content = {
            "title": self.title,
            "columns": self.columns,
            "rows": self.rows,
            "targets": [target.__dict__ for target in self.targets],
            "samples": self.samples,
        }
        (directory / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        figure, axes = plt.subplots()
        self.plot(axes)
        axes.set_title(self.title, fontsize=10)
        figure.tight_layout()
        figure.savefig(directory / f"{self.name}.svg", metadata={"Date": None})
        plt.close(figure)
