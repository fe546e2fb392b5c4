"""Scores of one case."""
