"""From network outputs to a call: classifier, decision rule, out-of-distribution score."""
