"""Quality checks: find the cell in a crop, and flag crops unfit for an automatic call."""
