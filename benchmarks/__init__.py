"""Figures: each a ratio to a yardstick measured in the same run, since machines differ and are noisy."""
