"""Embeddings are what the head sees, and files hold them whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.errors import ConfigError
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.predict.embedding import Embedder, embed_all, stack_vectors
from vidcli.predict.embedding_files import (
    NEIGHBOUR_COLUMNS,
    check_suffix,
    neighbour_rows,
    neighbours_csv,
    write_embeddings,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def items(motion_data):
    return [item for item in load_items(motion_data) if item.split == "test"][:5]


@pytest.fixture(scope="module")
def predictor(small_config):
    config = small_config(clip__views=3)
    torch.manual_seed(0)
    return Predictor(build_model(config.model, 8).eval(), config, [f"c{n}" for n in range(8)], CPU)


@pytest.fixture(scope="module")
def embeddings(predictor, items):
    done, failed = embed_all(Embedder(predictor, "m"), items, True, lambda done, total: None)
    assert failed == []
    return done


def test_an_embedding_is_the_mean_of_what_the_head_sees(embeddings, predictor, items):
    for item, embedding in zip(items, embeddings, strict=True):
        with torch.inference_mode():
            features_VTE = predictor.network.features(torch.from_numpy(predictor.views.load(item)))
        assert np.allclose(embedding.vector_E, features_VTE.mean((0, 1)).numpy(), atol=1e-6)
        # The answer is the one that predict gives.
        expected = predictor.predict(item).probabilities
        assert np.array_equal(embedding.prediction.probabilities, expected)


def test_views_that_are_computed_in_parts_are_averaged_too(predictor, items, embeddings, monkeypatch):
    monkeypatch.setattr("vidcli.predict.predictor.COMPUTED_BYTES", 1)
    (again,) = Embedder(predictor, "m").embed_many(items[:1])
    assert np.allclose(again.vector_E, embeddings[0].vector_E, atol=1e-6)
    assert again.thumbnail_HWC is None


def test_videos_side_by_side_are_not_heard_together(embeddings, predictor, items):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = list(Embedder(predictor, "m").embed_many(items))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(together, embeddings, strict=True):
        assert np.array_equal(one.vector_E, other.vector_E)
        assert one.item == other.item


def test_nobody_listens_afterwards(embeddings, predictor):
    assert not predictor.network.head._forward_pre_hooks


def test_a_thumbnail_is_what_the_model_sees(embeddings):
    shapes = {embedding.thumbnail_HWC.shape for embedding in embeddings}
    assert shapes == {(32, 32, 3)}
    assert {embedding.thumbnail_HWC.dtype for embedding in embeddings} == {np.dtype(np.uint8)}
    assert len({embedding.thumbnail_HWC.tobytes() for embedding in embeddings}) > 1


def test_large_frames_have_small_thumbnails(small_config, items):
    config = small_config(clip__size="128x192")
    predictor = Predictor(build_model(config.model, 2).eval(), config, ["a", "b"], CPU)
    (embedding,) = Embedder(predictor, "m").embed_many(items[:1], thumbnails=True)
    assert embedding.thumbnail_HWC.shape == (64, 96, 3)


def test_a_broken_video_fails_alone(predictor, items, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    mixed = [items[0], VideoItem(tmp_path / "broken.mp4", "c0"), items[1]]
    done, failed = embed_all(Embedder(predictor, "m"), mixed, True, lambda done, total: None)
    assert [e.item for e in done] == [items[0], items[1]]
    assert [e.item.path.name for e in failed] == ["broken.mp4"]
    assert stack_vectors(done).shape == (2, 16)


def test_a_network_without_a_head_is_refused(small_config):
    predictor = Predictor(nn.Identity(), small_config(), ["a"], CPU)
    with pytest.raises(
        ConfigError, match=r"exports/x: is an exported network, .* name the run that it was exported"
    ):
        Embedder(predictor, "exports/x")


def test_npz_holds_everything_without_pickle(embeddings, tmp_path):
    write_embeddings(tmp_path / "e.npz", embeddings, np.arange(1, 6))
    with np.load(tmp_path / "e.npz", allow_pickle=False) as file:
        assert np.array_equal(file["embeddings"], stack_vectors(embeddings))
        assert file["embeddings"].dtype == np.float32
        assert file["path"].tolist() == [str(e.item.path) for e in embeddings]
        assert file["label"].tolist() == [e.item.label for e in embeddings]
        assert file["predicted"].tolist() == [e.prediction.label for e in embeddings]
        assert np.isnan(file["end"]).all()
        assert file["cluster"].tolist() == [1, 2, 3, 4, 5]


def test_parquet_holds_the_same(embeddings, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_embeddings(tmp_path / "e.parquet", embeddings, None)
    rows = parquet.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["path"] for row in rows] == [str(e.item.path) for e in embeddings]
    assert np.array_equal(np.array([row["embedding"] for row in rows], np.float32), stack_vectors(embeddings))
    assert {row["end"] for row in rows} == {None}
    assert "cluster" not in rows[0]


def test_the_name_of_the_file_says_its_form(tmp_path):
    check_suffix(tmp_path / "a.NPZ")
    with pytest.raises(ConfigError, match=r"a\.csv: expected a name that ends with \.npz or \.parquet"):
        check_suffix(tmp_path / "a.csv")


def test_neighbours_are_rows_under_their_columns(embeddings):
    rows = neighbour_rows(embeddings[:2], np.array([[1], [0]]), np.array([[0.5], [0.25]]))
    assert [row["neighbour"] for row in rows] == [str(e.item.path) for e in embeddings[1::-1]]
    lines = neighbours_csv(rows).splitlines()
    assert lines[0] == ",".join(NEIGHBOUR_COLUMNS)
    assert lines[1].endswith(",0.5,,")
    assert len(lines) == 3
