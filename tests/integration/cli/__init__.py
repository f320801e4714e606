"""Tests of the commands; what several of them use."""

MODEL_CALLS = {"CTC": 2, "leukocyte": 1, "review": 1}
"""Calls of the crops of the fixture `crops` by the model of `model_folder`."""

POINTS = {
    "screening": {
        "aim": "sensitivity of at least 95%",
        "threshold": 0.31,
        "sensitivity": {"value": 0.962, "low": 0.93, "high": 0.98},
        "false_calls_per_10000": {"value": 812, "low": 700, "high": 950},
        "false_calls_upper": 921,
        "ctcs": 300,
        "others": 2000,
        "samples": 19,
    },
    "balanced": None,
    "confirm": None,
}
"""Operating points for the spec of a model."""
