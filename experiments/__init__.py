"""Comparisons of several ways to make or use views, under one protocol: design, commands, table and plot."""
