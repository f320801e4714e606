"""Metrics of scores: ROC, calibration, and scores of exported ONNX graphs."""
