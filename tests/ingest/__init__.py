"""Tests of hipseg.ingest."""
