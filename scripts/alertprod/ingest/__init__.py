"""From a directory of raw files, or a star catalogue, to what the workflow reads."""
