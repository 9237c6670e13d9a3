"""Which keypoint belongs to which."""
