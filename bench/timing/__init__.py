"""Stages, blocks, percentiles and the host."""
