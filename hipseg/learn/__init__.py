"""Networks, batches, training, transfer, prediction; the only package that imports TensorFlow."""
