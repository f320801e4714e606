"""From labelled exports, simulated or a lab's, to a model folder that `ctcedge` runs.

For development only: needs PyTorch and MONAI, which the runtime never imports.
"""
