"""Conversion of weights between the names and the layouts that trainers, libraries and this package keep them in."""
