"""Units of videos drawn into splits so that each class has its share in each of them.

Shape suffixes: U units, K classes, S splits, P pairs of a unit and a class that it holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vidcli.arrays import Float64, Int64


class Members(NamedTuple):
    """How many videos of each class the units hold, without the classes that a unit lacks.

    Attributes:
        units_P: the unit of each pair, ascending.
        classes_P: its class, ascending within a unit.
        counts_P: number of videos of the class in the unit.
        num_units: number of all units.
        num_classes: number of all classes.
    """

    units_P: Int64
    classes_P: Int64
    counts_P: Int64
    num_units: int
    num_classes: int

    @property
    def are_single(self) -> bool:
        """Whether each unit is one video of one class."""
        return len(self.units_P) == self.num_units and bool((self.counts_P == 1).all())

    def totals_K(self) -> Float64:
        """Return the number of videos of each class."""
        return np.bincount(self.classes_P, self.counts_P, self.num_classes).astype(np.float64)


def draw_in_turn(members: Members, order_U: Int64, shares_S: Float64) -> Int64:
    """Return the split of each unit: the one whose misfit grows least; see `splits`.

    Args:
        members: what the units hold.
        order_U: the units in the order in which they are assigned.
        shares_S: share of each split; the first is train.
    """
    totals_K = members.totals_K()
    wanted_SK = (shares_S[:, None] * totals_K).tolist()
    counts_SK = np.zeros((len(shares_S), len(totals_K))).tolist()
    squared_K = (totals_K**2).tolist()
    waiting_K = np.bincount(members.classes_P, minlength=members.num_classes).tolist()
    bounds = np.searchsorted(members.units_P, np.arange(members.num_units + 1)).tolist()
    classes_P, counts_P = members.classes_P.tolist(), members.counts_P.tolist()
    split_U = np.zeros(members.num_units, np.int64)
    for unit in order_U.tolist():
        pairs = range(bounds[unit], bounds[unit + 1])
        added = [(classes_P[pair], counts_P[pair]) for pair in pairs]
        # How much the misfit of each class grows if a split takes this unit; the other classes stay.
        growths = [
            [
                (_square(counts[k] + count - wanted[k]) - _square(counts[k] - wanted[k])) / squared_K[k]
                for k, count in added
            ]
            for counts, wanted in zip(counts_SK, wanted_SK, strict=True)
        ]
        if any(waiting_K[k] == 1 and counts_SK[0][k] == 0 for k, _ in added):
            chosen = 0
        else:
            growth_S = [_sum(growth, added, members.num_classes) for growth in growths]
            chosen = growth_S.index(min(growth_S))
        for k, count in added:
            waiting_K[k] -= 1
            counts_SK[chosen][k] += count
        split_U[unit] = chosen
    return split_U


def _square(value: float) -> float:
    return value * value


def _sum(growth: list[float], added: list[tuple[int, int]], num_classes: int) -> float:
    """Return the sum over all classes, rounded the same however few of them a unit holds."""
    if len(growth) <= 2:
        return sum(growth)
    growth_K = np.zeros(num_classes)
    growth_K[[k for k, _ in added]] = growth
    return float(growth_K.sum())


def draw_single_videos(members: Members, order_U: Int64, shares_S: Float64) -> Int64:
    """Return what `draw_in_turn` does where each unit is one video of one class, a class at a time.

    The misfit of a class grows the more the more videos of it a split has, so that the splits take turns
    in the order of all those growths.

    Args:
        members, order_U, shares_S: as in `draw_in_turn`.
    """
    class_U = members.classes_P[order_U]
    by_class_U = np.argsort(class_U, kind="stable")
    bounds = np.searchsorted(class_U[by_class_U], np.arange(members.num_classes + 1))
    split_U = np.zeros(members.num_units, np.int64)
    for k in range(members.num_classes):
        units = order_U[by_class_U[bounds[k] : bounds[k + 1]]]
        num = float(len(units))
        misfit_SN = np.arange(num) - (shares_S * num)[:, None]
        grown_SN = np.arange(num) + 1 - (shares_S * num)[:, None]
        growth_SN = (grown_SN**2 - misfit_SN**2) / num**2
        turns_N = np.argsort(growth_SN.ravel(), kind="stable")[: len(units)] // max(1, len(units))
        if (turns_N[:-1] != 0).all():
            turns_N[-1:] = 0  # train gets the last one that there is
        split_U[units] = turns_N
    return split_U
