"""Decode the frames at wanted times, exactly as a sequential decode would show them."""
