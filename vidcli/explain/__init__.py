"""Why a model says what it says: the weight of each frame, and of each place in it.

frames       attention, or occlusion over time
maps         Grad-CAM on the backbone's grid, or occlusion over space
explainer    a video and a model to an `Explanation`
"""

from __future__ import annotations

from vidcli.explain.explainer import Explanation, explain_video

__all__ = ["Explanation", "explain_video"]
