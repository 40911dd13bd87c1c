"""Context parallelism: one clip's tokens over several ranks, exchanged by all-to-all around attention (Ulysses).

Jacobs et al. 2023 (arXiv:2309.14509). Each rank holds a part of the sequence; for attention it gets the whole sequence
of a part of the heads, and gives it back. diffusers' own context parallelism stays local for these networks, without an
error (0.42.1: their attention processors do not pass `parallel_config` on).

One law makes gradients right: the loss of the step is the sum of the ranks' numerators, and every exchange here is
differentiated as what it is. So a rank returns the numerator of its part, or 1 / ranks of what all of them computed
alike, and parameter gradients are summed over the ranks, exactly as for data-parallel ranks.
"""
