"""Renders, pretrains and evaluates through the command lines of factory and trainer, and tells it in a page."""
