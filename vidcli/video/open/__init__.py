"""Open a file as a video and nothing else, within limits; describe it by its headers and packets."""
