"""Plots. Each function takes rows or arrays and returns a figure; `style.to_bytes` writes it as PNG or SVG."""
