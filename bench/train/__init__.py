"""Training of the package's own weights: Synthetic Shapes, MagicPoint, Homographic Adaptation, SuperPoint."""
