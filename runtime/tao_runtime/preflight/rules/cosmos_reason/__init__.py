"""Rules of the video reasoner's specs: batches and mesh, frames and length, model, LoRA, and keys without effect."""
