"""What a camera is and how its raw files are read."""
