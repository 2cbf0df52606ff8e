"""`vidcli embed`: what a model sees of videos, as vectors, neighbours and clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vidcli.commands.app import LOOK_INSIDE, app, examples, open_terminal
from vidcli.commands.options import (
    WHOLE_PICTURES,
    BoxesOption,
    DataRootOption,
    DeviceOption,
    ModelOption,
    OverwriteOption,
    SplitOption,
    path,
)
from vidcli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vidcli.arrays import Float64, Int64
    from vidcli.console import Terminal
    from vidcli.data.items import VideoItem
    from vidcli.predict.embedding import Embedding
    from vidcli.predict.predictor import Predictor

_NUM_CLUSTERS = 8

EmbedDataArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder, manifest or shards; without it, the data of the run.", show_default=False, parser=path
    ),
]
EmbeddingsOption = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where to write them: .npz or .parquet.", parser=path
    ),
]
UnlabelledOption = Annotated[
    bool, typer.Option("--unlabelled", help="DATA is any folder of videos, whatever its folders mean.")
]
NeighboursOption = Annotated[
    int | None,
    typer.Option("--neighbours", min=1, metavar="N", help="Print the N nearest videos of each, as CSV."),
]
ContactSheetOption = Annotated[
    Path | None, typer.Option("--contact-sheet", metavar="PNG", help="Draw clusters of videos.", parser=path)
]
ClustersOption = Annotated[
    int | None,
    typer.Option(
        "--clusters",
        min=1,
        metavar="K",
        help="Number of clusters; without it, of classes, or 8.",
        show_default=False,
    ),
]


class EmbedOptions(NamedTuple):
    """What the command line of `vidcli embed` says.

    Attributes:
        data: folder or manifest; None is the run's own data.
        data_root: where the run's own data is now, if it moved.
        model: run directory or model file; None is the usual one.
        split: train, val, test or all.
        output: file of embeddings.
        unlabelled: data is any folder of videos.
        neighbours: number of neighbours to print; None prints none.
        contact_sheet: picture of clusters to draw; None draws none.
        clusters: their number; None is that of the classes.
        device: as --device says.
        overwrite: replace files that are in the way of outputs.
        as_json: print neighbours as JSON lines.
        boxes: of subjects, for windows around them; None takes those of the run.
    """

    data: Path | None
    data_root: Path | None
    model: Path | None
    split: str
    output: Path
    unlabelled: bool
    neighbours: int | None
    contact_sheet: Path | None
    clusters: int | None
    device: str
    overwrite: bool
    as_json: bool
    boxes: Path | None


@app.command(
    rich_help_panel=LOOK_INSIDE,
    epilog=examples(
        "vidcli embed videos/ --model runs/mine -o videos.npz",
        "vidcli embed videos/ -o v.npz --neighbours 5",
        "vidcli embed -o v.npz --contact-sheet clusters.png",
    ),
)
def embed(
    ctx: typer.Context,
    output: EmbeddingsOption,
    data: EmbedDataArgument = None,
    model: ModelOption = None,
    split: SplitOption = "all",
    unlabelled: UnlabelledOption = False,
    neighbours: NeighboursOption = None,
    contact_sheet: ContactSheetOption = None,
    clusters: ClustersOption = None,
    device: DeviceOption = "auto",
    data_root: DataRootOption = None,
    boxes: BoxesOption = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print neighbours as lines of JSON.")] = False,
) -> None:
    """Write what the head of a model sees of each video, or of each subject in it, as a vector.

    What goes into the head is averaged over the frames and views of the video.
    """
    if as_json and neighbours is None:
        raise typer.BadParameter("--json is about the neighbours; it goes with --neighbours N")
    if clusters is not None and contact_sheet is None:
        raise typer.BadParameter("--clusters goes with --contact-sheet FILE")
    if unlabelled and data is None:
        raise typer.BadParameter("--unlabelled is about DATA; name a folder of videos")
    options = EmbedOptions(
        *(data, data_root, model, split, output, unlabelled, neighbours, contact_sheet, clusters),
        *(device, overwrite, as_json, boxes),
    )
    raise typer.Exit(run_embed(open_terminal(ctx), options))


def run_embed(terminal: Terminal, options: EmbedOptions) -> int:
    """Embed videos and write what is asked for; return the exit code: 1 if a video failed."""
    from vidcli.artifacts.run_folder import files_of_model, find_model
    from vidcli.data.outputs_afar import open_output
    from vidcli.predict import Predictor
    from vidcli.predict.embedding import Embedder, embed_all
    from vidcli.predict.embedding_files import check_suffix, write_embeddings
    from vidcli.predict.predictor import with_boxes
    from vidcli.runtime.devices import choose_device

    check_suffix(options.output)
    model_file = find_model(options.model)
    predictor = Predictor.load(model_file, choose_device(options.device))
    if options.boxes is not None:
        predictor = with_boxes(predictor, options.boxes)
    embedder = Embedder(predictor, options.model or model_file)
    items = _read_items(terminal, options, model_file, predictor)
    if options.clusters is not None and options.clusters > len(items):
        raise ConfigError(f"--clusters {options.clusters}: there are only {len(items)} videos")
    inputs = [*files_of_model(model_file), *(item.path for item in items)]
    inputs += [path for path in (options.data, options.boxes) if path is not None]
    output = open_output("--output", options.output, inputs, options.overwrite)
    sheet = None
    if options.contact_sheet is not None:
        sheet = open_output("--contact-sheet", options.contact_sheet, inputs, options.overwrite)
    with terminal.counting("embedding", len(items), past="embedded") as show:
        done, failed = embed_all(embedder, items, sheet is not None, show)
    for embedding in failed:
        terminal.fail(f"left out: {embedding.item.name}: {embedding.prediction.error}")
    if not done:
        raise DataError(f"not one of {len(items)} videos can be decoded; nothing to write")
    found = None if sheet is None else _cluster(options, done)
    output.write(lambda path: write_embeddings(path, done, None if found is None else found[0] + 1))
    terminal.say(f"wrote {len(done)} embeddings to {options.output}")
    if sheet is not None and found is not None:
        cluster_N, similarity_N = found
        sheet.write(lambda path: _draw_clusters(done, cluster_N, similarity_N, path))
        terminal.say(f"wrote {int(cluster_N.max()) + 1} clusters to {options.contact_sheet}")
    _tell_neighbours(terminal, options, done)
    return 1 if failed else 0


def _read_items(
    terminal: Terminal, options: EmbedOptions, model_file: Path, predictor: Predictor
) -> Sequence[VideoItem]:
    from vidcli.artifacts.run_folder import SPLITS_FILE
    from vidcli.data.items import SPLITS
    from vidcli.data.manifest import read_data
    from vidcli.data.relocation import load_run_items
    from vidcli.data.splits import of_split
    from vidcli.data.subjects import expand_subjects, settle_subjects
    from vidcli.predict.inputs import collect_items

    if options.split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {options.split}: expected train, val, test or all")
    subject = predictor.config.subject
    if options.data is not None and options.unlabelled:
        found = collect_items(options.data, terminal.warn)
        if options.boxes is None and subject.boxes is not None:
            terminal.warn(f"{WHOLE_PICTURES}; --boxes names boxes")
        return found if options.boxes is None else expand_subjects(found, subject)
    if options.data is not None:
        if options.data_root is not None:
            raise ConfigError("--data-root: tells where the run's own data is now; leave it or DATA out")
        listing = read_data(options.data, settings=predictor.config.data)
        for note in listing.notes:
            terminal.warn(note)
        items = settle_subjects(listing.items, subject, terminal.warn)
    else:
        splits = model_file.parent / SPLITS_FILE
        if not splits.is_file():
            raise DataError(f"{model_file.parent}: holds no {SPLITS_FILE}; name the DATA to embed")
        items = load_run_items(splits, options.data_root)
    chosen = items if options.split == "all" else of_split(items, options.split)
    if not chosen:
        raise DataError(f"--split {options.split}: there are no such videos; leave it out to take all")
    return chosen


def _cluster(options: EmbedOptions, done: Sequence[Embedding]) -> tuple[Int64, Float64]:
    from vidcli.features.clusters import form_clusters
    from vidcli.predict.embedding import stack_vectors

    num_classes = len({embedding.item.label for embedding in done})
    wanted = options.clusters or (num_classes if num_classes > 1 else _NUM_CLUSTERS)
    return form_clusters(stack_vectors(done), min(wanted, len(done)))


def _draw_clusters(done: Sequence[Embedding], cluster_N: Int64, similarity_N: Float64, path: Path) -> None:
    from vidcli.report.contact_sheet import SheetRow, draw_contact_sheet

    rows = []
    for cluster in range(int(cluster_N.max()) + 1):
        inside = [n for n, other in enumerate(cluster_N) if other == cluster]
        inside.sort(key=lambda n: -similarity_N[n])
        labels = Counter(done[n].item.label or done[n].prediction.label or "" for n in inside)
        named = ", ".join(f"{label} {count / len(inside):.0%}" for label, count in labels.most_common(3))
        pictures = [picture for n in inside if (picture := done[n].thumbnail_HWC) is not None]
        rows.append(SheetRow(f"cluster {cluster + 1}: {len(inside)} videos: {named}", pictures))
    draw_contact_sheet(rows, path)


def _tell_neighbours(terminal: Terminal, options: EmbedOptions, done: Sequence[Embedding]) -> None:
    """Print the neighbours if asked for, and say how well neighbours agree on their labels."""
    from vidcli.console import print_json
    from vidcli.features.clusters import find_neighbours, share_of_like_neighbours
    from vidcli.predict.embedding import stack_vectors
    from vidcli.predict.embedding_files import neighbour_rows, neighbours_csv

    vectors_NE = stack_vectors(done)
    if options.neighbours is not None and len(done) > 1:
        rows = neighbour_rows(done, *find_neighbours(vectors_NE, options.neighbours))
        if options.as_json:
            for row in rows:
                print_json(row)
        else:
            print(neighbours_csv(rows), end="")
    labels = [embedding.item.label for embedding in done]
    if len(set(labels)) < 2:
        return
    groups = [embedding.item.group for embedding in done]
    share, num_asked = share_of_like_neighbours(vectors_NE, labels, groups)
    if num_asked:
        other = "of another group " if any(groups) else ""
        largest = Counter(labels).most_common(1)[0][1] / len(labels)
        terminal.say(
            f"the nearest video {other}has the same label for {share:.3f} of {num_asked} videos (the largest "
            f"class: {largest:.3f})"
        )
