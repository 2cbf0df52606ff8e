"""The model card: what the run says, in the hub's format, and never in place of a person's README."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from vidcli.artifacts.claim import RunClaim
from vidcli.commands.app import app
from vidcli.report import model_card
from vidcli.report.model_card import escape_markdown, render_card, write_card
from vidcli.train import Notice, resume_run, start_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(motion_data, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("carded") / "pets-1"
    start_run(small_config(), motion_data, folder, CPU, lambda event: None)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "pets-1")


def evaluate(run, *args):
    return CliRunner().invoke(app, ["eval", "--model", str(run), "--device", "cpu", *map(str, args)])


def test_training_leaves_a_card_that_the_hub_reads(trained):
    card = ModelCard((trained / "README.md").read_text())
    about = card.data.to_dict()
    assert about["pipeline_tag"] == "video-classification"
    assert {"vidcli", "compact_cnn", "gru"} <= set(about["tags"])
    assert "license" not in about  # the publisher's to choose
    assert "model-index" not in about
    text = card.text
    assert text.lstrip().startswith("# pets-1")
    assert "| train | 32 | none named |" in text
    assert "| left | 4 | 2 | 2 |" in text
    assert "Videos of one group" not in text
    assert "Not evaluated yet: `vidcli eval` measures" in text
    assert "Fewer than 20 training videos" in text
    assert "did not come to its end" not in text
    (block,) = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    assert yaml.safe_load(block)["model"]["head"] == "gru"


CHOSEN = {"top1": 0.84, "balanced_accuracy": 0.76, "top1_interval": [0.7, 0.93], "num_candidates": 711}
CONTENDER = {"taken": True, "top1": 0.9, "balanced_accuracy": 0.8, "num_videos": 160}


@pytest.mark.parametrize(
    ("choice", "scores", "how"),
    [
        (
            {"expected": CHOSEN},
            "Of new videos expect an accuracy of 0.840 (95% interval 0.700 to 0.930)",
            "without the luck of having been chosen among 711.",
        ),
        (
            {"expected": CHOSEN, "contender": CONTENDER},
            "Of new videos expect an accuracy of 0.900 and a balanced one of 0.800",
            "so it answered 160 training videos while it had not learnt from them.",
        ),
        ({"expected": None, "contender": {"taken": False}}, "", ""),
        (
            {"expected": CHOSEN, "contender": CONTENDER | {"taken": False}},
            "Of new videos expect an accuracy",
            "",
        ),
    ],
)
def test_the_card_says_what_cross_validation_lets_expect(run, choice, scores, how):
    (run / "choice.json").write_text(json.dumps(choice))
    text = render_card(run).partition("## Scores\n\n")[2].partition("Not evaluated yet")[0]
    assert text.startswith(scores)
    assert text.strip().endswith(how)
    assert bool(text.strip()) == bool(scores)


def test_a_damaged_choice_keeps_the_card_that_was_there(run):
    before = (run / "README.md").read_text()
    for text in ("{", "[]", '{"expected": {"top1": 1}}'):
        (run / "choice.json").write_text(text)
        assert "choice.json: is damaged" in (write_card(run) or "")
    assert (run / "README.md").read_text() == before


def test_eval_completes_the_card(run):
    assert evaluate(run).exit_code == 0
    told = json.loads((run / "eval-test/eval.json").read_text())
    card = ModelCard((run / "README.md").read_text())
    low, high = told["top1_interval"]
    assert f"| test | top-1 accuracy | {told['top1']:.3f} | {low:.3f} to {high:.3f} |" in card.text
    assert "Not evaluated" not in card.text
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["accuracy"].metric_value == pytest.approx(told["top1"], abs=1e-4)
    assert results["f1"].metric_value == pytest.approx(told["macro_f1"], abs=1e-4)
    assert results["accuracy"].dataset_split == "test"
    evaluate(run, "--split", "val")
    assert {r.dataset_split for r in ModelCard((run / "README.md").read_text()).data.eval_results} == {
        "test",
        "val",
    }


def test_other_data_are_not_the_cards_business(run, motion_data, tmp_path):
    before = (run / "README.md").read_bytes()
    evaluate(run, motion_data, "--split", "test")
    evaluate(run, "--out", tmp_path / "elsewhere")
    assert (run / "README.md").read_bytes() == before


def test_a_card_names_no_path_and_no_video(run, motion_data):
    evaluate(run)
    text = (run / "README.md").read_text()
    assert str(motion_data) not in text
    assert "left_0" not in text
    assert str(run.parent) not in text


def test_a_readme_of_a_person_stays(run):
    (run / "README.md").write_text("mine")
    result = evaluate(run)
    assert result.exit_code == 0
    assert "no model card was written: model card in" in " ".join(result.stderr.split())
    assert (run / "README.md").read_text() == "mine"
    events = []
    resume_run(run, CPU, events.append)
    assert [e.text for e in events if isinstance(e, Notice) and "no model card" in e.text]
    (run / "README.md").unlink()
    assert write_card(run) is None
    assert (run / "README.md").read_text().startswith("---\n")


def test_a_card_that_was_edited_stays(run):
    with open(run / "README.md", "a") as file:
        file.write("license: mit\n")
    assert "exists" in (write_card(run) or "")
    assert (run / "README.md").read_text().endswith("license: mit\n")


def test_a_card_that_cannot_be_made_ends_no_run(run, monkeypatch):
    def fail(run):
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(model_card, "render_card", fail)
    assert write_card(run) == "no model card was written: no such thing"


def test_an_unfinished_run_says_so(run):
    with RunClaim() as claim:
        claim.resume(run)
        assert "The run did not come to its end: it was stopped after 1 epochs." in render_card(run)


def test_names_cannot_forge_markdown():
    assert escape_markdown("a|b *c* <script> #d") == r"a\|b \*c\* &lt;script&gt; \#d"
    assert "\n" not in escape_markdown("a\n## b")


def test_odd_class_names_leave_the_card_whole(motion_data, small_config, tmp_path):
    rows = ["path,label,split,group"]
    for number, path in enumerate(sorted((motion_data / "train").rglob("*.mp4"))[:8]):
        rows.append(f'{path},"{("a: [b]", "<i>c`")[number % 2]}",train,"g{number % 3}"')
    (tmp_path / "odd.csv").write_text("\n".join(rows))
    config = small_config(data__val_fraction=0)
    start_run(config, tmp_path / "odd.csv", tmp_path / "run", CPU, lambda event: None)
    card = ModelCard((tmp_path / "run/README.md").read_text())
    assert r"| a: \[b\] | 4 |" in card.text
    assert r"| &lt;i&gt;c\` | 4 |" in card.text
    assert "| train | 8 | 3 |" in card.text
    assert "not calibrated" in card.text
    assert "No groups were named" not in card.text
    assert "Videos of one group (a recording, a person) are in one split." in card.text
