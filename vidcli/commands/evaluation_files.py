"""What `vidcli eval` leaves on disk: answers, scores, pictures, and the scores in the run's model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.evaluate.measurement import Measurement
    from vidcli.runtime.outputs import OutputFolder


def write_evaluation(
    terminal: Terminal,
    folder: OutputFolder | None,
    numbers: dict[str, Any],
    items: Sequence[VideoItem],
    measured: Measurement,
) -> None:
    """Write the answers, the scores and their pictures.

    Args:
        terminal: to say on what was written.
        folder: to write to; None for a published model.
        numbers: what `vidcli eval --json` prints.
        items: the videos.
        measured: their answers and scores.
    """
    from vidcli import report
    from vidcli.evaluate import predictions_csv
    from vidcli.evaluate.multilabel import MultiLabelEvaluation
    from vidcli.fonts import picture_names

    if folder is None:
        terminal.say("nothing written: a published model has no folder; --out DIR keeps all of this")
        return
    scores = measured.scores
    folder.write_text("predictions.csv", predictions_csv(items, measured.predictions, scores.class_names))
    folder.write_text("eval.json", json.dumps(numbers, indent=1) + "\n")
    is_multi_label = isinstance(scores, MultiLabelEvaluation)
    if not isinstance(scores, MultiLabelEvaluation):
        folder.write("confusion.png", lambda path: report.draw_confusion(scores, path))
        if (note := picture_names(scores.class_names).note) is not None:
            terminal.warn(note)
    if (calibration := scores.calibration) is not None:
        folder.write(
            "reliability.png", lambda path: report.draw_reliability(calibration, path, is_multi_label)
        )
    folder.remove_earlier()
    terminal.say(f"wrote predictions.csv, eval.json and pictures to {folder.folder}")
    _refresh_card(terminal, numbers, folder.folder)


def _refresh_card(terminal: Terminal, numbers: dict[str, Any], folder: Path) -> None:
    """Write the scores into the model card, where a run was measured on its own data, in its own folder."""
    from vidcli.artifacts.run_folder import MODEL_FILE
    from vidcli.report.model_card import write_card

    model_file = Path(numbers["model"])
    is_own = numbers["data"] is None and folder.parent == model_file.parent
    if is_own and model_file.name == MODEL_FILE and (obstacle := write_card(model_file.parent)) is not None:
        terminal.warn(obstacle)
