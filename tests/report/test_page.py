"""The report of a run: complete, without network or script, and safe whatever names are in the data."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from markupsafe import Markup
from matplotlib import image
from typer.testing import CliRunner

from tests.report.pages import CLASS_NAMES, page_of
from vidcli.commands.app import app
from vidcli.palette import class_colours
from vidcli.report.curves import curve_charts
from vidcli.report.figures import INKS
from vidcli.report.gather import _unfinished
from vidcli.report.page import environment, shrink, thumbnail
from vidcli.train import start_run

EVIL = "<script>alert(1)</script>&\"'"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collect the elements of a page and its text; every element must be closed where it was opened."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def vidcli(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def run(motion_data, small_config, tmp_path_factory):
    """A run on two classes, one of them named to do harm, of two recordings each."""
    folder = tmp_path_factory.mktemp("report")
    rows = ["path,label,split,group"]
    for split in ("train", "val", "test"):
        for name, label in (("left", EVIL), ("up", "up")):
            for index, video in enumerate(sorted((motion_data / split / name).iterdir())):
                quoted = label.replace('"', '""')
                rows.append(f'{video},"{quoted}",{split},"{split} <b>{index % 2}"')
    (folder / "data.csv").write_text("\n".join(rows))
    out = folder / "runs" / "run <i>"
    out.parent.mkdir()
    start_run(small_config(), folder / "data.csv", out, torch.device("cpu"), lambda event: None)
    return out


@pytest.fixture(scope="module")
def page(run):
    result = vidcli("report", run, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "no evaluation of it on test yet; making one" in result.stderr
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_it_holds_what_was_promised(page, run):
    text = " ".join(page.text)
    scores = json.loads((run / "eval-test" / "eval.json").read_text())
    assert f"{scores['top1']:.3f}" in text
    for promised in (
        "balanced accuracy", "loss", "learning rate", "true \\ predicted", "accuracy by probability",
        "Temperature", "answered", "train.epochs", "parameters", "torch", "processor", "4 videos of the test",
        "2 in train, 2 in val, 2 in test", f"{run}/splits.csv' --config '{run}/config.yaml'",
    ):  # fmt: skip
        assert promised in text, promised
    for example in [*scores["worst"], *scores["most_confused"]]:
        assert any(text.endswith(example["video"][-14:]) for text in page.text if "mp4" in text)


def test_it_names_the_verdict_the_baseline_and_the_dates(page, run):
    text = " ".join(page.text)
    scores = json.loads((run / "eval-test" / "eval.json").read_text())
    assert f"Verdict:  {scores['verdict']}" in text
    assert "baseline: always the largest class" in text
    assert f"{scores['baseline_top1']:.3f}" in text
    for what, file in (("Trained", "metrics.jsonl"), ("evaluated", "eval-test/eval.json")):
        written = datetime.fromtimestamp((run / file).stat().st_mtime, timezone.utc)
        assert f"{what} {written:%Y-%m-%d %H:%M} UTC" in text
    assert "Unfinished run" not in text


def test_dates_are_those_of_the_files_not_of_the_clock(run, page, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for file, day in (("model.safetensors", 1), ("metrics.jsonl", 2), ("eval-test/eval.json", 3)):
        seconds = datetime(2024, 2, day, 11, 59, tzinfo=timezone.utc).timestamp()
        os.utime(copy / file, (seconds, seconds))
    assert vidcli("report", copy).exit_code == 0
    source = (copy / "report.html").read_text(encoding="utf-8")
    assert "Trained 2024-02-02 11:59 UTC, evaluated 2024-02-03 11:59 UTC (dates of its files)" in source
    (copy / "metrics.jsonl").unlink()
    assert vidcli("report", copy).exit_code == 0
    source = (copy / "report.html").read_text(encoding="utf-8")
    assert "Trained 2024-02-01 11:59 UTC" in source
    assert "Unfinished run" not in source  # nothing says so


def test_a_class_has_its_colour_on_the_page(page):
    chips = [attributes["style"] for name, attributes in page.elements if attributes.get("class") == "chip"]
    colours = class_colours([EVIL, "up"])
    assert {f"background: {colour.hex}" for colour in colours.values()} == set(chips)
    assert len(chips) > 10


def row(epoch, **scores):
    return {"epoch": epoch, "val_top1": None, "val_map": None, "val_loss": None} | scores


@pytest.mark.parametrize(
    ("rows", "is_finished"),
    [
        ([row(n) for n in range(1, 5)], False),
        ([row(n) for n in range(1, 11)], True),
        ([], True),  # nothing tells
        # The best was the first, and three epochs were not better: it stopped early.
        ([row(n, val_top1=0.5, val_loss=1.0) for n in range(1, 5)], True),
        ([row(n, val_map=0.5, val_loss=1.0) for n in range(1, 5)], True),
        # A smaller loss is better where accuracies are equal.
        ([row(n, val_top1=0.5, val_loss=1.0 / n) for n in range(1, 5)], False),
        ([row(n, val_top1=0.1 * n, val_loss=1.0) for n in range(1, 5)], False),
        ([{"epoch": 1}, {"epoch": 2, "val_top1": "a"}], False),
    ],
)
def test_a_run_that_did_not_finish_is_told(rows, is_finished, small_config):
    config = small_config(train__epochs=10, train__patience=3)
    told = _unfinished(config, rows, Path("a run"))
    assert (told is None) == is_finished
    if told is not None:
        assert f"{len(rows)} of 10 epochs are done" in told
        assert "vidcli train --resume 'a run'" in told


def test_the_page_of_an_unfinished_run_says_so(motion_data, small_config, tmp_path):
    run = tmp_path / "run"
    start_run(small_config(train__epochs=2), motion_data, run, torch.device("cpu"), lambda event: None)
    assert vidcli("report", run).exit_code == 0
    assert "Unfinished run" not in (run / "report.html").read_text(encoding="utf-8")
    rows = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(rows[0] + "\n")
    assert vidcli("report", run).exit_code == 0
    text = " ".join(Page((run / "report.html").read_text(encoding="utf-8")).text)
    assert "Unfinished run:  1 of 2 epochs are done" in text


@pytest.mark.parametrize("kind", CLASS_NAMES)
def test_a_page_of_any_classes_is_well_formed(kind):
    page = Page(page_of(kind))
    text = " ".join(page.text)
    assert all(name in text for name in CLASS_NAMES[kind][:5])
    assert text.count("others (2 groups with fewer than 5 videos each)") == 1
    assert page_of(kind) == page_of(kind)


def test_nothing_in_the_data_becomes_markup(page):
    names = {name for name, _ in page.elements}
    assert not names & {"script", "i b", "iframe", "link", "object", "form"}
    assert any(EVIL in text for text in page.text)
    assert "run <i>" in page.text
    assert any(" <b>0" in text for text in page.text)


def test_it_loads_nothing(page):
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), key
            if key in ("src", "href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value
        assert name != "style" or not attributes
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for name, a in page.elements if name == "a"} == set(ids)


def test_frames_are_those_that_the_model_saw(page):
    images = [attributes for name, attributes in page.elements if name == "img"]
    assert images
    for attributes in images:
        pixels = image.imread(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])), format="jpg")
        assert pixels.shape == (int(attributes["height"]), int(attributes["width"]), 3) == (32, 32, 3)
        assert pixels.std() > 1


def test_an_evaluation_is_used_again_until_the_model_is_newer(run, page, tmp_path):
    again = vidcli("report", run, "--out", tmp_path / "sub" / "page.html")
    assert again.exit_code == 0
    assert "making one" not in again.stderr
    assert (tmp_path / "sub" / "page.html").read_text() == (run / "report.html").read_text()
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "model.safetensors").touch()
    assert "making one" in vidcli("report", copy).stderr


def test_an_evaluation_of_other_data_is_not_taken_for_that_of_the_run(run, page, motion_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert vidcli("eval", motion_data.parent / "motion", "--model", copy).exit_code == 1  # other classes
    (tmp_path / "one.csv").write_text(f"path,label\n{motion_data}/test/up/up_0001.mp4,up\n")
    assert vidcli("eval", tmp_path / "one.csv", "--model", copy).exit_code == 0
    # It lies beside the run's own, which stays.
    assert (copy / "eval-test-one" / "eval.json").is_file()
    assert "making one" not in vidcli("report", copy).stderr
    assert "4 videos of the test split" in (copy / "report.html").read_text()


def test_a_run_without_environment_or_videos_says_so(run, page, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "environment.json").unlink()
    (copy / "metrics.jsonl").unlink()
    splits = (copy / "splits.csv").read_text()
    (copy / "splits.csv").write_text(re.sub(r"/up_0001\.mp4", "/gone.mp4", splits))
    (copy / "model.safetensors").touch()
    result = vidcli("report", copy)
    assert result.exit_code == 1
    assert "counted as wrong" in result.stderr
    source = (copy / "report.html").read_text()
    assert "The run does not say." in source
    assert "1 failed, counted as wrong" in source


@pytest.mark.parametrize("name", ["metrics.jsonl", "environment.json"])
def test_a_damaged_file_is_named(run, page, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / name).write_text("{")
    result = vidcli("report", copy)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{name}: cannot be read as" in result.stderr


def test_bad_arguments(run, tmp_path):
    assert "no such run directory" in vidcli("report", tmp_path / "nowhere").stderr
    assert "--split tset" in vidcli("report", run, "--split", "tset").stderr
    shutil.copy(run / "model.safetensors", tmp_path)
    assert "holds no splits.csv" in vidcli("report", tmp_path).stderr


# --- parts ----------------------------------------------------------------------------------------


def test_whatever_is_no_markup_is_escaped():
    template = environment().from_string('<p title="{{ title }}">{{ text }}{{ made }}{{ 3 }}</p>')
    shown = template.render(title='"x"', text="<b>", made=Markup("<i></i>"))
    assert shown == '<p title="&#34;x&#34;">&lt;b&gt;<i></i>3</p>'
    assert template.render(title="", text="a\x1b[31m", made="") == '<p title="">a\\x1b[31m3</p>'


@pytest.mark.parametrize("filter_", ["class_names({})|first", "short_path", "upper", "join", "trim"])
def test_what_a_filter_returns_is_escaped_as_well(filter_):
    shown = environment().from_string(f"{{{{ text|{filter_} }}}}").render(text="<\x1b\u202e")
    assert shown == "&lt;\\x1b\\u202e"


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_the_page_has_each_colour_of_the_charts_in_light_and_dark():
    style = environment().get_template("style.css").render()
    light, dark = (style.split(":root {")[at].partition("}")[0] for at in (1, 2))
    for name, colour in INKS.items():
        assert f"--{name}: " in light
        assert f"--{name}: " in dark
        if name != "text":  # of pictures black
            assert f"--{name}: {colour};" in light


def curve(rows):
    """Return the dots of the curve of training accuracy on the page, by their title."""
    svg = curve_charts(rows, None)[0].svg
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>train: ([^<]*)</title>', svg)
    return {title: (float(x), float(y)) for x, y, title in found}, svg


def test_a_chart_puts_points_where_they_belong():
    dots, svg = curve([{"epoch": n, "train_accuracy": y} for n, y in ((1, 0.0), (2, 0.5), (3, 1.0))])
    (x0, y0), (x1, y1), (x2, y2) = dots["0 at 1"], dots["0.5 at 2"], dots["1 at 3"]
    assert x0 < x1 < x2
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2))
    lines = dict(re.findall(r'x="[\d.]+" y="([\d.]+)" text-anchor="end">([^<]+)<', svg))
    heights = {text: float(y) for y, text in lines.items()}
    # A number stands beside its height: its baseline a little below, the same for all.
    assert heights["0"] - y0 == pytest.approx(heights["1"] - y2, abs=0.1)
    assert 0 < heights["0"] - y0 < 8
    assert Page(svg)


def test_a_chart_of_one_point_can_be_drawn():
    dots, _ = curve([{"epoch": 1, "train_accuracy": 0.5}])
    assert list(dots) == ["0.5 at 1"]


def test_thumbnails_are_means_of_squares():
    frame = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    small = shrink(frame, 2)
    assert small.shape == (2, 3, 3)
    assert small[0, 0].tolist() == frame[:2, :2].reshape(4, 3).mean(axis=0).round().tolist()
    assert thumbnail(np.zeros((200, 300, 3), np.uint8)).height == 100
