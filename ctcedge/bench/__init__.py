"""`ctcedge bench`: measure the speed of this machine, from file to sidecar."""
