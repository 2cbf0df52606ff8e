"""Manifests, annotations and layouts, splits, clips in memory, batches."""
