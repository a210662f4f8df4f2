"""Methods of parameter-efficient transfer: a file or a folder each, found by name."""
