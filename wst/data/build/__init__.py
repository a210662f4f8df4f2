"""Building VTAB-1K from the original archives, without TensorFlow."""
