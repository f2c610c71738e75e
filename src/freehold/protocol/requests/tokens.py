"""A model's tokens, as llama.cpp's and vLLM's clients ask for them: /tokenize, /detokenize and /apply-template."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import USERS, Honoured, Refused, Request
from freehold.protocol.requests.messages import Message, Tool

Text = Annotated[str, Field(max_length=16_000_000)]
Messages = Annotated[list[Message], Field(min_length=1, max_length=10_000)]
_DEFAULT = "without it, the default chat model"
_TEMPLATE = "The model's own template is used; leave it out."


class _Templated(Request):
    """What a model's chat template is given beside the messages."""

    model: Annotated[str, Honoured(_DEFAULT)] = Field("@chat", min_length=1, max_length=300)
    tools: Annotated[list[Tool] | None, Honoured("functions, for models whose template has a place for them")] = Field(
        None, max_length=128
    )
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None, Honoured("as in chats")
    ] = None
    add_generation_prompt: Annotated[bool | None, Honoured("false leaves out what begins the answer")] = None
    continue_final_message: Annotated[Any, Refused("An answer is always begun anew; leave it out.", (False,))] = None
    chat_template: Annotated[Any, Refused(_TEMPLATE, ("",))] = None
    chat_template_kwargs: Annotated[Any, Refused("The template gets what chats give it; leave it out.", ({},))] = None


class TemplateRequest(_Templated):
    """POST /apply-template, of llama.cpp's server."""

    messages: Annotated[Messages, Honoured("as in chats")]


class TokenizeRequest(_Templated):
    """POST /tokenize: `content` is llama.cpp's, `prompt` and `messages` are vLLM's."""

    content: Annotated[Text | None, Honoured("a text; llama.cpp's name of it")] = None
    prompt: Annotated[Text | None, Honoured("a text; vLLM's name of it")] = None
    messages: Annotated[Messages | None, Honoured("a chat, read as the model would read it")] = None
    add_special: Annotated[bool | None, Honoured("whether what begins and ends a text is added; false without it")] = None
    add_special_tokens: Annotated[bool | None, Honoured("the same for `prompt` and `messages`; true without it")] = None
    parse_special: Annotated[
        bool | None, Honoured("special tokens are read where the text has their text; true without it")
    ] = None
    with_pieces: Annotated[bool | None, Honoured("each token with its text, or with its bytes where those are no text")] = None
    return_token_strs: Annotated[bool | None, Honoured("the tokens' texts, in `token_strs`")] = None
    user: Annotated[str | None, USERS] = None

    @property
    def text(self) -> str | None:
        return self.prompt if self.content is None else self.content

    @property
    def special(self) -> bool:
        """Whether what begins and ends a text is added."""
        asked = self.add_special if self.add_special_tokens is None else self.add_special_tokens
        return self.content is None if asked is None else asked

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("content", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            problem = "Give one of 'content', 'prompt' and 'messages'."
            raise InvalidRequest(problem, param=given[1] if given else "content", code="invalid_value")
        return self


class DetokenizeRequest(Request):
    """POST /detokenize, of llama.cpp's server and of vLLM."""

    model: Annotated[str, Honoured(_DEFAULT)] = Field("@chat", min_length=1, max_length=300)
    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Honoured("ids of this model's tokens")] = Field(max_length=1_000_000)
