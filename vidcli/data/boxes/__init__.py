"""Boxes and points of subjects in each frame, as trackers of any kind write them."""
