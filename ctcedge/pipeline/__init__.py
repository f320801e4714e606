"""From image files to sidecars: the core loop, its outcomes and its crash journal."""
