"""Fold results into the comparison table."""
