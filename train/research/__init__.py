"""The study's analysis: trials, learning results and error analysis. No lab needs it."""
