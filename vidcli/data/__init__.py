"""Manifests and layouts, splits, clips in memory, batches."""
