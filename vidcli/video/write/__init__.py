"""Frames to a file, and videos written anew."""
