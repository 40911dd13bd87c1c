"""What a step of the real network would hold in memory: every operation run on tensors without numbers."""
