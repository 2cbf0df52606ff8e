"""Array types used everywhere, named after the type of one element.

A type says nothing of the shape: that stands in the docstring, or behind the variable's name, as in
`frames_THWC` for T frames of H by W pixels of C channels.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bool: TypeAlias = npt.NDArray[np.bool_]
Int32: TypeAlias = npt.NDArray[np.int32]
Int64: TypeAlias = npt.NDArray[np.int64]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Frames: TypeAlias = npt.NDArray[np.uint8]
"""Pictures of a video: RGB, upright, their last three axes height, width and channel."""
