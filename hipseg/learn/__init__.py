"""Networks, batches, training and prediction; nothing outside this package loads TensorFlow."""

import os

# A Keras settings file in the home folder must not choose another backend, and Keras reads this once, while it loads.
os.environ["KERAS_BACKEND"] = "tensorflow"
# TensorFlow reads this once, while it loads: without it each process greets the user with lines about its build.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
