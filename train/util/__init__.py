"""Helpers of all training commands: progress, errors, batches."""
