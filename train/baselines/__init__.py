"""Baselines beside the network: cell size alone, hand-made texture features."""
