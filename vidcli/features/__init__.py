"""Features that a frozen backbone computes from videos, once, for heads and for `compare`.

Reading order: `computed_once`, then `frozen_backbone`; `clusters` compares embeddings of videos.
"""
