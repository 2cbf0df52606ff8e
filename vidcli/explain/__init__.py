"""Why a model says what it says: the weight of each frame, and of each place in it.

frames       attention, or occlusion over time
maps         integrated gradients, or Grad-CAM on the backbone's grid
explainer    a video and a model to an `Explanation`
"""

from __future__ import annotations

from vidcli.explain.explainer import Explanation, explain_video, iter_pictures
from vidcli.explain.maps import MapMethod

__all__ = ["Explanation", "MapMethod", "explain_video", "iter_pictures"]
