"""Export: a folder that the family's library loads, written tensor by tensor and judged before it has its name."""
