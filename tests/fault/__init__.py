"""Faults done to the real process, and the rule that must hold after each."""
