"""Rows in, numbers with intervals out."""
