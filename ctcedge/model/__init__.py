"""Load a model folder and run its network: specification, ONNX Runtime session, GPU, failover."""
