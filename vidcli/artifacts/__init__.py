"""What lies on disk of a model: the run directory, the model file, and the exported folder."""
