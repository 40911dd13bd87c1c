"""Quantising: a model made smaller by a driver in an environment of its own, and proven before it is called good."""
