"""Who finds keypoints: the backends, and how the output of a network becomes features."""
