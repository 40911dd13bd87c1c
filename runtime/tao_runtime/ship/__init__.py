"""The ship gate: is the tuned model better than its base where it was meant to be, and nowhere worse."""
