"""What `experiments.detect` tells of scored examples: a table, a file of scores, a picture."""

import csv
import dataclasses
import io
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np

from experiments.figures import heat_map
from sae_jax import errors, files
from sae_jax.analysis import novelty
from sae_jax.data import base

_SHOWN = 10  # Rows of the table, and columns of the picture.


@dataclasses.dataclass(frozen=True)
class Findings:
    """Scored examples.

    Attributes:
      spec: what is known of their data set.
      encoded: the examples, and what the model makes of them.
      scores: `[n]` each, by kind.
      kind: which of them decides.
      flagged: bool `[n]`.
      names: of the examples, if they have any.
      anomalous: bool `[n]`, what is known to be an anomaly, if that is known.
    """

    spec: base.Spec
    encoded: novelty.Encoded
    scores: dict[str, np.ndarray]
    kind: str
    flagged: np.ndarray
    names: list[str] | None
    anomalous: np.ndarray | None

    def worst(self) -> np.ndarray:
        """Returns the rows with the highest scores, the highest first."""
        return np.argsort(-self.scores[self.kind], kind="stable")[:_SHOWN]

    def table(self) -> str:
        """Returns the worst rows as text."""
        names = [self._name(row) for row in self.worst()]
        width = max(len(name) for name in [*names, "row"])
        lines = [f"{'row':>{width}}" + "".join(f"{kind:>12}" for kind in self.scores)]
        for name, row in zip(names, self.worst(), strict=True):
            cells = "".join(f"{score[row]:>12.4g}" for score in self.scores.values())
            lines.append(f"{name:>{width}}{cells}{'  flagged' if self.flagged[row] else ''}")
        return "\n".join(lines)

    def separation(self) -> str:
        """Returns as text how well each score tells known anomalies from normal examples."""
        assert self.anomalous is not None
        count = int(self.anomalous.sum())
        hits = self.flagged[self.anomalous].mean()
        false = self.flagged[~self.anomalous].mean()
        lines = [
            f"of {count:,} anomalies {100 * hits:.3g} % are flagged, of "
            f"{len(self.anomalous) - count:,} normal examples {100 * false:.3g} %",
            f"{'':>10}{'AUROC, %':>10}{'AP, %':>8}",
        ]
        for kind, score in self.scores.items():
            got = novelty.separation(score, self.anomalous)
            lines.append(f"{kind:<10}{100 * got['auroc']:>10.2f}{100 * got['ap']:>8.2f}")
        return "\n".join(lines)

    def write(self, out: Path) -> list[Path]:
        """Writes scores.csv and, for pictures, worst.png into a folder; returns the files.

        Each is there whole, as it was before or new.
        """
        contents = {"scores.csv": self._csv().encode()}
        if self.spec.image_shape is not None:
            contents["worst.png"] = self._picture()
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                files.replace(out / name, content)
        except OSError as error:
            raise errors.UserError(
                f"cannot write to {out} ({error.strerror}): name another folder with --out"
            ) from error
        return [out / name for name in contents]

    def _name(self, row: int) -> str:
        return str(row) if self.names is None else self.names[row]

    def _csv(self) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["row", *([] if self.names is None else ["file"]), *self.scores, "flagged"])
        for row in range(len(self.flagged)):
            name = [] if self.names is None else [self.names[row]]
            scores = [f"{score[row]:.7g}" for score in self.scores.values()]
            rows.writerow([row, *name, *scores, int(self.flagged[row])])
        return text.getvalue()

    def _picture(self) -> bytes:
        worst = self.worst()
        figure = Figure(figsize=heat_map.SIZE, layout="constrained", dpi=130)
        below = [f"{self._name(row)}\n{self.scores[self.kind][row]:.3g}" for row in worst]
        groups = {"": heat_map.Pictures(self.encoded[worst], below)}
        assert self.spec.image_shape is not None
        heat_map.draw({"groups": groups, "shape": self.spec.image_shape}, figure)
        content = io.BytesIO()
        figure.savefig(content, format="png")
        return content.getvalue()
