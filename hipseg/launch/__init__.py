"""A study as a graph of jobs, and their submission; never imports TensorFlow."""
