"""What changes between two precisions of one model: tensors, layers, keypoints, matches, homographies."""
