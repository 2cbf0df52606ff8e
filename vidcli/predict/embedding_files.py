"""Files of embeddings: NumPy's `.npz` without pickled objects, and Parquet; nearest neighbours as a table.

Each has a row a video: its embedding, `path`, `label`, `group`, `start`, `end` (seconds, NaN or null at the
end of the file), `predicted`, `probability`, `track` (empty for whole pictures), and `cluster` where clusters
were formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from vidcli.arrays import Float64, Int64
from vidcli.data.items import LABEL_SEPARATOR
from vidcli.errors import ConfigError
from vidcli.predict.embedding import Embedding, stack_vectors
from vidcli.sheets import csv_text, shown_cell

SUFFIXES = (".npz", ".parquet")
NEIGHBOUR_COLUMNS = (
    *("path", "label", "group", "rank"),
    *("neighbour", "neighbour_label", "neighbour_group", "similarity", "track", "neighbour_track"),
)


def check_suffix(path: Path) -> None:
    """Refuse a file whose name does not say how to write it.

    Raises:
        ConfigError: says what would do.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output {path}: expected a name that ends with {' or '.join(SUFFIXES)}")


def write_embeddings(path: Path, embeddings: Sequence[Embedding], cluster_N: Int64 | None) -> None:
    """Write embeddings in the form that the name of the file asks for.

    Args:
        path: the file.
        embeddings: none of which failed.
        cluster_N: number of the cluster of each, from 1; None where none were formed.
    """
    if path.suffix.lower() == ".npz":
        columns: dict[str, Any] = {
            name: np.array(values, dtype=np.float64 if name in ("start", "end", "probability") else None)
            for name, values in _columns(embeddings, cluster_N).items()
        }
        np.savez_compressed(path, embeddings=stack_vectors(embeddings), **columns)
        return
    vectors_NE = stack_vectors(embeddings)
    flat = pa.array(vectors_NE.reshape(-1), pa.float32())
    table = {
        "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors_NE.shape[1]),
        **_columns(embeddings, cluster_N),
    }
    pyarrow.parquet.write_table(pa.table(table), path)


def _columns(embeddings: Sequence[Embedding], cluster_N: Int64 | None) -> dict[str, list[Any]]:
    items = [embedding.item for embedding in embeddings]
    columns: dict[str, list[Any]] = {
        "path": [str(item.path) for item in items],
        "label": [item.label for item in items],
        "group": [item.group or "" for item in items],
        "start": [item.start_seconds for item in items],
        "end": [item.end_seconds for item in items],
        "predicted": [LABEL_SEPARATOR.join(embedding.prediction.labels) for embedding in embeddings],
        "probability": [embedding.prediction.probability for embedding in embeddings],
        "track": [item.track or "" for item in items],
    }
    return columns if cluster_N is None else columns | {"cluster": cluster_N.tolist()}


def neighbour_rows(
    embeddings: Sequence[Embedding], neighbours_NM: Int64, similarities_NM: Float64
) -> list[dict[str, Any]]:
    """Return a row under `NEIGHBOUR_COLUMNS` for each video and neighbour, the nearest first.

    Args:
        embeddings: of the videos.
        neighbours_NM: the positions of the neighbours of each.
        similarities_NM: their cosine similarities, -1 to 1.
    """
    rows = []
    for embedding, neighbours, similarities in zip(embeddings, neighbours_NM, similarities_NM, strict=True):
        item = embedding.item
        for rank, (position, similarity) in enumerate(zip(neighbours, similarities, strict=True), start=1):
            other = embeddings[position].item
            values = (str(item.path), item.label, item.group or "", rank)
            others = (str(other.path), other.label, other.group or "", float(similarity))
            tracks = item.track or "", other.track or ""
            rows.append(dict(zip(NEIGHBOUR_COLUMNS, (*values, *others, *tracks), strict=True)))
    return rows


def neighbours_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of `neighbour_rows` as CSV."""
    return csv_text([NEIGHBOUR_COLUMNS, *([shown_cell(cell) for cell in row.values()] for row in rows)])
