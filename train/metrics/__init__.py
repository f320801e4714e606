"""Metrics: ROC, calibration, and scores of exported ONNX graphs."""
