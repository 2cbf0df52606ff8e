"""Open a file as a video and nothing else, within limits; and what its headers and packets say of it."""
