"""Decode video that is still being filmed: a camera, or a pipe."""
