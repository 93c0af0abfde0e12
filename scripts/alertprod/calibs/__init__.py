"""Master calibrations: from frames of one kind to bias, dark, flat and defects."""
