"""What every stage shares: images, tables, coordinates, times, identifiers."""
