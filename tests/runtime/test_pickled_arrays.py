from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcli.runtime.pickled_arrays import read_pickled_arrays


class _Calls:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back(protocol: int) -> None:
    given = {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "steps": [1, "two"]}
    found = read_pickled_arrays(pickle.dumps(given, protocol))
    np.testing.assert_array_equal(found["layer"]["kernel"], given["layer"]["kernel"])  # type: ignore[index,call-overload]
    assert found["steps"] == [1, "two"]


def test_nothing_is_called(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for calls in (_Calls(os.mkdir, str(mark)), _Calls(eval, f"open({str(mark)!r}, 'w')")):
        with pytest.raises(pickle.UnpicklingError, match="which is no array"):
            read_pickled_arrays(pickle.dumps({"kernel": calls}))
    assert not mark.exists()
