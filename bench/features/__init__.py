"""Who finds keypoints: one file a backend."""
