"""Helpers shared by the training commands: progress, errors, files."""
