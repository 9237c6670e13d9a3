"""The one way through: pairs, features, matches, homographies, rows."""
