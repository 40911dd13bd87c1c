"""Will it fit: parameters by name from a configuration alone, bytes of a rank, and the nearest run that fits."""
