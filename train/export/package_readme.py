"""README.md of a bioimage.io package."""

from __future__ import annotations

from ctcedge.model.folder import Model

_DEMONSTRATION = """
**Trained on simulated images only. A demonstration until a lab trains on its own exports; its
performance on patients' cells is unknown.**
"""


def readme(model: Model, variant: str, licence: str) -> str:
    """Return the documentation that the catalogue shows beside a model."""
    spec = model.spec
    low, high = spec.decision.review
    size = spec.input.size
    return f"""# {spec.name} {spec.version}

**Research software, not a diagnostic.** The model tells circulating tumour cells (CTCs) from
leukocytes in bright-field crops of single cells, as a DEPArray exports them.
{_DEMONSTRATION if spec.demonstration else ""}
Trained on: {spec.training}.

## Input

Crops of one cell each, {size} x {size} pixels, one channel: bright field alone, without stains.
{_scale(model)} Then cut or pad them to {size} x {size}
pixels with the cell in the middle; never stretch them. Any range of grey levels will do: 8, 12 or
16 bits.

The normalisation of grey levels is part of the graph, so that gain, exposure and bit depth need not
be known. The background is measured along the edge of the input, the contrast in its middle.

## Output

`probability`: of a CTC, calibrated for cells of which a fraction of {spec.prior:g} are CTCs. In
ctcedge the call is CTC at {spec.decision.threshold:g} and above, and cells from {low:g} to {high:g}
are left for a person to look at. Where CTCs are rarer, as in blood, most calls of CTC can be false:
see the operating points in `model_card.md`.

## Limits

- Not a diagnostic: no patient's treatment may depend on it.
- Results depend on the instrument, the enrichment and the focus. Measure the model on labelled
  cells of your own before you use it.
- The package is the network alone. ctcedge also checks the quality of each crop (focus, truncation,
  neighbours) and flags crops and samples that differ from the training data; a program that runs
  this package does not.
- Small differences from ctcedge remain: it measures the background along the edge of the whole
  crop, and on CPUs it runs an INT8 graph. The package holds {variant.upper()}.

## Validation

`model_card.md` has all figures with their confidence intervals, and on which cells they were
measured. The package's test computes the probabilities of simulated crops again.

## Cite

Russo et al. 2025, https://doi.org/10.48550/arXiv.2503.03410, whose method ctcedge follows, and what
`cite` of the description names.

## Licence

{licence}
"""


def _scale(model: Model) -> str:
    """Return how crops get the model's scale, in one or more sentences."""
    um_per_px = model.spec.input.um_per_px
    if um_per_px is None:
        return (
            "The pixel size of the training images was unknown: the model fits their instrument and"
            f" magnification only.\nResample crops so that {model.spec.input.crop_px:g} of their"
            " pixels become one."
        )
    return f"Resample crops to {um_per_px:g} um per pixel."
