"""`ctcedge models list`, `show` and `verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from ctcedge.cli.options import Json, command_group
from ctcedge.cli.output import print_json, require_printed

models_app = command_group("List, show and verify models.\n\nExample: ctcedge models verify")

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME_OR_DIR", help="Model.  [default: the shipped model]"),
]


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the shipped models; the first is the default.

    Example: ctcedge models list
    """
    from ctcedge.cli import render_models
    from ctcedge.model.folder import load_model, shipped_models

    models = [load_model(name) for name in shipped_models()]
    if as_json:
        print_json([render_models.model_facts(model) for model in models])
    else:
        render_models.print_models(models)
        require_printed()


@models_app.command("show")
def models_show(name: ModelArgument = None, as_json: Json = False) -> None:
    """Show a model's properties, operating points and model card.

    Example: ctcedge models show
    """
    from ctcedge.cli import render_models
    from ctcedge.model.folder import load_model

    model = load_model(name)
    if as_json:
        print_json(render_models.model_facts(model))
    else:
        render_models.print_model(model)
        require_printed()


@models_app.command("verify")
def models_verify(name: ModelArgument = None, as_json: Json = False) -> None:
    """Check a model's hashes and recompute its golden outputs.

    Golden outputs are reference probabilities, stored with the model.

    Example: ctcedge models verify
    """
    from ctcedge.classification.golden import verify
    from ctcedge.cli import render_models
    from ctcedge.model.folder import load_model

    model = load_model(name)
    difference = verify(model)
    if as_json:
        facts = render_models.model_facts(model)
        print_json({**facts, "verified": True, "largest_difference": difference})
    else:
        render_models.print_verified_model(model, difference)
        require_printed()
