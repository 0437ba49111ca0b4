"""Training GANs, so that a team can make or improve its generator before it renders from it."""
