"""Which of a server's models a client is to use, and whether it can do what the client asks of it."""

from __future__ import annotations

from typing import Any

from freehold.cli.client import Client, ServerError
from freehold.cli.connect.recipe import Model, Recipe, Served
from freehold.errors import OperatorError

FILLS = "qwen2.5-coder:1.5b"  # of the catalogue: what is named to those who have no model that fills in
CALLS = "qwen3:4b"  # likewise, to those who have none that calls tools


def served(client: Client, recipe: Recipe, wanted: str | None, key: str | None) -> Served:
    """The models for this client: the wanted one where it can, else the server's default, else the first that can.

    Raises OperatorError when there is none for what the client cannot do without, ServerError where the wanted one is missing.
    """
    for route in recipe.routes:
        _check_route(client, route, recipe)
    cards = client.models()
    if wanted is not None:
        card = client.model(wanted)
        cards = [card, *(other for other in cards if other["id"] != card["id"])]
    else:
        cards = sorted(cards, key=lambda card: "gpt-4o" not in (card.get("aliases") or ()))
    chat, fill = _first(cards, "chat"), _first(cards, "fim")
    if wanted is not None and recipe.chat and not _can(cards[0], "chat"):
        raise OperatorError(
            f"{cards[0]['id']} does not chat, which {recipe.title} asks for.", "`freehold list` shows what is there."
        )
    if wanted is not None and recipe.fill and not _can(cards[0], "fim"):
        raise OperatorError(_cannot_fill(cards[0]["id"], recipe), _pull(FILLS))
    if recipe.fill and fill is None:
        raise OperatorError(_cannot_fill(chat.name if chat else "No model here", recipe), _pull(FILLS))
    if recipe.chat and chat is None:
        raise OperatorError(f"No model here chats, which {recipe.title} asks for.", _pull(CALLS))
    return Served(client.base, key, chat, fill, _first(cards, "embeddings"))


def shortcomings(recipe: Recipe, found: Served) -> list[str]:
    """What the client would do with a better model; sentences."""
    said = []
    if recipe.fills_too and found.fill is None:
        said.append(f"No model here fills in the middle, so completions as you type are left out. {_pull(FILLS)}")
    if not recipe.chat or found.chat is None:
        return said
    if recipe.tools and not found.chat.tools:
        said.append(f"{found.chat.name} does not call tools, without which {recipe.title} can do little. {_pull(CALLS)}")
    if found.chat.context < recipe.context:
        said.append(
            f"{found.chat.name} has {found.chat.context:,} tokens of context; {recipe.title} wants {recipe.context:,} "
            f"(the setting engine.context)."
        )
    return said


def _check_route(client: Client, route: str, recipe: Recipe) -> None:
    """An empty request is refused by a route that is there, and not found where there is none."""
    try:
        client.call("POST", route, {})
    except ServerError as error:
        if error.code in ("unknown_url", "method_not_allowed"):
            raise OperatorError(f"{recipe.title} speaks only {route}, which this server does not have yet.") from None
        if error.answered == 401:
            raise


def _first(cards: list[Any], capability: str) -> Model | None:
    return next((_model(card) for card in cards if _can(card, capability)), None)


def _can(card: Any, capability: str) -> bool:
    return bool((card.get("capabilities") or {}).get(capability))


def _model(card: Any) -> Model:
    if not str(card["id"]).isprintable():
        raise ServerError("The server has a model whose name cannot be written into a configuration.")
    context = int(card.get("context_length") or 0)
    output = int(card.get("max_output_tokens") or context)
    return Model(card["id"], context, min(output, max(context // 2, 1)), _can(card, "tools"), _can(card, "vision"))


def _cannot_fill(name: str, recipe: Recipe) -> str:
    return f"{name} cannot fill in the middle, which {recipe.title} asks for."


def _pull(name: str) -> str:
    return f"Pull one that can: freehold pull {name}"
