"""Encode frames to a file; rewrite a video with changed pictures."""
