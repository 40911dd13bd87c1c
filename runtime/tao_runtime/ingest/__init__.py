"""Bringing models and data to this machine, in the layouts that specs name. Dry: no torch."""
