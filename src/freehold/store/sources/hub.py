"""Hugging Face's own client, held to what a hub may do: small answers, no encodings, no redirect into a private network.

Its token (HF_TOKEN, or its own login), HF_ENDPOINT for a mirror, proxies and certificates are the client's own business. This
module is imported by processes that pull, never by the one that serves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils._http import hf_request_event_hook

from freehold.errors import FreeholdError, SourceUnreachable, StoreError
from freehold.store.sources import addresses
from freehold.store.sources.web import Refused

_LARGEST = 32 << 20  # bytes of an answer; the listing of a large repository has one or two million
_SECONDS = 30.0


class Hub:
    """One hub: Hugging Face's, or the mirror that HF_ENDPOINT names. Raises StoreError and SourceUnreachable."""

    def __init__(self) -> None:
        self.endpoint = (os.environ.get("HF_ENDPOINT") or constants._HF_DEFAULT_ENDPOINT).rstrip("/")
        addresses.check(self.endpoint)
        self._token = get_token()
        set_client_factory(lambda: _client(self.endpoint))

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc

    @property
    def secrets(self) -> dict[str, str]:
        """The header that says who asks, for this hub alone."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def info(self, repository: str, revision: str | None) -> Any:
        """The hub's ModelInfo, with the size of each file, and its sha256 where it is large."""
        try:
            return HfApi(endpoint=self.endpoint, token=self._token or False).model_info(
                repository, revision=revision, files_metadata=True, timeout=_SECONDS
            )
        except GatedRepoError:
            raise self.gated(repository) from None
        except RevisionNotFoundError:
            raise StoreError(f"{repository} has no revision {revision!a}.", "Leave @… out for the newest.") from None
        except RepositoryNotFoundError:
            raise self._unknown(repository) from None
        except HfHubHTTPError as error:
            raise self._refusal(repository, error) from None
        except (httpx2.HTTPError, OSError) as error:
            raise SourceUnreachable(
                f"{self.host} cannot be reached: {str(error)[:200] or type(error).__name__}.",
                "Check the network, or name a mirror by HF_ENDPOINT.",
            ) from None
        except FreeholdError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise SourceUnreachable(
                f"What {self.host} answers for {repository} makes no sense.", "Is HF_ENDPOINT right?"
            ) from None

    def url(self, repository: str, path: str, revision: str) -> str:
        return hf_hub_url(repository, path, revision=revision, endpoint=self.endpoint)

    def explain(self, repository: str, refused: Refused) -> StoreError | None:
        """Better words for a file that is not given out."""
        if refused.headers.get("x-error-code") == "GatedRepo" or refused.status == 403:
            return self.gated(repository)
        return self._unknown(repository) if refused.status == 401 else None

    def gated(self, repository: str) -> StoreError:
        token = "Your token has no access yet." if self._token else "You are not logged in."
        return SourceUnreachable(
            f"{repository} is gated: its makers ask you to accept their terms first. {token}",
            f"Accept them at {self.endpoint}/{repository}, then log in: set HF_TOKEN, or run hf auth login.",
        )

    def _unknown(self, repository: str) -> StoreError:
        private = "" if self._token else " If it is private, log in: set HF_TOKEN, or run hf auth login."
        return SourceUnreachable(f"{self.host} has no repository {repository} that you may read.", f"Check its name.{private}")

    def _refusal(self, repository: str, error: HfHubHTTPError) -> StoreError:
        status = error.response.status_code
        if status == 404:
            return self._unknown(repository)
        if status == 401:
            return SourceUnreachable(f"{self.host} does not accept your token.", "Check HF_TOKEN, or run hf auth login.")
        if status == 429:
            after = error.response.headers.get("Retry-After", "")
            wait = f" in {after} seconds" if after.isdecimal() else " later"
            login = "" if self._token else "; who is logged in (HF_TOKEN) may ask more often"
            return SourceUnreachable(f"{self.host} is asked too often.", f"Try again{wait}{login}.")
        return SourceUnreachable(f"{self.host} answers {status} for {repository}.", "Check its name, and try again.")


def _client(endpoint: str) -> httpx2.Client:
    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook, _Gate(endpoint)], "response": [_bounded]},
        follow_redirects=True,
        max_redirects=5,
        timeout=_SECONDS,
    )


class _Gate:
    """Looks at each request, those of redirects too, before it is sent."""

    def __init__(self, endpoint: str):
        self._inside = addresses.is_private(urlsplit(endpoint).hostname or "")

    def __call__(self, request: httpx2.Request) -> None:
        addresses.check(str(request.url))
        if not self._inside and addresses.is_private(request.url.host):
            raise SourceUnreachable("The hub redirects into a private network.", "Check HF_ENDPOINT.")
        request.headers["Accept-Encoding"] = "identity"


def _bounded(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise SourceUnreachable("The hub answers in an encoding that was not asked for.", "Check HF_ENDPOINT.")
    response.stream = _Bounded(response.stream)


class _Bounded(httpx2.SyncByteStream):
    """A body that ends in an error when it is longer than any answer can be."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = _LARGEST
        for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise SourceUnreachable("What the hub answers is larger than it can be.", "Check HF_ENDPOINT.")
            yield piece

    def close(self) -> None:
        self._stream.close()
