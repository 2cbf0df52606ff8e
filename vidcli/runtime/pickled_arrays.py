"""Arrays in nested dictionaries, read from pickles without running anything in them."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""What a pickle of arrays names. Nothing else is looked up, so that nothing else can be called."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"names {module}.{name}, which is no array")
        return _KNOWN[module, name]


def read_pickled_arrays(content: bytes) -> Any:
    """Return what is pickled: dictionaries, lists, strings, numbers and arrays of numbers.

    Args:
        content: the pickle.

    Raises:
        Exception: it is damaged, or holds something else.
    """
    return _ArraysOnly(io.BytesIO(content)).load()
