"""The commands of `python -m manifests` that share, join and show data sets."""
