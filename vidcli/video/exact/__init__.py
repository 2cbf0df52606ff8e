"""Decode the frames at wanted times: exactly those of a sequential decode, at the cost of what they need."""
