"""The main job at full size: 116 sequences, 580 pairs, through the command line."""
