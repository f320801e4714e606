"""`train export`: from a fitted run to a quantized, verified model folder."""
