"""Tests of the training kit."""
