"""Transforms, matching and homography estimation."""
