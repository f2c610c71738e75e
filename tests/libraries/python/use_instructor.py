"""Instructor: objects of a class as answers, by each of its ways."""

from __future__ import annotations

from typing import Literal

import freehold_server as fh
import instructor
import pytest
from instructor import Mode
from instructor.core.exceptions import InstructorRetryException
from openai import OpenAI
from pydantic import BaseModel, Field

openai_client = OpenAI(base_url=fh.BASE_URL, api_key="none", max_retries=0)
BRIEF = {"model": fh.CHAT, "temperature": 0, "max_tokens": 100, "max_retries": 0}
SAY = [{"role": "user", "content": "Jason is 25 years old, and red is his colour."}]


class Person(BaseModel):
    age: int = Field(ge=0, le=99)
    colour: Literal["red", "green", "blue"]


@pytest.mark.parametrize("mode", [Mode.TOOLS, Mode.JSON_SCHEMA])
def test_schema(mode):
    client = instructor.from_openai(openai_client, mode=mode)
    person, raw = client.chat.completions.create_with_completion(response_model=Person, messages=SAY, **BRIEF)
    assert isinstance(person, Person)
    assert raw.usage.total_tokens > 0


def test_responses():
    client = instructor.from_openai(openai_client, mode=Mode.RESPONSES_TOOLS)
    given = {"model": fh.CHAT, "max_output_tokens": 100, "max_retries": 0}
    assert isinstance(client.responses.create(response_model=Person, input=SAY, **given), Person)


def test_errors():
    client = instructor.from_openai(openai_client)
    with pytest.raises(InstructorRetryException, match="nobody"):
        client.chat.completions.create(response_model=Person, messages=SAY, **{**BRIEF, "model": "nobody"})
