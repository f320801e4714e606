"""Faults injected into the real process, and the invariant that must hold after each."""
