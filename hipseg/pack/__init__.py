"""Source folders -> shards and manifest, and back to NIfTI; the only place where identifiers turn into keys."""
