"""Training objectives of video diffusion: what is drawn for a sample, what the network sees, what its answer costs.

Every objective has three steps: `draw` (all the randomness of one sample), `noise` (a pure function of latents and
draws), and `loss_sums`, which returns (numerator, weight). The numerator is a sum over samples of the mean over a
sample's elements, the weight counts samples: divided by the weight of the whole optimizer step it is upstream's mean,
however the step is cut into micro-batches and ranks. A clip may be cut along time too: its parts' numerators add up.

Tensor suffixes: B samples, C latent channels, T H W latent frames, rows, columns.
"""
