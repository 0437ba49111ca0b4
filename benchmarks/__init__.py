"""Speeds, each as a ratio to a bare loop that does the same work, measured in pairs within one run."""
