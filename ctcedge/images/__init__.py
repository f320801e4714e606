"""Read image files: headers, decoding, the sandbox for it, preprocessing to network inputs."""
