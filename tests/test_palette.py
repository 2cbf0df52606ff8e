"""Colours of classes: the same everywhere, and to be told apart by as many people as possible."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vidcli.palette import GREY, Colour, Rgb, class_colours

# Machado, Oliveira & Fernandes (2009), severity 1: what people see who lack a kind of cone.
SIGHTS = {
    "all": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def linear(rgb: Rgb) -> np.ndarray:
    share = np.array(rgb) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: Rgb, sight: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(sight @ linear(rgb), 0, 1) / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("num_classes", "least"), [(8, 15), (20, 10)])
def test_colours_can_be_told_apart(sight: str, num_classes: int, least: float) -> None:
    colours = class_colours(f"{at:02}" for at in range(num_classes)).values()
    labs = [lab(colour.rgb, SIGHTS[sight]) for colour in colours]
    assert min(np.linalg.norm(one - other) for one, other in combinations(labs, 2)) > least


def test_all_are_seen_on_white_and_on_black() -> None:
    for colour in class_colours(f"{at:02}" for at in range(20)).values():
        luminance = float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour.rgb))
        assert 1.05 / (luminance + 0.05) > 1.5
        assert (luminance + 0.05) / 0.05 > 2.5


def test_a_class_has_its_colour_whatever_the_order() -> None:
    names = ["run", "jump", "行", "walk"]
    assert class_colours(names) == class_colours(reversed(names))
    assert class_colours([*names, "run"]) == class_colours(names)
    assert class_colours([]) == {}


def test_two_hundred_classes_differ_by_stripes() -> None:
    colours = class_colours(f"{at:03}" for at in range(200))
    assert len(set(colours.values())) == 200
    assert len({colour.rgb for colour in list(colours.values())[:100]}) == 20
    assert GREY not in colours.values()
    assert len(class_colours(map(str, range(2000)))) == 2000


def test_a_colour_is_written_as_pages_and_pictures_need_it() -> None:
    colour = Colour((0, 114, 178))
    assert (colour.hex, colour.stripe_hex) == ("#0072b2", "#003350")
