"""File-system helpers: bounded reads, atomic writes, state and cache folders, mounts."""
