"""Find crops in an export folder and read channel, cell and sample from their names."""
