"""`export`: from a trained run to a quantized, verified model folder."""
