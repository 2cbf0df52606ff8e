"""Explain a prediction by the weight of each frame, and of each place in it.

explainer      a video and a model to an `Explanation`
frame_weights  the weight of each frame: attention, or occlusion over time
maps           the weight of each place: integrated gradients, or Grad-CAM on the backbone's grid
"""

from __future__ import annotations

from vidcli.explain.explainer import WHOLE, Explanation, explain_video, iter_pictures
from vidcli.explain.maps import MapMethod

__all__ = ["WHOLE", "Explanation", "MapMethod", "explain_video", "iter_pictures"]
